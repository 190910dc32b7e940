"""A standby that stands still: nobody is told of success for what it lacks, however the wait for it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.standby import standby_frozen

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_is_acknowledged_that_a_frozen_standby_lacks(scratch: Path) -> None:
    outcome = standby_frozen(scratch, rounds=2)
    assert (outcome.rounds, outcome.clean) == (2, True), outcome
