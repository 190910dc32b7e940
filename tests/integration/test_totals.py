"""The sums kept beside the accounts are the sums over the accounts, whatever is booked, on any day."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ledger.commands import DisableAccount, EnableAccount, UpdateAccount
from ledger.funding import BALANCE_MAX
from projections import batch, rebuild
from tests.drive import Clock
from tests.make import (
    adjust,
    at,
    cents,
    correct,
    credit,
    deal,
    define_group,
    define_server,
    deposit,
    open_account,
    request,
    reverse,
    transfer,
    withdraw,
)

if TYPE_CHECKING:
    from ledger.commands import Command
    from tests.drive import LedgerUnderTest

pytestmark = pytest.mark.anyio

SUMS = """
SELECT group_name, enable, {count}, sum(balance), sum(credit),
    sum(CASE WHEN balance_day = %s THEN balance_before_day ELSE balance END),
    sum(CASE WHEN balance_month = %s THEN balance_before_month ELSE balance END)
FROM ({table}) AS kept GROUP BY 1, 2 HAVING {count} <> 0 ORDER BY 1, 2
"""
GROUPS = ("standard", "vip", "gold")
LOGINS = range(1001, 1009)


def sums(ledger: LedgerUnderTest, table: str, day: date) -> list[tuple[Any, ...]]:
    if table == "accounts":
        query = SUMS.format(table="TABLE accounts", count="count(*)")
    else:
        query = SUMS.format(table="TABLE totals UNION ALL TABLE totals_added", count="sum(accounts)")
    return ledger.rows(query, day, day.replace(day=1))


def agrees(ledger: LedgerUnderTest, day: date) -> None:
    """Check the sums against the accounts on a day and on days to come, on which nothing was written yet."""
    for ahead in (0, 1, 40):
        then = day + timedelta(days=ahead)
        assert sums(ledger, "totals", then) == sums(ledger, "accounts", then)


def anything(chance: random.Random) -> Command:
    login, other = chance.sample(LOGINS, 2)
    amount = chance.randint(1, 900)
    return chance.choice(
        [
            deposit(amount, login=login),
            withdraw(amount, login=login),
            credit(amount, login=login),
            credit(-amount, login=login),
            transfer(amount, source=login, target=other),
            correct(balance=-amount, credit=amount, login=login),
            adjust("bonus-conversion", amount, login=login),
            reverse(chance.randint(13, 200)),
            deal(f"d{chance.randint(1, 10**9)}", -amount, login=login),
            UpdateAccount(login=login, group=chance.choice(GROUPS)),
            UpdateAccount(login=login, enable=chance.choice([True, False])),
            DisableAccount(login=login),
            EnableAccount(login=login),
            open_account(group=chance.choice(GROUPS)),
        ]
    )


@pytest.mark.parametrize("seed", range(4))
async def test_totals_are_the_sums_over_the_accounts_at_any_time(ledger: LedgerUnderTest, seed: int) -> None:
    chance, clock = random.Random(seed), Clock(at("2026-10-28 12:00"))
    first = [*map(define_group, GROUPS), *(open_account(login) for login in LOGINS)]
    async with ledger.desk(clock=clock) as desk:
        await desk.writer.submit_bulk([request(command) for command in first])
        for _ in range(14):
            clock.forward(hours=chance.choice([0, 1, 9, 30, 200]))
            batch = [request(anything(chance)) for _ in range(chance.randint(1, 25))]
            await desk.writer.submit_bulk(batch)
            agrees(ledger, clock.now.date())
    assert list(rebuild.verify(ledger.database_url, ledger.name)) == []


async def test_a_weekend_and_a_change_of_clock_leave_the_totals_right(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-11-27 12:00"))  # a Friday; trading goes on in another month
    async with ledger.desk(clock=clock) as desk:
        await desk.book(define_group())
        await desk.book(open_account(1001))
        for day in range(6):
            await desk.book(deposit(10 + day))
            if day == 1:
                await desk.book(define_server("Europe/Athens", "00:00", "mon-fri"))
                await desk.book(deposit(1))
            clock.forward(hours=24)
    [[day, trading_day]] = ledger.rows("SELECT server_day, trading_day FROM history ORDER BY 1 DESC LIMIT 1")
    days = (trading_day, day.replace(day=1))
    kept = SUMS.format(table="TABLE totals UNION ALL TABLE totals_added", count="sum(accounts)")
    assert ledger.rows(kept, *days) == ledger.rows(
        SUMS.format(table="TABLE accounts", count="count(*)"), *days
    )
    assert list(rebuild.verify(ledger.database_url, ledger.name)) == []


async def test_days_that_are_over_do_not_pile_up(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-01-05 12:00"))
    async with ledger.desk(clock=clock) as desk:
        await desk.book(define_group())
        await desk.writer.submit_bulk([request(open_account(1001 + n)) for n in range(40)])
        for n in range(40):
            clock.forward(hours=24)
            await desk.book(deposit(5, login=1001 + n))
            assert ledger.value("SELECT count(*) FROM totals") <= 3
            agrees(ledger, clock.now.date())


async def test_sums_beyond_a_bigint_are_exact(ledger: LedgerUnderTest) -> None:
    async with ledger.desk() as desk:
        await desk.book(define_group())
        await desk.writer.submit_bulk([request(open_account(1001 + n)) for n in range(3)])
    ledger.rows("UPDATE accounts SET balance = %s", BALANCE_MAX - cents(1))
    ledger.rows("UPDATE totals_added SET balance = %s", 3 * (BALANCE_MAX - cents(1)))
    async with ledger.desk() as desk:
        batch = [request(deposit("0.5", login=1001 + n)) for n in range(3)]
        await desk.writer.submit_bulk(batch)
    kept = "SELECT sum(balance) FROM (TABLE totals UNION ALL TABLE totals_added) AS kept"
    assert ledger.value(kept) == 3 * (BALANCE_MAX - cents("0.5"))


async def test_what_batches_add_is_put_together_now_and_then(
    ledger: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "ADDED_MAX", 7)
    async with ledger.desk() as desk:
        await desk.book(define_group())
        await desk.book(open_account(1001))
        for n in range(1, 30):
            await desk.book(deposit(n))
            assert ledger.value("SELECT count(*) FROM totals_added") <= 7
            assert ledger.value("SELECT count(*) FROM daily_added") <= 7
            agrees(ledger, desk.clock().date())
    daily = (
        "SELECT sum(operations), sum(balance_change) FROM (TABLE daily UNION ALL TABLE daily_added) AS kept"
    )
    assert ledger.rows(daily) == [(29, cents(435))]
    assert list(rebuild.verify(ledger.database_url, ledger.name)) == []
