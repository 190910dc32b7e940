"""A thousand posts at once of what may be booked once, or as far as the money goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.storms import storms

if TYPE_CHECKING:
    from pathlib import Path


def test_duplicate_storms_book_each_request_once_and_no_money_that_is_not_there(scratch: Path) -> None:
    outcome = storms(scratch, rounds=2)
    assert (outcome.rounds, outcome.clean) == (2, True), outcome
