"""Under load the service, or PostgreSQL, stands still and goes on: nothing is lost, nothing doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.stops import postgres_stopped, service_stopped

if TYPE_CHECKING:
    from pathlib import Path


def test_what_clients_repeat_while_the_service_stands_still_is_booked_once(scratch: Path) -> None:
    outcome = service_stopped(scratch, rounds=3)
    assert (outcome.rounds, outcome.clean) == (3, True), outcome


def test_what_clients_repeat_while_postgresql_stands_still_is_booked_once(scratch: Path) -> None:
    outcome = postgres_stopped(scratch, rounds=2)
    assert (outcome.rounds, outcome.clean) == (2, True), outcome
