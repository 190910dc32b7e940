"""The daily report adds up: opening and movements are the closing, on any day, whatever was booked."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import AsyncConnection

from ledger.commands import DisableAccount, EnableAccount, ExpireCredit, UpdateAccount
from ledger.events import MoneyMoved
from projections.accounts import expired_grants
from projections.batch import BatchViews
from projections.daily import Movement, read_daily
from projections.sums import GROUP_CHANGE
from tests.drive import Clock
from tests.make import (
    adjust,
    at,
    correct,
    credit,
    deal,
    define_group,
    define_server,
    deposit,
    open_account,
    reverse,
    transfer,
    withdraw,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date

    from ledger.commands import Command
    from projections.daily import Day, Report
    from tests.drive import Desk, LedgerUnderTest

pytestmark = pytest.mark.anyio

GROUPS = {"standard": "USD", "vip": "USD", "gold": "USD", "yen": "JPY", "more-yen": "JPY"}
DOLLARS, YEN = range(1001, 1007), range(2001, 2004)


async def reported(ledger: LedgerUnderTest, day: date, *groups: str) -> Report:
    """Read the report of a day."""
    async with await AsyncConnection.connect(ledger.service, autocommit=True) as connection:
        definitions = await BatchViews().load_definitions(connection)
        wanted = {name: group for name, group in definitions.groups.items() if name in (groups or GROUPS)}
        return await read_daily(connection, day, wanted)


def held(moved: Movement) -> tuple[int, int]:
    return moved.balance, moved.credit


def live(ledger: LedgerUnderTest) -> dict[str, tuple[int, int]]:
    """Add the accounts up as they are."""
    rows = ledger.rows(
        "SELECT group_name, sum(balance)::bigint, sum(credit)::bigint FROM accounts GROUP BY 1"
    )
    return {group: (balance, credit) for group, balance, credit in rows}


def nonzero(sums: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    return {name: found for name, found in sums.items() if any(found)}


# Examples.


async def a_week(desk: Desk, clock: Clock) -> None:
    """Book Wednesday and Thursday of accounts 1001 (standard) and 1002 (vip)."""
    for group in ("standard", "vip"):
        await desk.book(define_group(group))
    await desk.book(open_account(1001))
    await desk.book(open_account(1002, group="vip"))
    await desk.book(deposit(100))
    await desk.book(credit(20, login=1002))
    clock.forward(days=1)
    await desk.book(deposit("50.25"))
    await desk.book(withdraw(30))
    await desk.book(transfer(10))
    await desk.book(credit(-5, login=1002))


async def test_a_day_opens_with_what_the_day_before_closed_with(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-11-18 12:00"))
    async with ledger.desk(clock=clock) as desk:
        await a_week(desk, clock)
    report = await reported(ledger, at("2026-11-19").date())
    standard, vip = report.groups["standard"], report.groups["vip"]
    assert (held(standard.opening), held(standard.closing)) == ((10000, 0), (11025, 0))
    assert {kind: held(moved) for kind, moved in standard.movements.items()} == {
        "deposit": (5025, 0),
        "withdrawal": (-3000, 0),
        "transfer": (-1000, 0),
    }
    assert (held(vip.opening), held(vip.closing)) == ((0, 2000), (1000, 1500))
    assert (standard.operations, standard.active, vip.operations, vip.active) == (3, 1, 2, 1)


async def test_groups_of_one_currency_add_up(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-11-18 12:00"))
    async with ledger.desk(clock=clock) as desk:
        await a_week(desk, clock)
    dollars = (await reported(ledger, at("2026-11-19").date())).currencies["USD"]
    assert (held(dollars.opening), held(dollars.closing)) == ((10000, 2000), (12025, 1500))
    assert held(dollars.movements["transfer"]) == (0, 0)
    assert (dollars.operations, dollars.active) == (5, 2)


async def test_an_account_takes_its_money_along_to_another_group(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-11-18 12:00"))
    async with ledger.desk(clock=clock) as desk:
        await a_week(desk, clock)
        clock.forward(days=1)
        await desk.book(deposit(1))
        await desk.book(UpdateAccount(login=1001, group="vip"))
        await desk.book(deposit(2))
    report = await reported(ledger, at("2026-11-20").date())
    standard, vip, dollars = report.groups["standard"], report.groups["vip"], report.currencies["USD"]
    assert held(standard.movements[GROUP_CHANGE]) == (-11125, 0)
    assert held(vip.movements[GROUP_CHANGE]) == (11125, 0)
    assert held(standard.closing) == (0, 0)
    assert held(dollars.movements[GROUP_CHANGE]) == (0, 0)
    # It was active in both groups, and is one account.
    assert (standard.active, vip.active, dollars.active) == (1, 1, 1)
    assert (standard.operations, vip.operations) == (1, 1)


async def test_a_past_day_stays_as_it_was(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-11-18 12:00"))
    async with ledger.desk(clock=clock) as desk:
        await a_week(desk, clock)
        before = await reported(ledger, at("2026-11-18").date())
        await desk.book(UpdateAccount(login=1001, group="vip"))
        await desk.book(deposit(5, effective_at=at("2026-11-18 13:00")))  # booked today
    assert await reported(ledger, at("2026-11-18").date()) == before
    assert held(before.groups["standard"].closing) == (10000, 0)


async def test_a_day_without_a_movement_closes_as_it_opened(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-11-18 12:00"))
    async with ledger.desk(clock=clock) as desk:
        await a_week(desk, clock)
    quiet = (await reported(ledger, at("2026-11-25").date())).groups["standard"]
    assert held(quiet.opening) == held(quiet.closing) == (11025, 0)
    assert (quiet.movements, quiet.operations, quiet.active) == ({}, 0, 0)


async def test_only_the_groups_that_are_asked_for_are_told_of(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-11-18 12:00"))
    async with ledger.desk(clock=clock) as desk:
        await a_week(desk, clock)
    report = await reported(ledger, at("2026-11-19").date(), "vip")
    assert list(report.groups) == ["vip"]
    assert (report.currencies["USD"].operations, report.currencies["USD"].active) == (2, 1)


# Anything at all.


def anything(chance: random.Random, clock: Clock) -> Command:
    logins = chance.choice([DOLLARS, DOLLARS, YEN])
    login, other = chance.sample(logins, 2)
    group = chance.choice(
        [name for name, currency in GROUPS.items() if (currency == "JPY") == (logins is YEN)]
    )
    amount, expiry = chance.randint(1, 900), clock.now + timedelta(hours=chance.randint(1, 60))
    return chance.choice(
        [
            deposit(amount, login=login),
            deposit(amount, login=login, effective_at=clock.now - timedelta(days=chance.randint(0, 4))),
            withdraw(amount, login=login),
            credit(amount, login=login, expires_at=expiry),
            credit(-amount, login=login),
            transfer(amount, source=login, target=other),
            correct(balance=-amount, credit=amount, login=login),
            adjust("bonus-conversion", amount, login=login),
            adjust("negative-balance", login=login),
            reverse(chance.randint(16, 120)),
            reverse(chance.randint(16, 120)),
            deal(f"d{chance.randint(1, 10**9)}", -amount, login=login),
            UpdateAccount(login=login, group=group),
            UpdateAccount(login=login, group=group, enable=True),
            DisableAccount(login=login),
            EnableAccount(login=login),
            open_account(group=group),
        ]
    )


async def expire(desk: Desk, ledger: LedgerUnderTest) -> None:
    """Take out the credit whose last day is over, as the service does at each close."""
    midnight = desk.clock().replace(hour=0, minute=0)
    async with await AsyncConnection.connect(ledger.service, autocommit=True) as connection:
        due = await expired_grants(connection, midnight)
    for login, grant in due:
        await desk.outcome(ExpireCredit(login=login, grant=grant))


def told(log: Iterable[Any], day: date, group: str) -> dict[str, tuple[int, int]]:
    """Read the day's movements of a group from the log, without groups that accounts changed."""
    found: dict[str, tuple[int, int]] = {}
    for event in log:
        if isinstance(event, MoneyMoved) and (event.server_day, event.group) == (day, group):
            balance, credit = found.get(event.kind, (0, 0))
            found[event.kind] = (balance + event.balance_change, credit + event.credit_change)
    return found


def check(day: Day) -> None:
    opening, closing = held(day.opening), held(day.closing)
    moved = [held(movement) for movement in day.movements.values()]
    assert closing == tuple(sum(parts) for parts in zip(opening, *moved, strict=True))


@pytest.mark.parametrize("seed", range(4))
async def test_every_day_adds_up_and_today_closes_with_what_accounts_hold(
    ledger: LedgerUnderTest, seed: int
) -> None:
    chance, clock = random.Random(seed), Clock(at("2026-10-28 12:00"))
    async with ledger.desk(clock=clock) as desk:
        await desk.book(define_server(overnight_days="mon-fri"))
        for group, currency in GROUPS.items():
            await desk.book(define_group(group, currency))
        for login in (*DOLLARS, *YEN):
            await desk.book(open_account(login, group="yen" if login in YEN else "standard"))
            await desk.book(deposit(500, login=login))
        for _ in range(12):
            await expire(desk, ledger)
            for _ in range(chance.randint(5, 30)):
                await desk.outcome(anything(chance, clock))
            today = await reported(ledger, clock.now.date())
            closing = {group: held(day.closing) for group, day in today.groups.items()}
            assert nonzero(closing) == nonzero(live(ledger))
            clock.forward(hours=chance.choice([1, 9, 30, 80]))
    await every_day_adds_up(ledger, at("2026-10-27").date(), clock.now.date())


async def every_day_adds_up(ledger: LedgerUnderTest, first: date, last: date) -> None:
    log = ledger.log()
    before: dict[str, tuple[int, int]] = {}
    kinds_booked = {event.kind for event in log if isinstance(event, MoneyMoved)}
    assert kinds_booked >= {"credit", "transfer", "correction", "reversal", "trade"}
    for ahead in range((last - first).days + 1):
        day = first + timedelta(days=ahead)
        report = await reported(ledger, day)
        for group, found in report.groups.items():
            check(found)
            assert held(found.opening) == before.get(group, (0, 0))
            kinds = {kind: held(moved) for kind, moved in found.movements.items() if kind != GROUP_CHANGE}
            assert kinds == told(log, day, group)
            logins = {
                e.login for e in log if isinstance(e, MoneyMoved) and (e.server_day, e.group) == (day, group)
            }
            assert found.active == len(logins)
        for currency, found in report.currencies.items():
            check(found)
            parts = [held(one.closing) for one in report.groups.values() if one.currency == currency]
            assert held(found.closing) == tuple(map(sum, zip(*parts, strict=True)))
        before = {group: held(found.closing) for group, found in report.groups.items()}
