"""What an account is worth with its open positions, and what can be taken out of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ledger.commands import UpdateAccount
from ledger.definitions import Group
from ledger.figures import Figures, Worth
from ledger.refusals import ManagerOffline
from tests.make import (
    NOW,
    booked,
    cents,
    credit,
    credited,
    deposited,
    given,
    group_defined,
    refused,
    when,
    withdraw,
)
from tests.make import transfer as asked_transfer

MINUTE_AGO = NOW - timedelta(seconds=60)


def worth(*, balance: int = 1500, credit: int = 0, mode: str = "gross", **figures: int) -> Worth:
    group = Group(group="g", currency="USD", digits=2, equity_mode=mode)
    named: dict[str, Any] = {name: value * 100 for name, value in figures.items()}
    return Worth(balance=balance * 100, credit=credit * 100, group=group, figures=Figures(orders=1, **named))


def open_positions(**figures: Any) -> Figures:
    """Give figures heard of just now, with one open position unless it says otherwise."""
    fresh: dict[str, Any] = {"orders": 1, "fed_at": NOW, "quoted_at": NOW}
    return Figures(**fresh | figures)


def test_gross_equity_leaves_storage_and_commission_out() -> None:
    it = worth(balance=1500, credit=100, profit=40, storage=-4, commission=-6, margin=250)
    assert (it.equity, it.margin_free) == (cents(1640), cents(1390))


def test_net_equity_counts_them() -> None:
    it = worth(balance=1500, mode="net", profit=40, storage=-4, commission=-6, margin=250)
    assert (it.equity, it.margin_free) == (cents(1530), cents(1280))


@pytest.mark.parametrize(
    ("balance", "margin", "level"),
    [(1500, 250, 60000), (1, 3, 3333), (2, 3, 6667), (-1, 3, -3333), (5, 0, 0)],
)
def test_the_margin_level_has_two_decimals_and_is_zero_without_margin(
    balance: int, margin: int, level: int
) -> None:
    assert worth(balance=balance, margin=margin).margin_level == level


def test_an_account_without_positions_is_never_stale() -> None:
    assert not Figures(orders=0).stale(NOW)


@pytest.mark.parametrize(
    ("figures", "stale"),
    [
        (open_positions(), False),
        (open_positions(fed_at=MINUTE_AGO, quoted_at=MINUTE_AGO), False),
        (open_positions(fed_at=MINUTE_AGO - timedelta(microseconds=1)), True),
        (open_positions(quoted_at=MINUTE_AGO - timedelta(microseconds=1)), True),
        (open_positions(quoted_at=None), False),
        (open_positions(fed_at=None), True),
        (open_positions(unvalued=1), True),
    ],
)
def test_figures_are_stale_when_feed_or_quote_are_older_than_a_minute_or_missing(
    figures: Figures, *, stale: bool
) -> None:
    assert figures.stale(NOW) is stale


def test_a_floating_loss_and_margin_hold_money_back() -> None:
    book = given(deposited(100))
    book.figures[1001] = open_positions(profit=cents(-30), margin=cents(20))
    refusal = refused(book, withdraw("50.01"), "not_enough_money")
    assert refusal.extra["available"] == (cents(50), 2)
    refused(book, asked_transfer("50.01"), "not_enough_money")
    assert booked(book, withdraw(50)).balance == cents(50)


def test_a_floating_profit_cannot_be_taken_out_before_it_is_closed() -> None:
    book = given(deposited(100))
    book.figures[1001] = open_positions(profit=cents(500))
    refused(book, withdraw("100.01"), "not_enough_money")


def test_the_first_withdrawal_of_a_batch_leaves_less_for_the_second() -> None:
    book = given(deposited(100))
    book.figures[1001] = open_positions(margin=cents(40))
    when(book, withdraw(60))
    refused(book, withdraw("0.01"), "not_enough_money")


def test_credit_that_holds_a_margin_up_cannot_be_taken_out() -> None:
    book = given(deposited(10), credited(100))
    book.figures[1001] = open_positions(margin=cents(70))
    refusal = refused(book, credit("-40.01"), "not_enough_credit")
    assert refusal.extra["available"] == (cents(40), 2)
    assert booked(book, credit(-40)).credit == cents(60)


def test_what_stale_figures_allowed_says_so() -> None:
    book = given(deposited(100))
    book.figures[1001] = open_positions(fed_at=None)
    assert booked(book, withdraw(1)).warnings == ("figures_stale",)
    assert refused(book, withdraw(1000), "not_enough_money").extra["stale"] is True


def test_a_group_may_refuse_while_its_figures_are_stale() -> None:
    book = given(group_defined(refuse_when_stale=True), deposited(100))
    book.figures[1001] = open_positions(unvalued=1)
    assert isinstance(refused(book, withdraw(1), "figures_stale"), ManagerOffline)
    book.figures[1001] = open_positions()
    assert booked(book, withdraw(1)).warnings == ()


def test_figures_of_before_a_change_of_leverage_are_stale_in_the_same_batch() -> None:
    book = given(deposited(100))
    book.figures[1001] = open_positions(margin=cents(2))
    when(book, UpdateAccount(login=1001, leverage=1))
    assert booked(book, withdraw(50)).warnings == ("figures_stale",)


def test_money_comes_in_whatever_the_figures_say() -> None:
    book = given(group_defined(refuse_when_stale=True), deposited(100))
    book.figures[1001] = open_positions(unvalued=1, margin=cents(900))
    assert booked(book, credit(5)).warnings == ()
