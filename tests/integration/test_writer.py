"""The group commit on a real PostgreSQL: nothing is lost, doubled or left in between."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from datetime import date, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import AsyncConnection

from api.database import Database
from api.startup import UnsafeServer
from ledger.commands import Request, UpdateAccount
from ledger.events import Event, MoneyMoved
from ledger.refusals import AlreadyApplied, ManagerOffline, Refusal
from ledger.silence import BoundedConnection
from projections import accounts
from projections.batch import BatchViews
from tests.drive import HANG_S, Clock, code_of, codes_of, folded, settled
from tests.make import (
    adjust,
    at,
    cents,
    correct,
    credit,
    define_group,
    define_server,
    deposit,
    key,
    open_account,
    request,
    reverse,
    transfer,
    withdraw,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.tickets import Outcome
    from tests.drive import Desk, LedgerUnderTest

pytestmark = pytest.mark.anyio

SECOND_PROCESS = """
import asyncio, sys
from tests.drive import LedgerUnderTest
from tests.make import deposit, request, transfer

async def main(database_url, name):
    async with LedgerUnderTest(database_url, name).desk() as desk:
        print("ready", flush=True)
        sys.stdin.readline()
        asked = [transfer(1, source=1001, target=1002) for _ in range(150)]
        asked += [deposit(1, login=1001 + n % 4) for n in range(150)]
        await asyncio.gather(*(desk.book(c, f"second-{n}") for n, c in enumerate(asked)))
        print("done", await desk.code(deposit(7), "common"), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_positions_have_no_gap_after_refused_and_failed_batches(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        await desk.together(request(deposit(10)), request(withdraw(999)), request(deposit(20)))
        assert await desk.code(withdraw(999)) == "not_enough_money"
        ledger.rows("INSERT INTO requests VALUES ('taken', 999, 1)")
        assert await desk.code(deposit(1), "taken") == "batch_failed"
        assert await desk.code(transfer(5)) == "booked"
    changes = [event.balance_change for event in ledger.log() if isinstance(event, MoneyMoved)]
    assert changes == [cents(10), cents(20), cents(-5), cents(5)]


async def test_commands_are_booked_in_the_order_in_which_they_arrive(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        await desk.together(*(request(deposit(n), f"request-no-{n}") for n in range(1, 71)))
    assert [event.request_id for event in ledger.log()][-70:] == [f"request-no-{n}" for n in range(1, 71)]


async def test_200_copies_of_one_request_in_flight_are_booked_once(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        outcomes = await desk.together(*(request(deposit(100), "once") for _ in range(200)))
    assert Counter(codes_of(outcomes)) == {"booked": 1, "request_applied": 199}
    assert code_of(outcomes[0]) == "booked"
    [first] = [outcome for outcome in outcomes if not isinstance(outcome, Refusal)]
    for outcome in outcomes[1:]:
        assert isinstance(outcome, AlreadyApplied)
        assert outcome.extra["operation"] == tuple(first)
    assert ledger.balance() == cents(100)


async def test_a_thousand_withdrawals_of_1_race_for_500(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        await desk.book(deposit(500))
        outcomes = await asyncio.gather(*(desk.code(withdraw(1)) for _ in range(1000)))
    assert Counter(outcomes) == {"booked": 500, "not_enough_money": 500}
    assert ledger.balance() == 0
    assert_live_is_the_fold_of_the_log(ledger)


async def test_two_writers_on_one_ledger_leave_no_gap_and_no_double(ledger: LedgerUnderTest) -> None:
    chance = random.Random(7)
    asked = [a_money_command(chance) for _ in range(400)]
    async with ledger.desk() as one, ledger.desk() as other:
        await opened(one, logins=range(1001, 1007))
        await one.writer.submit_bulk([request(deposit(100, login=login)) for login in range(1001, 1007)])
        both = [desk.code(command, f"both-{n}") for n, command in enumerate(asked) for desk in (one, other)]
        codes = await asyncio.gather(*both)
    booked = Counter(event.request_id for event in ledger.log() if event.position == event.operation)
    assert set(booked.values()) == {1}
    assert codes.count("booked") == sum(1 for name in booked if name and name.startswith("both-"))
    assert set(codes) <= {"booked", "request_applied", "not_enough_money"}
    assert_live_is_the_fold_of_the_log(ledger)


async def test_two_processes_on_one_ledger_leave_no_gap_and_no_double(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk, logins=range(1001, 1005))
        await desk.book(deposit(1000))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            SECOND_PROCESS,
            ledger.database_url,
            ledger.name,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        process.stdin.write(b"go\n")
        asked = [transfer(1, source=1001, target=1003) for _ in range(150)] + [deposit(1) for _ in range(150)]
        await asyncio.gather(*(desk.book(command, f"first-{n}") for n, command in enumerate(asked)))
        here = await desk.code(deposit(7), "common")
        output, _ = await process.communicate()
    there = output.decode().split()[1]
    assert {here, there} == {"booked", "request_applied"}
    assert ledger.value("SELECT count(*) FROM requests WHERE request_id LIKE 'first-%%'") == 300
    assert ledger.value("SELECT count(*) FROM requests WHERE request_id LIKE 'second-%%'") == 300
    assert ledger.value("SELECT sum(balance) FROM accounts") == cents(1000 + 150 + 150 + 7)
    assert_live_is_the_fold_of_the_log(ledger)


async def test_refused_and_repeated_commands_do_not_fail_their_neighbours(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        await desk.book(deposit(50), "before")
        outcomes = await desk.together(
            request(deposit(1)),
            request(deposit(50), "before"),
            request(withdraw(1000)),
            request(deposit(1, login=9)),
            request(deposit("0.001")),
            request(deposit(51), "before"),
            request(deposit(2)),
        )
    assert codes_of(outcomes) == [
        "booked",
        "request_applied",
        "not_enough_money",
        "unknown_login",
        "too_many_decimals",
        "request_id_reused",
        "booked",
    ]
    assert ledger.balance() == cents(53)


async def test_what_the_database_cannot_hold_fails_alone(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        asked = [request(deposit(1), f"neighbour-{n}") for n in range(20)]
        asked[7] = request(deposit(1, comment="half a character: \ud800"), "poison")
        asked[13] = request(deposit(1, comment="a NUL: \0"), "poison too")
        with ledger.gate_held():
            waiting = desk.start(*asked)
            await desk.until_waiting()
        outcomes = codes_of(await asyncio.gather(*waiting))
    assert [outcomes.pop(13), outcomes.pop(7)] == ["batch_failed"] * 2
    assert outcomes == ["booked"] * 18
    assert ledger.balance() == cents(18)


async def test_a_conflict_after_many_definitions_costs_nobody_else(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        for leverage in range(1, 12):
            await desk.book(define_group("vip", leverage=leverage))
        ledger.rows("INSERT INTO requests VALUES ('poison', 999, 1)")
        poison = request(deposit(1), "poison")
        outcomes = await desk.together(request(deposit(1)), poison, request(deposit(1)))
        assert len(desk.connections) == 2  # the one that had to be replaced is the poisoned batch's
    assert codes_of(outcomes) == ["booked", "batch_failed", "booked"]


async def test_a_row_that_cannot_be_booked_is_isolated_from_its_neighbours(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        ledger.rows("INSERT INTO requests VALUES ('poison', 999, 1)")
        asked = [request(deposit(1), f"neighbour-{n}") for n in range(20)]
        outcomes = await desk.together(*asked[:13], request(deposit(1000), "poison"), *asked[13:])
    assert codes_of(outcomes) == ["booked"] * 13 + ["batch_failed"] + ["booked"] * 7
    assert ledger.balance() == cents(20)
    assert_live_is_the_fold_of_the_log(ledger)


async def test_an_account_out_of_step_with_its_stream_fails_alone(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        await desk.book(deposit(5))
        ledger.rows("UPDATE accounts SET version = 1 WHERE login = 1001")
        outcomes = await desk.writer.submit_bulk([request(deposit(1, login=1001 + n % 2)) for n in range(8)])
        assert codes_of(outcomes) == ["batch_failed", "booked"] * 4
    assert ledger.balance(1002) == cents(4)


async def test_an_account_that_moves_under_a_batch_makes_it_decide_again(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        await desk.book(deposit(100))
        with psycopg.connect(ledger.superuser) as intruder:
            intruder.execute("UPDATE accounts SET version = version + 1 WHERE login = 1001")
            waiting = desk.start(request(deposit(1)), request(deposit(2)))
            await desk.until_waiting()
            intruder.commit()
        assert codes_of(await asyncio.gather(*waiting)) == ["booked", "booked"]
    assert ledger.balance() == cents(103)
    assert ledger.value("SELECT max(originator_version) FROM ledger_events") == 5


async def test_a_caller_that_leaves_does_not_take_its_deposit_along(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        with ledger.gate_held():
            [caller] = desk.start(request(deposit(100), "left"))
            await desk.until_waiting()
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller
        assert await desk.code(deposit(100), "left") == "request_applied"
    assert ledger.balance() == cents(100)


async def test_a_caller_that_leaves_the_queue_does_not_take_its_deposit_along(
    ledger: LedgerUnderTest,
) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        with ledger.gate_held():
            [first] = desk.start(request(deposit(1)))
            await desk.until_waiting()
            [second] = desk.start(request(deposit(2), "left"))
            await asyncio.sleep(0)
            second.cancel()
        await first
        assert await desk.code(deposit(2), "left") == "request_applied"
    assert ledger.balance() == cents(3)


async def test_more_than_the_queue_takes_is_turned_away_and_nothing_is_lost(ledger: LedgerUnderTest) -> None:
    async with ledger.desk(queue_max=10) as desk:
        await opened(desk)
        outcomes = await asyncio.gather(*(desk.outcome(deposit(1), f"r-{n}") for n in range(15)))
        assert codes_of(outcomes) == ["booked"] * 10 + ["queue_full"] * 5
        for refusal in outcomes[10:]:
            assert isinstance(refusal, ManagerOffline)
            assert refusal.extra["retry_after"] == 1
        assert [await desk.code(deposit(1), f"r-{n}") for n in range(9, 12)] == [
            "request_applied",
            "booked",
            "booked",
        ]
    assert ledger.balance() == cents(12)


async def test_stopping_books_what_was_accepted_and_takes_no_more(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        waiting = desk.start(*(request(deposit(1)) for _ in range(100)))
        await asyncio.sleep(0)
        await desk.writer.stop()
        assert codes_of(await asyncio.gather(*waiting)) == ["booked"] * 100
        assert await desk.code(deposit(1)) == "closing"
    assert ledger.balance() == cents(100)


async def test_a_bulk_call_cut_off_by_stopping_tells_what_it_had_booked(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        asked = [request(deposit(1), f"bulk-{n}") for n in range(2_500)]
        with ledger.gate_held():
            bulk = asyncio.create_task(desk.writer.submit_bulk(asked))
            await desk.until_waiting()
            stopping = asyncio.create_task(desk.writer.stop())
            await settled(lambda: desk.writer.queue_depth == 1_000)
        outcomes = await bulk
        await stopping
    assert codes_of(outcomes) == ["booked"] * 1_000 + ["closing"] * 1_500
    booked = "SELECT count(*), count(DISTINCT request_id) FROM requests WHERE request_id LIKE 'bulk-%%'"
    assert ledger.rows(booked) == [(1_000, 1_000)]
    assert ledger.balance() == cents(1_000)


async def test_a_server_silent_at_the_gate_is_offline_and_a_repeat_books_once(
    ledger: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        pid = desk.pid
        with ledger.gate_held(), monkeypatch.context() as patched:
            patched.setattr(BoundedConnection, "silence_max_s", 0.05)
            outcome = await desk.outcome(deposit(5), "silent")
            await settled(lambda: still_waits(ledger, pid))
        assert isinstance(outcome, ManagerOffline)
        assert outcome.code == "database_away"
        assert await desk.code(deposit(5), "silent") in {"booked", "request_applied"}
        assert await desk.code(deposit(5), "silent") == "request_applied"
    assert ledger.balance() == cents(5)
    assert_live_is_the_fold_of_the_log(ledger)


async def test_a_server_silent_while_it_books_is_offline_and_a_repeat_leaves_one_booking(
    ledger: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        pid = desk.pid
        with psycopg.connect(ledger.superuser) as intruder, monkeypatch.context() as patched:
            intruder.execute("SELECT FROM accounts WHERE login = 1001 FOR UPDATE")
            patched.setattr(BoundedConnection, "silence_max_s", 0.5)
            outcome = await desk.outcome(deposit(5), "silent")
            await settled(lambda: still_waits(ledger, pid))
        assert isinstance(outcome, ManagerOffline)
        assert await desk.code(deposit(5), "silent") in {"booked", "request_applied"}
        assert await desk.code(deposit(5), "silent") == "request_applied"
    assert ledger.balance() == cents(5)
    assert_live_is_the_fold_of_the_log(ledger)


async def test_stopping_ends_also_when_the_server_falls_silent(
    ledger: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        monkeypatch.setattr(BoundedConnection, "silence_max_s", 0.2)
        with ledger.gate_held():
            waiting = desk.start(*(request(deposit(1), f"r-{n}") for n in range(100)))
            await asyncio.sleep(0)
            async with asyncio.timeout(HANG_S):
                await desk.writer.stop()
            outcomes = await asyncio.gather(*waiting)
    assert Counter(codes_of(outcomes)) == {"database_away": 32, "closing": 68}
    assert ledger.balance() in {0, cents(32)}  # all that was sent, or nothing


@pytest.mark.parametrize("setting", ["off", "local", "on"])
async def test_only_a_database_whose_commits_are_safe_is_written_to(
    ledger: LedgerUnderTest, setting: str
) -> None:
    database = ledger.value("SELECT quote_ident(current_database())")
    ledger.rows(f"ALTER DATABASE {database} SET synchronous_commit = {setting}")
    try:
        if setting == "off":
            with pytest.raises(UnsafeServer, match="synchronous_commit = off"):
                await Database(ledger.database_url, ledger.name).connect_writer()
        else:  # no standby is named, so `local` waits for all there is
            async with ledger.desk() as desk:
                await opened(desk)
    finally:
        ledger.rows(f"ALTER DATABASE {database} RESET synchronous_commit")


async def test_a_connection_killed_between_batches_is_replaced_unnoticed(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        await desk.book(deposit(1), "before")
        kill(ledger, desk)
        assert await desk.code(deposit(2), "after") == "booked"
        assert await desk.code(deposit(1), "before") == "request_applied"
    assert ledger.balance() == cents(3)


async def test_a_batch_whose_connection_is_killed_at_the_gate_is_booked_by_the_next(
    ledger: LedgerUnderTest,
) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        asked = [request(deposit(n), f"r-{n}") for n in range(1, 6)]
        with ledger.gate_held():
            waiting = desk.start(*asked)
            await desk.until_waiting()
            kill(ledger, desk)
        outcomes = await asyncio.gather(*waiting)
        assert codes_of(outcomes) == ["booked"] * 5
        again = await asyncio.gather(*desk.start(*asked))
        assert codes_of(again) == ["request_applied"] * 5
    assert ledger.balance() == cents(15)
    assert_live_is_the_fold_of_the_log(ledger)


async def test_a_call_whose_connection_ended_for_idleness_before_it_was_booked_is_booked_on_the_next(
    ledger: LedgerUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        await desk.book(deposit(2_000))
        await desk.connections[-1].execute(
            "SET idle_in_transaction_session_timeout = 1"
        )  # ms: to decide takes longer
        outcomes = await desk.writer.submit_bulk([request(withdraw(1), f"r-{n}") for n in range(1_000)])
        assert Counter(codes_of(outcomes)) == {"booked": 1_000}
        assert len(desk.connections) == 2
    assert caplog.messages == []
    assert ledger.balance() == cents(1_000)


async def test_a_connection_killed_while_it_books_leaves_nothing_half_booked(
    ledger: LedgerUnderTest,
) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        with psycopg.connect(ledger.superuser) as intruder:
            intruder.execute("SELECT FROM accounts WHERE login = 1001 FOR UPDATE")
            waiting = desk.start(request(deposit(1), "r"))
            await desk.until_waiting()
            kill(ledger, desk)
            [outcome] = await asyncio.gather(*waiting)
        assert isinstance(outcome, ManagerOffline)
        assert await desk.code(deposit(1), "r") == "booked"
    assert ledger.balance() == cents(1)
    assert_live_is_the_fold_of_the_log(ledger)


async def test_a_commit_that_no_standby_confirmed_is_of_unknown_outcome(
    ledger: LedgerUnderTest, server_url: str
) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        async with await AsyncConnection.connect(server_url, autocommit=True) as superuser:
            await superuser.execute("ALTER SYSTEM SET synchronous_standby_names = 'nowhere'")
            await superuser.execute("SELECT pg_reload_conf()")
            try:
                name, waiting = await booked_until_one_waits_for_a_standby(superuser, desk)
                await superuser.execute("SELECT pg_cancel_backend(%s)", [desk.pid])
                outcome = await waiting
            finally:
                await superuser.execute("ALTER SYSTEM RESET synchronous_standby_names")
                await superuser.execute("SELECT pg_reload_conf()")
        assert isinstance(outcome, ManagerOffline)
        assert outcome.code == "outcome_unknown"
        assert await desk.code(deposit(1), name) == "request_applied"
    assert_live_is_the_fold_of_the_log(ledger)


async def test_an_atomic_call_books_all(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        outcomes = await desk.writer.submit_atomic([request(deposit(10)), request(transfer(10))])
        assert codes_of(outcomes) == ["booked", "booked"]
    assert (ledger.balance(1001), ledger.balance(1002)) == (0, cents(10))


async def test_an_atomic_call_with_one_refusal_books_nothing(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        asked = [request(deposit(10), "a"), request(withdraw(11), "b"), request(deposit(1), "c")]
        outcomes = await desk.writer.submit_atomic(asked)
        assert codes_of(outcomes) == ["booked", "not_enough_money"]
        assert ledger.balance() == 0
        assert [await desk.code(deposit(n), name) for n, name in ((10, "a"), (9, "b"), (1, "c"))] == [
            "booked"
        ] * 3
    assert ledger.balance() == cents(20)


async def test_an_atomic_call_beyond_any_batch_cap_is_one_transaction(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        asked = [request(deposit(1)) for _ in range(1500)]
        assert codes_of(await desk.writer.submit_atomic([*asked, request(withdraw(1501))])) == [
            *["booked"] * 1500,
            "not_enough_money",
        ]
        assert ledger.balance() == 0
        assert codes_of(await desk.writer.submit_atomic(asked)) == ["booked"] * 1500
    assert ledger.balance() == cents(1500)
    assert len({event.recorded_at for event in ledger.log()[3:]}) == 1


async def test_an_atomic_call_of_which_a_part_was_applied_before_books_nothing(
    ledger: LedgerUnderTest,
) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        await desk.book(deposit(1), "a")
        asked = [request(deposit(1), "a"), request(deposit(2), "b")]
        assert codes_of(await desk.writer.submit_atomic(asked))[0] == "request_applied"
        assert ledger.balance() == cents(1)
        assert await desk.code(deposit(2), "b") == "booked"
        assert codes_of(await desk.writer.submit_atomic(asked)) == ["request_applied"] * 2


async def test_bulk_calls_and_single_requests_share_batches(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        bulk = desk.writer.submit_bulk([request(deposit(1)) for _ in range(2_300)])
        atomic = desk.writer.submit_atomic([request(deposit(1)) for _ in range(10)])
        singles = asyncio.gather(*(desk.outcome(deposit(1)) for _ in range(100)))
        for outcomes, number in zip(
            await asyncio.gather(bulk, atomic, singles), (2_300, 10, 100), strict=True
        ):
            assert codes_of(outcomes) == ["booked"] * number
    assert ledger.balance() == cents(2_410)


async def test_a_rehearsal_decides_and_books_nothing(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        asked = [request(deposit(10), "a"), request(withdraw(4), "b"), request(withdraw(7), "c")]
        rehearsed = await desk.writer.submit_bulk(asked, dry_run=True)
        assert codes_of(rehearsed) == ["booked", "booked", "not_enough_money"]
        assert codes_of(await desk.writer.submit_atomic(asked, dry_run=True)) == codes_of(rehearsed)
        alone = Request(command=deposit(10), request_id="a", caller=key(), dry_run=True)
        [event] = await desk.writer.submit(alone)
        assert isinstance(event, MoneyMoved)
        assert event.balance == cents(10)
        assert ledger.positions() == [1, 2, 3]
        assert await desk.code(deposit(11), "a") == "booked"


async def test_what_another_writer_defines_holds_at_once(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-11-18 23:30"))
    async with ledger.desk(clock=clock) as one, ledger.desk(clock=clock) as other:
        await opened(one)
        assert await other.code(deposit(100)) == "booked"
        await one.book(define_group(max_operation=50))
        assert await other.code(deposit(100)) == "amount_too_large"
        await other.book(define_group(max_operation=500))
        assert await one.code(deposit(100)) == "booked"
        await one.book(define_server("Europe/Athens"))
        [event] = await other.book(deposit(1))
        assert event.server_day == date(2026, 11, 19)
        await other.book(define_group("yen", "JPY"))
        await one.book(open_account(2001, group="yen"))
        assert await other.code(deposit("0.5", login=2001)) == "too_many_decimals"


async def test_definitions_are_read_as_of_one_moment(ledger: LedgerUnderTest) -> None:
    async with (
        ledger.desk() as desk,
        await AsyncConnection.connect(ledger.service, autocommit=True) as reader,
    ):
        await desk.together(request(define_group()), request(define_server("UTC")))
        with psycopg.connect(ledger.superuser) as other:
            other.execute("LOCK TABLE server IN ACCESS EXCLUSIVE MODE")
            reading = asyncio.create_task(BatchViews().load_definitions(reader))
            waits = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
            await settled(lambda: ledger.value(waits, reader.info.backend_pid))
            other.execute("CREATE TEMPORARY TABLE more AS TABLE groups")
            other.execute("""UPDATE more SET group_name = 'vip', "position" = 3""")
            other.execute("INSERT INTO groups TABLE more")
            other.execute("""UPDATE server SET "position" = 4""")
        found = await reading
    assert (found.position, sorted(found.groups)) == (4, ["standard", "vip"])


async def test_an_account_that_has_moved_since_the_days_were_read_is_shown_as_of_its_own(
    ledger: LedgerUnderTest,
) -> None:
    clock = Clock(at("2026-11-30 23:59"))
    async with ledger.desk(clock=clock) as desk, await AsyncConnection.connect(ledger.service) as reader:
        await desk.together(*map(request, (define_group(), open_account(1001), deposit(100))))
        days = {"server_day": date(2026, 11, 30), "trading_day": date(2026, 11, 30)}
        clock.forward(minutes=2)
        await desk.book(deposit(50))
        view = await accounts.view(reader, 1001, **days)
    assert view is not None
    assert (view.balance, view.prevbalance, view.prevmonthbalance) == (150_00, 100_00, 100_00)


async def test_definitions_of_a_batch_hold_for_the_rest_of_it(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        outcomes = await desk.together(
            request(open_account(1001)),
            request(define_group(max_operation=50)),
            request(open_account(1001)),
            request(open_account()),
            request(deposit(51)),
            request(deposit(50, login=1002, method="card", reference="p1")),
            request(deposit(50, login=1002, method="card", reference="p1")),
            request(UpdateAccount(login=1002, name="Ann", enable=False)),
            request(withdraw(1, login=1002)),
        )
    assert codes_of(outcomes) == [
        "unknown_group",
        "booked",
        "booked",
        "booked",
        "amount_too_large",
        "booked",
        "reference_applied",
        "booked",
        "account_disabled",
    ]
    assert ledger.rows("SELECT balance, version, enable FROM accounts WHERE login = 1002") == [
        (5000, 3, False)
    ]
    assert ledger.value("SELECT name FROM profiles WHERE login = 1002") == "Ann"


async def test_a_reference_is_freed_by_a_reversal_in_the_same_batch_or_an_earlier_one(
    ledger: LedgerUnderTest,
) -> None:
    paid: dict[str, Any] = {"method": "card", "reference": "p1"}
    async with ledger.desk() as desk:
        await opened(desk)
        outcomes = await desk.together(
            request(deposit(10, **paid)),
            request(reverse(4)),
            request(deposit(10, **paid)),
            request(reverse(4)),
        )
        assert codes_of(outcomes) == ["booked", "booked", "booked", "already_reversed"]
        assert await desk.code(deposit(10, **paid)) == "reference_applied"
        assert await desk.code(deposit(11, **paid)) == "reference_reused"
        assert await desk.code(reverse(6)) == "booked"
        assert await desk.code(deposit(11, **paid)) == "booked"
        assert await desk.code(reverse(6)) == "already_reversed"
    reversed_by = "SELECT \"position\", reversed_by FROM history WHERE kind = 'deposit' ORDER BY 1"
    assert ledger.rows(reversed_by) == [(4, 5), (6, 7), (8, None)]


async def test_a_transfer_is_reversed_on_both_sides(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await opened(desk)
        await desk.book(deposit(10))
        [out, _] = await desk.book(transfer(10, method="card", reference="p1"))
        assert await desk.code(transfer(10, method="card", reference="p1")) == "reference_applied"
        await desk.book(reverse(out.operation))
        assert (ledger.balance(1001), ledger.balance(1002)) == (cents(10), 0)
        assert ledger.rows("SELECT reversed_by FROM history WHERE kind = 'transfer'") == [(7,), (7,)]
        assert await desk.code(transfer(10, method="card", reference="p1")) == "booked"


async def test_a_key_may_move_only_so_much_in_a_server_day(ledger: LedgerUnderTest) -> None:
    clock, clerk = Clock(), key(amount_day_max=100)
    async with ledger.desk(clock=clock) as desk:
        await opened(desk)
        assert await desk.code(deposit(60), caller=clerk) == "booked"
        assert await desk.code(deposit(50)) == "booked"
        both = await desk.together(request(deposit(40), caller=clerk), request(deposit("0.01"), caller=clerk))
        assert codes_of(both) == ["booked", "key_day_limit"]
        clock.forward(days=1)
        assert await desk.code(deposit(100), caller=clerk) == "booked"
        assert await desk.code(deposit("0.01"), caller=clerk) == "key_day_limit"
        async with ledger.desk(clock=clock) as other:
            assert await other.code(deposit("0.01"), caller=clerk) == "key_day_limit"
    used = ledger.rows("SELECT server_day, used FROM key_usage WHERE key_id = 'k1' ORDER BY 1")
    assert used == [(date(2026, 11, 18), 10_000), (date(2026, 11, 19), 10_000)]


async def test_time_and_server_day_never_go_back_when_the_clock_does(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-11-18 12:00"))
    async with ledger.desk(clock=clock) as desk:
        await opened(desk)
        clock.now = at("2026-11-16 09:00")
        [event] = await desk.book(deposit(1))
        assert (event.recorded_at, event.server_day) == (at("2026-11-18 12:00"), date(2026, 11, 18))
        async with ledger.desk(clock=clock) as other:
            [event] = await other.book(deposit(1))
        assert event.recorded_at == at("2026-11-18 12:00")
        clock.now = at("2026-11-19 00:00")
        [event] = await desk.book(deposit(1))
        assert (event.recorded_at, event.server_day) == (clock.now, date(2026, 11, 19))


async def test_days_stand_still_after_a_change_of_clock_until_it_catches_up(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-11-18 22:30"))
    async with ledger.desk(clock=clock) as desk:
        await opened(desk)
        await desk.book(define_server("Europe/Athens"))
        days = [(await booked_by(desk, deposit(1))).server_day]
        await desk.book(define_server("America/New_York", "17:00"))
        days.append((await booked_by(desk, deposit(1))).server_day)
        await desk.book(define_server("UTC"))
        for hours in (0, 1, 2, 25.5):
            clock.now = at("2026-11-18 22:30") + timedelta(hours=hours)
            days.append((await booked_by(desk, deposit(1))).server_day)
    assert [day.day for day in days] == [19, 19, 19, 19, 19, 20]


@pytest.mark.parametrize(
    ("clock_of_server", "first"),
    [
        (("Europe/Athens", "00:00", "all"), "2026-03-27 20:00"),  # 29 March has 23 hours
        (("Europe/Athens", "00:00", "mon-fri"), "2026-10-23 20:00"),  # 25 October has 25; the month ends
        (("America/New_York", "17:00", "mon-fri"), "2026-02-26 20:00"),  # month end on a Saturday
        (("UTC", "00:00", "all"), "2027-12-30 20:00"),
    ],
)
async def test_prevbalance_read_by_a_case_equals_the_naive_sum_at_every_hour(
    ledger: LedgerUnderTest, clock_of_server: tuple[str, str, str], first: str
) -> None:
    chance = random.Random(first)
    clock = Clock(at(first))
    async with ledger.desk(clock=clock) as desk:
        await desk.book(define_server(*clock_of_server))
        await opened(desk, logins=[1001])
        for _ in range(60):
            clock.forward(minutes=chance.choice([1, 60, 90, 600, 1800]))
            if chance.random() < 0.7:
                await desk.book(chance.choice([deposit(7), deposit(3), credit(1), correct(balance=-4)]))
            assert_prevbalances(ledger, desk)


def assert_prevbalances(ledger: LedgerUnderTest, desk: Desk) -> None:
    server_clock = desk.writer.definitions.clock
    server_day = server_clock.server_day(desk.clock())
    trading_day, month = server_clock.trading_day(server_day), server_day.replace(day=1)
    [found] = ledger.rows(
        "SELECT CASE WHEN balance_day = %s THEN balance_before_day ELSE balance END,"
        " CASE WHEN balance_month = %s THEN balance_before_month ELSE balance END FROM accounts",
        trading_day,
        month,
    )
    legs = [event for event in ledger.log() if isinstance(event, MoneyMoved)]
    assert found == (
        sum(leg.balance_change for leg in legs if leg.trading_day < trading_day),
        sum(leg.balance_change for leg in legs if leg.server_day < month),
    )


def assert_live_is_the_fold_of_the_log(ledger: LedgerUnderTest) -> None:
    live = ledger.rows("SELECT login, version, balance, credit FROM accounts ORDER BY 1")
    accounts = folded(ledger.log())
    assert live == [(a.login, a.version, a.balance, a.credit) for _, a in sorted(accounts.items())]
    after = 'SELECT DISTINCT ON (login) login, balance, credit FROM history ORDER BY login, "position" DESC'
    moved = {login: (balance, held) for login, balance, held in ledger.rows(after)}
    assert moved == {a.login: (a.balance, a.credit) for a in accounts.values() if a.login in moved}


def a_money_command(chance: random.Random) -> Any:
    login, other = chance.sample(range(1001, 1007), 2)
    amount = chance.randint(1, 60)
    return chance.choice(
        [
            deposit(amount, login=login),
            withdraw(amount, login=login),
            transfer(amount, source=login, target=other),
            credit(amount, login=login),
            adjust("charge", -amount, login=login),
        ]
    )


async def opened(desk: Desk, *, logins: Sequence[int] = (1001, 1002)) -> None:
    """Define group `standard` and open accounts in it."""
    await desk.book(define_group())
    outcomes = await desk.writer.submit_bulk([request(open_account(login)) for login in logins])
    assert set(codes_of(outcomes)) == {"booked"}


async def booked_by(desk: Desk, command: Any) -> Event:
    [event] = await desk.book(command)
    return event


def kill(ledger: LedgerUnderTest, desk: Desk) -> None:
    assert ledger.value("SELECT pg_terminate_backend(%s, %s)", desk.pid, 1000 * HANG_S)


def still_waits(ledger: LedgerUnderTest, pid: int) -> bool:
    """Say whether the server still waits for a lock in this process."""
    return bool(ledger.value("SELECT cardinality(pg_blocking_pids(%s)) > 0", pid))


async def booked_until_one_waits_for_a_standby(
    superuser: AsyncConnection[Any], desk: Desk
) -> tuple[str, asyncio.Task[Outcome]]:
    """Book deposits of 1 until the server's new setting has taken hold, which it does in its own time."""
    query = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
    async with asyncio.timeout(HANG_S):
        for number in count():
            name = f"unconfirmed-{number}"
            [waiting] = desk.start(request(deposit(1), name))
            while not waiting.done():
                cursor = await superuser.execute(query, [desk.pid])
                if await cursor.fetchone() == ("SyncRep",):
                    return name, waiting
    raise AssertionError
