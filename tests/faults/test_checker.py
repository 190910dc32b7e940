"""A control: whoever holds the books against the clients' memory sees a loss, a double, a wrong amount."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from tests.faults.load import Booked, Deposit, faults, wrong_balances

SENT = {f"r{n}": Deposit(f"r{n}", 1001, Decimal(n)) for n in range(1, 6)}
BOOKED = [Booked(f"r{n}", 1001, Decimal(n), f"bal_{n}", n) for n in range(1, 6)]
ACKNOWLEDGED = {f"r{n}": f"bal_{n}" for n in range(1, 5)}  # nobody knows of r5
HELD = {1001: Decimal(15)}


def test_books_that_are_right_have_no_fault() -> None:
    assert faults(SENT, ACKNOWLEDGED, BOOKED) == []
    assert faults(SENT, ACKNOWLEDGED, BOOKED, all_of_it=True) == []
    assert wrong_balances(HELD, BOOKED) == {}


def test_an_acknowledged_deposit_that_is_not_there_is_a_loss() -> None:
    assert faults(SENT, ACKNOWLEDGED, BOOKED[1:]) == ["r1 is lost"]


def test_a_deposit_that_nobody_acknowledged_may_be_missing_until_it_is_sent_again() -> None:
    assert faults(SENT, ACKNOWLEDGED, BOOKED[:4]) == []
    assert faults(SENT, ACKNOWLEDGED, BOOKED[:4], all_of_it=True) == ["r5 is lost"]


@pytest.mark.parametrize("twice", ["r2", "r5"])
def test_a_deposit_that_is_there_twice_is_a_double(twice: str) -> None:
    again = replace(next(line for line in BOOKED if line.request_id == twice), position=6)
    assert faults(SENT, ACKNOWLEDGED, [*BOOKED, again]) == [f"{twice} is booked 2 times"]


def test_another_amount_another_account_and_another_operation_are_seen() -> None:
    for change in ({"amount": Decimal(9)}, {"login": 1002}, {"operation_id": "bal_9"}):
        assert len(faults(SENT, ACKNOWLEDGED, [replace(BOOKED[0], **change), *BOOKED[1:]])) == 1


def test_what_nobody_sent_and_a_position_taken_twice_are_seen() -> None:
    assert faults(SENT, ACKNOWLEDGED, [*BOOKED, Booked("x", 1001, Decimal(1), "bal_6", 6)]) == [
        "x was never sent"
    ]
    assert faults(SENT, ACKNOWLEDGED, [*BOOKED[:4], replace(BOOKED[4], position=4)]) == [
        "position 4 is taken twice"
    ]


def test_a_balance_that_is_not_the_sum_of_its_lines_is_seen() -> None:
    assert wrong_balances(HELD, BOOKED[1:]) == {1001: Decimal(1)}
    assert wrong_balances({}, BOOKED) == {1001: Decimal(-15)}
