"""Credit that expires goes out once its server day has closed, whenever its booking is seen."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from api import housekeeping
from api.database import Database
from api.housekeeping import Housekeeping
from ledger.refusals import Refusal
from projections import rebuild
from tests.drive import Clock, settled
from tests.make import at, cents, credit, define_group, define_server, only, open_account, reverse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledger.events import MoneyMoved
    from tests.drive import Desk, LedgerUnderTest

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def keeping(ledger: LedgerUnderTest, desk: Desk) -> AsyncIterator[Housekeeping]:
    """Lend the housekeeping of the service that a desk stands for; it looks when it is told to."""
    database = Database(ledger.database_url, ledger.name)
    await database.open()
    try:
        yield Housekeeping(database, desk.writer, now=desk.clock, keeper=None)
    finally:
        await database.close()


async def expired(chores: Housekeeping) -> MoneyMoved:
    """Look for what has expired; give the one booking that comes of it."""
    [outcome] = await chores.sweep()
    assert not isinstance(outcome, Refusal)
    return only(outcome)


async def granted(desk: Desk, *, until: str) -> MoneyMoved:
    """Open an account that has 50 of credit until an instant."""
    await desk.book(define_group())
    await desk.book(open_account(1001))
    return only(await desk.book(credit(50, expires_at=at(until))))


@pytest.mark.parametrize("of_another_service", [False, True])
async def test_credit_whose_booking_is_seen_after_the_close_goes_out_all_the_same(
    ledger: LedgerUnderTest, *, of_another_service: bool
) -> None:
    clock = Clock(at("2026-11-18 23:59:59"))
    async with (
        ledger.desk(clock=clock) as desk,
        ledger.desk(clock=clock) as other,
        keeping(ledger, other if of_another_service else desk) as chores,
    ):
        await desk.book(define_group())
        await desk.book(open_account(1001))
        with psycopg.connect(ledger.superuser) as slow:
            slow.execute("LOCK TABLE history IN SHARE MODE")  # what is decided waits to be seen
            booking = asyncio.create_task(desk.book(credit(50, expires_at=at("2026-11-18 23:59:59.5"))))
            await desk.until_waiting()
            clock.now = at("2026-11-19 00:00:00.1")
            assert await chores.sweep() == []
        [given] = await booking
        assert given.recorded_at == at("2026-11-18 23:59:59")
        expiry = await expired(chores)
        assert (expiry.corrects, expiry.effective) == (given.operation, at("2026-11-19 00:00"))
        assert ledger.value("SELECT credit FROM accounts") == 0
        assert await chores.sweep() == []


class Looks:
    """Counts how often it is asked whether the server runs, and may have trouble to tell."""

    def __init__(self) -> None:
        self.count = 0
        self.trouble: OSError | None = None

    def ensure_running(self) -> bool:
        self.count += 1
        if self.trouble is not None:
            raise self.trouble
        return False


async def test_why_nothing_can_be_looked_for_is_said_once_for_each_reason(
    ledger: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(housekeeping, "POLL_S", 0)
    looks, database = Looks(), Database(ledger.database_url, ledger.name)
    await database.open()
    async with ledger.desk() as desk:
        chores = Housekeeping(database, desk.writer, now=Clock(), keeper=looks)
        await chores.start()
        await database.close()
        enough = looks.count + 4
        await settled(lambda: looks.count > enough)
        looks.trouble = OSError("no server to look at")
        enough = looks.count + 4
        await settled(lambda: looks.count > enough)
        await chores.stop()
    said = [record.getMessage() for record in caplog.records if record.name == "fundledger.housekeeping"]
    assert ["waits for the database" in line for line in said] == [True, True]
    assert said[1].endswith("no server to look at")


async def test_a_grant_that_has_expired_stays_closed_under_a_clock_that_opens_its_day_again(
    ledger: LedgerUnderTest,
) -> None:
    clock = Clock(at("2026-11-18 20:00"))
    async with ledger.desk(clock=clock) as desk, keeping(ledger, desk) as chores:
        await granted(desk, until="2026-11-18 23:30")
        [out] = await desk.book(credit(-20))
        clock.now = at("2026-11-19 00:00")
        assert (await expired(chores)).credit_change == cents(-30)
        clock.now = at("2026-11-19 09:00")
        await desk.book(define_server("America/New_York", "17:00", "mon-fri", "USD"))
        back = only(await desk.book(reverse(out.operation)))
        assert (back.credit, back.grants) == (cents(20), ())
        assert ledger.rows("SELECT credit, grants FROM accounts") == [(cents(20), None)]
        clock.now = at("2026-11-19 22:00")
        assert await chores.sweep() == []
    assert list(rebuild.verify(ledger.database_url, ledger.name)) == []


async def test_a_grant_that_was_used_up_opens_again_and_expires(ledger: LedgerUnderTest) -> None:
    clock = Clock(at("2026-11-18 20:00"))
    async with ledger.desk(clock=clock) as desk, keeping(ledger, desk) as chores:
        given = await granted(desk, until="2026-11-18 23:30")
        [out] = await desk.book(credit(-50))
        await desk.book(reverse(out.operation))
        clock.now = at("2026-11-19 00:00")
        expiry = await expired(chores)
        assert (expiry.corrects, expiry.credit_change) == (given.operation, cents(-50))


async def test_a_grant_that_an_earlier_version_opened_after_its_expiry_stays_as_it_was_booked(
    ledger: LedgerUnderTest,
) -> None:
    clock = Clock(at("2026-11-18 20:00"))
    async with ledger.desk(clock=clock) as desk, keeping(ledger, desk) as chores:
        await granted(desk, until="2026-11-18 23:30")
        [grants] = ledger.rows("SELECT grants, grants_expire_at FROM accounts")
        clock.now = at("2026-11-19 00:00")
        await expired(chores)
        ledger.rows("UPDATE accounts SET credit = 5000, grants = %s, grants_expire_at = %s", *grants)
        assert await chores.sweep() == []
