"""Two services on one ledger: one log without a gap, each request once, whichever of them dies or stalls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.rivals import two_services

if TYPE_CHECKING:
    from pathlib import Path


def test_two_services_on_one_ledger_book_as_one_also_when_one_dies_or_stands_still(scratch: Path) -> None:
    outcome = two_services(scratch, rounds=4)
    assert (outcome.rounds, outcome.clean) == (4, True), outcome
