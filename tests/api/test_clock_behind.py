"""A clock that falls behind the ledger's last event: recorded time stands still, or nothing is booked."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from api.clocks import real_now
from tests.api.served import BOUND_S, Caller, Served, new_id, within
from tests.api.test_metrics import value
from tests.drive import Clock, LedgerUnderTest
from tests.make import deposit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def opened(admin: Caller) -> int:
    assert admin.put("/groups/standard", {"currency": "USD"}).status == 200
    return admin.open(group="standard")


def booked_ahead(served: Served, login: int, *, seconds: float) -> datetime:
    """Book by a machine whose clock is ahead: to the service its own has gone back by as much."""

    async def book() -> datetime:
        async with served.ledger.desk(clock=Clock(real_now() + timedelta(seconds=seconds))) as desk:
            [event] = await desk.book(deposit(1, login=login), new_id())
            return event.recorded_at.astimezone(UTC)

    return asyncio.run(book())


def test_time_stands_still_while_the_clock_is_a_little_behind(served: Served, admin: Caller) -> None:
    login = admin.open()
    last = booked_ahead(served, login, seconds=30)
    booked = admin.booked("deposit", login=login, amount=1)
    assert datetime.fromisoformat(booked["recordedAt"]) == last
    assert 10 < value(served, "clock_behind_seconds") <= 30
    within(BOUND_S, lambda: "behind the ledger's last event: recorded time stands still" in served.logged)


def test_nothing_is_booked_while_the_clock_is_far_behind(ledger: LedgerUnderTest, tmp_path: Path) -> None:
    with served_from(ledger, tmp_path / "log", tolerance=5) as strict:
        admin = strict.caller()
        login = opened(admin)
        booked_ahead(strict, login, seconds=7)
        body, request_id, head = {"login": login, "amount": 1}, new_id(), strict.last_position
        refused = admin.post("/balances/deposit", body, request_id=request_id)
        assert refused.said == (503, "clock_behind")
        assert int(refused.headers["retry-after"]) > 0
        assert admin.get("/readyz").said == (503, "not_ready")
        assert admin.get(f"/users/{login}").status == 200  # reads go on
        assert strict.last_position == head
        within(BOUND_S, lambda: admin.post("/balances/deposit", body, request_id=request_id).status == 201)
        assert admin.post("/balances/deposit", body, request_id=request_id).said == (409, "request_applied")
        within(BOUND_S, lambda: strict.logged.count("nothing is booked until it catches up") == 1)


def test_a_service_does_not_start_with_a_clock_that_is_far_behind(
    ledger: LedgerUnderTest, tmp_path: Path
) -> None:
    with served_from(ledger, tmp_path / "log", tolerance=60) as service:
        key, login = service.key(), opened(service.caller())
        booked_ahead(service, login, seconds=100)
    with pytest.raises(AssertionError, match="put the clock right, or wait for it to catch up"):
        Served(ledger.database_url, tmp_path / "log", ledger=ledger.name)
    with served_from(ledger, tmp_path / "log", tolerance=120) as tolerant:
        Caller(tolerant, key).booked("deposit", login=login, amount=1)
        tolerant.command("keys", "revoke", key.split("_")[1])  # a key can be ended whatever the clock says


@contextmanager
def served_from(ledger: LedgerUnderTest, log: Path, *, tolerance: int) -> Iterator[Served]:
    """Serve a ledger of the test's own by a service that lets its clock be so many seconds behind."""
    options = ("--clock-tolerance", str(tolerance))
    service = Served(ledger.database_url, log, *options, ledger=ledger.name)
    try:
        yield service
    finally:
        assert service.stop() == 0
