"""The writer books on what it remembers, and is never wrong for it: the log says so when it has gone on."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ledger.commands import DisableAccount
from ledger.events import MoneyMoved
from ledger.memory import Memory
from ledger.refusals import AlreadyApplied
from projections.rebuild import rebuild
from tests.drive import Clock, code_of, codes_of, folded, settled
from tests.make import (
    account_opened,
    adjust,
    cents,
    correct,
    define_group,
    deposit,
    given,
    open_account,
    request,
    withdraw,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from ledger.account import Account
    from ledger.commands import Request
    from ledger.tickets import Outcome
    from tests.drive import Desk, LedgerUnderTest

    Call = asyncio.Task[list[Outcome]]

pytestmark = pytest.mark.anyio

LOGINS = (1001, 1002, 1003)
READS = """
SELECT coalesce(sum(generic_plans + custom_plans), 0)::bigint
FROM pg_prepared_statements WHERE starts_with(name, 'read_batch')
"""


async def test_a_deposit_to_an_account_that_was_just_booked_to_reads_nothing(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await met(desk)
        before = await reads(desk)
        for _ in range(5):
            assert await desk.code(deposit(10)) == "booked"
        assert await reads(desk) == before
        assert await desk.code(withdraw(1)) == "booked"  # what open positions are worth is not remembered
        assert await reads(desk) == before + 1
    assert_balances(ledger, 50 - 1, 0, 0)


async def test_an_account_that_was_not_met_is_read_once(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as office:
        await met(office)
    async with ledger.desk() as desk:
        await desk.book(deposit(1))
        await desk.book(deposit(1))  # that nobody else books is seen from the second read on
        before = await reads(desk)
        for login in LOGINS:
            assert await desk.code(deposit(1, login=login)) == "booked"
        assert await reads(desk) == before + 2
        for login in LOGINS:
            assert await desk.code(deposit(1, login=login)) == "booked"
        assert await reads(desk) == before + 2
    assert_balances(ledger, 4, 2, 2)


async def test_what_another_process_booked_is_seen_by_the_next_deposit(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk, ledger.desk() as other:
        await met(desk)
        await other.book(deposit(5))
        [event] = await desk.book(deposit(10))
        assert event.balance == cents(15)  # type: ignore[attr-defined]
        [event] = await other.book(deposit(20))
        assert event.balance == cents(35)  # type: ignore[attr-defined]
    assert_balances(ledger, 35, 0, 0)


async def test_a_refusal_by_what_is_remembered_is_looked_at_again(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk, ledger.desk() as other:
        await met(desk)
        assert await desk.code(adjust("negative-balance")) == "balance_not_negative"
        await other.book(correct(balance=-10))
        assert await desk.code(adjust("negative-balance")) == "booked"
    assert_balances(ledger, 0, 0, 0)


async def test_what_was_allowed_by_what_is_remembered_is_looked_at_again(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk, ledger.desk() as other:
        await met(desk)
        await desk.book(correct(balance=-10))
        await other.book(deposit(10))
        assert await desk.code(adjust("negative-balance")) == "balance_not_negative"
    assert_balances(ledger, 0, 0, 0)


async def test_a_repeat_is_answered_as_it_was_first_and_the_rest_of_its_batch_is_booked(
    ledger: LedgerUnderTest,
) -> None:
    async with ledger.desk() as desk:
        await met(desk)
        first = await desk.book(deposit(10), "once")
        await desk.book(deposit(1, login=1002))
        *booked, repeat = await desk.together(
            request(deposit(1)), request(deposit(2, login=1003)), request(deposit(10), "once")
        )
        assert [isinstance(outcome, list) for outcome in booked] == [True, True]
        assert isinstance(repeat, AlreadyApplied)
        assert repeat.extra["operation"] == tuple(first)
    assert_balances(ledger, 11, 1, 2)


async def test_after_repeats_a_batch_reads_until_one_meets_none(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await met(desk)
        await desk.book(deposit(10), "once")
        before = await reads(desk)
        for _ in range(3):
            assert await desk.code(deposit(10), "once") == "request_applied"
        await desk.book(deposit(1))
        assert await reads(desk) == before + 4
        await desk.book(deposit(1))
        assert await reads(desk) == before + 4
    assert_balances(ledger, 12, 0, 0)


async def test_what_was_not_booked_is_not_remembered(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await met(desk)
        ledger.rows("INSERT INTO requests VALUES ('taken', 999, 1)")
        assert await desk.code(deposit(100), "taken") == "batch_failed"
        [event] = await desk.book(deposit(7))
        assert event.balance == cents(7)  # type: ignore[attr-defined]
    assert_balances(ledger, 7, 0, 0)


async def test_two_processes_by_turns_at_random_leave_what_one_would_have_left(
    ledger: LedgerUnderTest,
) -> None:
    chance = random.Random(20261120)
    due = dict.fromkeys(LOGINS, 0)
    async with ledger.desk() as desk, ledger.desk() as other:
        await met(desk)
        for number in range(300):
            login, amount = chance.choice(LOGINS), chance.randint(1, 9)
            teller = chance.choices((desk, other), (9, 1))[0]
            repeats = chance.randint(1, 8) == 1
            for said in ("booked", "request_applied")[: 1 + repeats]:
                assert await teller.code(deposit(amount, login=login), f"turn-{number}") == said
            due[login] += amount
    assert_balances(ledger, *due.values())


async def test_a_call_that_comes_while_another_is_under_way_is_decided_meanwhile(
    ledger: LedgerUnderTest,
) -> None:
    clock = Clock()
    async with ledger.desk(clock=clock) as desk:
        await met(desk)
        began, before = clock.now, await reads(desk)
        async with under_way(desk) as (first, ahead):
            ahead += [asyncio.create_task(desk.writer.submit_bulk(many(300))) for _ in range(2)]
            await settled(lambda: desk.writer.queue_depth == 620)
            clock.forward(seconds=0.5)
        assert await times(first) == {began}
        assert [await times(call) for call in ahead] == [{began}, {clock.now}]
        assert await reads(desk) == before
    assert_balances(ledger, 620, 0, 0)


async def test_what_was_decided_ahead_the_day_before_is_decided_again(ledger: LedgerUnderTest) -> None:
    clock = Clock()
    async with ledger.desk(clock=clock) as desk:
        await met(desk)
        async with under_way(desk) as (first, ahead):
            ahead.append(asyncio.create_task(desk.writer.submit_bulk(many(300))))
            await settled(lambda: desk.writer.queue_depth == 320)
            clock.forward(days=1)
        await first
        assert await times(ahead[0]) == {clock.now}
    assert_balances(ledger, 320, 0, 0)


async def test_a_call_for_all_or_nothing_that_was_decided_ahead_is_booked_after_another_process(
    ledger: LedgerUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    async with ledger.desk() as desk, ledger.desk() as other:
        await met(desk)
        async with under_way(desk) as (first, ahead):
            between = other.start(request(deposit(5)))
            await other.until_waiting()
            ahead.append(asyncio.create_task(desk.writer.submit_atomic(many(300))))
            await settled(lambda: desk.writer.queue_depth == 320)
        assert codes_of([*await first, *await asyncio.gather(*between), *await ahead[0]]) == ["booked"] * 321
    assert caplog.messages == []
    assert_balances(ledger, 325, 0, 0)


async def test_a_call_that_cannot_be_booked_harms_neither_the_one_under_way_nor_those_behind(
    ledger: LedgerUnderTest,
) -> None:
    async with ledger.desk() as desk:
        await met(desk)
        unwritable = request(deposit(1, metadata={"what": object()}))  # which no body can hold
        calls = [many(800), [unwritable, *many(299)], many(800)]
        answers = await asyncio.gather(*map(desk.writer.submit_bulk, calls))
        assert [set(codes_of(answer)) for answer in answers] == [{"booked"}, {"batch_failed"}, {"booked"}]
        assert desk.writer.queue_depth == 0
    assert_balances(ledger, 1_600, 0, 0)


async def test_a_rebuild_heals_also_what_the_writer_remembers(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await met(desk)
    ledger.rows("UPDATE accounts SET balance = balance + 100000 WHERE login = 1002")
    async with ledger.desk() as desk:
        await desk.book(deposit(1))
        await desk.book(DisableAccount(login=1002))
        await asyncio.to_thread(rebuild, ledger.database_url, ledger.name)
        await desk.book(deposit(1))
        await desk.book(deposit(1, login=1002))
        await desk.book(deposit(1, login=1002))
    assert_balances(ledger, 2, 2, 0)


async def test_what_a_rebuild_healed_stays_so_though_a_refusal_is_what_the_writer_meets_first(
    ledger: LedgerUnderTest,
) -> None:
    async with ledger.desk() as desk:
        await met(desk)
    ledger.rows("UPDATE accounts SET balance = balance + 10000 WHERE login = 1001")
    async with ledger.desk() as desk:
        for _ in range(2):
            await desk.book(deposit(1))
        await asyncio.to_thread(rebuild, ledger.database_url, ledger.name)
        assert await desk.code(deposit(1, login=9999)) == "unknown_login"
        await desk.book(deposit(1))
    assert_balances(ledger, 3, 0, 0)


async def test_where_the_log_has_lost_its_end_no_gap_is_left(
    ledger: LedgerUnderTest,
) -> None:
    async with ledger.desk() as desk:
        await met(desk)
        await desk.book(deposit(1))
        [lost] = await desk.book(deposit(1, login=1003))
        for key in (
            "ledger_events WHERE notification_id",
            'history WHERE "position"',
            'requests WHERE "position"',
        ):
            ledger.rows(f"DELETE FROM {key} = %s", lost.position)
        await desk.book(deposit(1))
    assert len(ledger.log()) == lost.position


async def test_what_was_decided_ahead_on_a_batch_that_was_decided_again_is_decided_again_too(
    ledger: LedgerUnderTest,
) -> None:
    async with ledger.desk() as desk, ledger.desk() as other:
        await met(desk)
        with ledger.gate_held():
            [first] = other.start(request(deposit(700), "common"))
            await other.until_waiting()
            bulk = asyncio.create_task(desk.writer.submit_bulk([request(deposit(5), "common"), *many(299)]))
            await desk.until_waiting()
            ahead = asyncio.create_task(desk.writer.submit_bulk(many(300)))
            await settled(lambda: desk.writer.queue_depth == 600)
        assert code_of(await first) == "booked"
        assert codes_of(await bulk) == ["request_id_reused"] + ["booked"] * 299
        assert codes_of(await ahead) == ["booked"] * 300
    assert_balances(ledger, 700 + 599, 0, 0)


async def test_bulk_calls_from_two_processes_at_once_leave_what_one_after_the_other_would_have(
    ledger: LedgerUnderTest,
) -> None:
    chance = random.Random(20261120)
    asked = {
        f"call-{number}": deposit(number % 9 + 1, login=chance.choice(LOGINS)) for number in range(2_000)
    }
    async with ledger.desk() as desk, ledger.desk() as other:
        await met(desk)
        calls = [
            teller.writer.submit_bulk([request(asked[name], name) for name in chance.sample([*asked], 400)])
            for teller in chance.choices((desk, other), (4, 1), k=20)
        ]
        answered = Counter(code for outcomes in await asyncio.gather(*calls) for code in codes_of(outcomes))
    events = [event for event in ledger.log() if isinstance(event, MoneyMoved)]
    assert answered == {"booked": len(events), "request_applied": 20 * 400 - len(events)}
    due = Counter(dict.fromkeys(LOGINS, 0))
    for event in events:
        command = asked.pop(event.request_id or "")
        assert event.balance_change == command.amount.minor(2)
        due[command.login] += event.balance_change // 100
    assert_balances(ledger, *(due[login] for login in LOGINS))


@asynccontextmanager
async def under_way(desk: Desk) -> AsyncIterator[tuple[Call, list[Call]]]:
    """Give a call that is under way until the end, and a list for those behind it."""
    with desk.ledger.gate_held():
        first = asyncio.create_task(desk.writer.submit_bulk(many(20)))
        await desk.until_waiting()
        yield first, []


async def times(call: Call) -> set[datetime]:
    """Say when the events of a call were recorded; all were booked."""
    outcomes = await call
    assert set(codes_of(outcomes)) == {"booked"}
    return {event.recorded_at for outcome in outcomes if isinstance(outcome, list) for event in outcome}


def many(number: int) -> list[Request]:
    return [request(deposit(1)) for _ in range(number)]


def test_accounts_met_lately_are_kept_and_not_more_than_there_is_room_for() -> None:
    memory = Memory(accounts_max=10)
    for login in range(1, 101):
        memory.keep({login: account(login), 1000: account(1000)}, position=login)
    kept = [login for login in range(1, 101) if memory.accounts([login])]
    assert 5 <= len(kept) <= 10
    assert kept == list(range(101 - len(kept), 101))
    assert memory.accounts([1000, 100]) == {1000: account(1000), 100: account(100)}
    assert memory.accounts([1000, 1]) is None


def test_accounts_are_forgotten_where_the_log_has_gone_on_without_them() -> None:
    memory = Memory()
    memory.keep({1001: account(1001)}, position=7)
    memory.move(7, table=0)
    assert memory.accounts([1001])
    memory.move(8, table=0)
    assert memory.accounts([1001]) is None


def account(login: int) -> Account:
    return given(account_opened(login)).accounts[login]


async def met(desk: Desk) -> None:
    """Open the accounts; the writer has then met them, and nobody else."""
    await desk.book(define_group())
    for login in LOGINS:
        await desk.book(open_account(login))


async def reads(desk: Desk) -> int:
    """Count what the writer's connection has read so far for batches."""
    row = await (await desk.connections[-1].execute(READS)).fetchone()
    assert row is not None
    return int(row[0])


def assert_balances(ledger: LedgerUnderTest, *balances: int) -> None:
    held = {login: account.balance for login, account in folded(ledger.log()).items()}
    assert held == dict(zip(LOGINS, map(cents, balances), strict=True))
    assert {login: ledger.balance(login) for login in LOGINS} == held
