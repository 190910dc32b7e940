"""More requests than may wait: the rest is told to come again, reads go on, and in the end all is booked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.crowd import full_queue

if TYPE_CHECKING:
    from pathlib import Path


def test_what_a_full_queue_turned_away_is_booked_once_when_it_comes_again(scratch: Path) -> None:
    outcome = full_queue(scratch, rounds=1)
    assert (outcome.rounds, outcome.clean) == (1, True), outcome
