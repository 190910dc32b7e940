"""Clients that hang up in the middle: what they asked for whole is booked once, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.leaving import clients_leave

if TYPE_CHECKING:
    from pathlib import Path


def test_clients_that_hang_up_are_booked_once_where_they_asked_whole_and_else_not(
    scratch: Path,
) -> None:
    outcome = clients_leave(scratch, rounds=3)
    assert (outcome.rounds, outcome.clean) == (3, True), outcome
