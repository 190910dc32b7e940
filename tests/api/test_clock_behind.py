"""A clock that falls behind the ledger's last event: recorded time stands still, or nothing is booked."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from api.clocks import real_now
from tests.api.served import BOUND_S, Caller, Served, new_id, serving
from tests.api.test_metrics import value
from tests.drive import Clock, LedgerUnderTest
from tests.make import define_group, deposit, open_account
from tests.service import within

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.commands import Command

BODY = {"login": 1001, "amount": 1}


def booked_ahead(ledger: LedgerUnderTest, *commands: Command, seconds: float) -> datetime:
    """Book by a machine whose clock is ahead: to any other its own has gone back by as much."""

    async def book() -> datetime:
        async with ledger.desk(clock=Clock(real_now() + timedelta(seconds=seconds))) as desk:
            booked = [await desk.book(command, new_id()) for command in commands]
            return booked[-1][0].recorded_at.astimezone(UTC)

    return asyncio.run(book())


@pytest.mark.anyio
async def test_a_clock_that_goes_back_stops_the_books_until_it_has_caught_up(ledger: LedgerUnderTest) -> None:
    clock = Clock()
    async with ledger.desk(clock=clock, behind_max=timedelta(minutes=1)) as desk:
        await desk.book(define_group())
        await desk.book(open_account(1001))
        [last] = await desk.book(deposit(1))
        clock.forward(hours=-1)
        assert await desk.code(deposit(1), "r") == "clock_behind"
        assert ledger.positions() == [1, 2, 3]
        clock.forward(minutes=59)
        [stood_still] = await desk.book(deposit(1), "r")
        assert stood_still.recorded_at == last.recorded_at
        clock.forward(microseconds=-1)
        assert await desk.code(deposit(1), "r") == "clock_behind"
        clock.forward(hours=1)
        [event] = await desk.book(deposit(1))
        assert event.recorded_at == clock.now
        assert await desk.code(deposit(1), "r") == "request_applied"


def test_the_service_says_that_its_clock_is_behind(ledger: LedgerUnderTest, tmp_path: Path) -> None:
    with served_from(ledger, tmp_path / "log", tolerance=600) as service:
        admin = service.caller()
        last = booked_ahead(ledger, define_group(), open_account(1001), deposit(1), seconds=500)
        booked = admin.booked("deposit", **BODY)
        assert datetime.fromisoformat(booked["recordedAt"]) == last
        assert 0 < value(service, "clock_behind_seconds") <= 500
        within(BOUND_S, lambda: "the ledger's last event: recorded time stands still" in service.logged)
        booked_ahead(ledger, deposit(1), seconds=3_600)
        head = service.last_position
        refused = admin.post("/balances/deposit", BODY, request_id=new_id())
        assert refused.said == (503, "clock_behind")
        assert int(refused.headers["retry-after"]) > 0
        assert admin.get("/readyz").said == (503, "not_ready")
        assert admin.get("/users/1001").status == 200  # reads go on
        assert service.last_position == head
        within(BOUND_S, lambda: service.logged.count("nothing is booked until it catches up") == 1)


def test_a_service_does_not_start_with_a_clock_that_is_far_behind(
    ledger: LedgerUnderTest, tmp_path: Path
) -> None:
    booked_ahead(ledger, define_group(), open_account(1001), seconds=1_000)
    with pytest.raises(AssertionError, match="put the clock right, or wait for it to catch up"):
        Served(ledger.database_url, tmp_path / "log", ledger=ledger.name)
    with served_from(ledger, tmp_path / "log", tolerance=2_000) as tolerant:
        key = tolerant.key()
        Caller(tolerant, key).booked("deposit", **BODY)
        tolerant.command("keys", "revoke", key.split("_")[1])  # a key can be ended whatever the clock says


def served_from(ledger: LedgerUnderTest, log: Path, *, tolerance: int) -> AbstractContextManager[Served]:
    """Serve a ledger by a service that lets its clock be so many seconds behind."""
    options = ("--clock-tolerance", str(tolerance))
    return serving(ledger.database_url, log, *options, ledger=ledger.name)
