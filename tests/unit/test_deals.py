"""Closed deals: each is booked once, as what it did to the balance, with its parts beside it."""

from __future__ import annotations

import pytest

from ledger.book import Book
from ledger.commands import BookDeal
from ledger.events import Deal, published, to_json
from ledger.refusals import AlreadyApplied
from tests.make import (
    NOW,
    account_disabled,
    at,
    booked,
    cents,
    deal,
    define_symbol,
    deposit,
    deposited,
    given,
    group_defined,
    key,
    refused,
    reverse,
    when,
)


def booked_once(book: Book, command: BookDeal, code: str) -> None:
    refused(book, command, code, f"~deal/{command.deal_id}")


def test_a_deal_moves_the_balance_by_its_profit_and_everything_beside_it() -> None:
    command = deal("4711", "12.50", storage="-0.40", commission="-1.20", taxes="-0.10", lots="0.1", ticket=9)
    event = booked(given(deposited(100)), command)
    assert (event.kind, event.amount, event.balance_change) == ("trade", cents("10.80"), cents("10.80"))
    assert event.balance == cents("110.80")
    assert event.reference == "4711"
    assert event.deal == Deal(
        deal_id="4711", ticket=9, lots="0.1", profit=1250, storage=-40, commission=-120, taxes=-10
    )


def test_a_deal_may_take_the_balance_below_zero() -> None:
    assert booked(given(deposited(10)), deal("1", -25)).balance == cents(-15)


def test_a_deal_that_came_to_nothing_is_booked_all_the_same() -> None:
    assert booked(given(), deal("1", 0)).balance_change == 0


def test_a_deal_is_booked_on_a_disabled_account_with_a_warning() -> None:
    assert booked(given(account_disabled()), deal("1", 5)).warnings == ("account_disabled",)


def test_no_ceiling_of_a_group_holds_up_what_the_market_did() -> None:
    book = given(group_defined(max_operation=cents(10)))
    assert booked(book, deal("1", -500)).balance == cents(-500)


def test_a_deal_that_comes_again_is_answered_with_the_first() -> None:
    book = given()
    when(book, deal("1", 5, ticket=3), "~deal/1")
    refusal = refused(book, deal("1", "5.00", ticket=3, storage=0), "request_applied", "~deal/1")
    assert isinstance(refusal, AlreadyApplied)


@pytest.mark.parametrize(
    "other",
    [
        deal("1", "5.01", ticket=3),
        deal("1", 5, ticket=4),
        deal("1", 5, ticket=3, storage="-0.01"),
        deal("1", 5, ticket=3, login=1002),
        deal("1", 5, ticket=3, time=at("2026-11-01 12:00")),
    ],
)
def test_a_deal_that_comes_again_with_other_content_is_refused(other: BookDeal) -> None:
    book = given()
    when(book, deal("1", 5, ticket=3), "~deal/1")
    booked_once(book, other, "deal_reused")


def test_a_late_deal_is_effective_when_it_was_closed() -> None:
    event = booked(given(), deal("1", 5, time=at("2026-11-17 09:30")))
    assert (event.effective, event.recorded_at) == (at("2026-11-17 09:30"), NOW)


def test_a_deal_of_a_server_whose_clock_runs_a_little_ahead_is_effective_now() -> None:
    ahead = at("2026-11-18 12:00:59")
    event = booked(given(), deal("1", 5, time=ahead))
    assert event.effective == NOW
    assert event.deal is not None
    assert event.deal.time == ahead


def test_a_deal_from_the_future_is_refused() -> None:
    refusal = refused(given(), deal("1", 5, time=at("2026-11-18 12:01:01")), "bad_effective_time")
    assert refusal.field == "time"


def test_a_deal_of_an_unknown_symbol_is_refused_by_name() -> None:
    book = given()
    assert refused(book, deal("1", 5, symbol="EURUSD"), "unknown_symbol").field == "symbol"
    when(book, define_symbol())
    assert booked(book, deal("1", 5, symbol="EURUSD")).balance == cents(5)


def test_a_deal_of_an_unknown_login_is_refused_by_name() -> None:
    assert refused(given(), deal("1", 5, login=9), "unknown_login").field == "login"


def test_a_deal_with_more_decimals_than_the_currency_is_refused_by_its_part() -> None:
    assert refused(given(), deal("1", 5, storage="0.001"), "too_many_decimals").field == "storage"


def test_a_deal_can_be_reversed_once() -> None:
    book = given()
    [event] = when(book, deal("1", -7))
    assert booked(book, reverse(event.position)).balance == 0
    refused(book, reverse(event.position), "already_reversed")


def test_people_read_a_deal_with_exact_decimals() -> None:
    told = published(Deal(deal_id="1", profit=-5, storage=100), 2)
    assert (to_json(told["profit"]), to_json(told["storage"]), told["dealId"]) == (b"-0.05", b"1.00", "1")


def test_no_part_of_a_deal_is_written_with_an_exponent() -> None:
    told = published(Deal(deal_id="1", profit=5, storage=0), 8)
    assert to_json(told["profit"]) == b"0.00000005"
    assert to_json(told["storage"]) == b"0.00000000"


def test_what_the_market_did_takes_nothing_from_a_keys_day() -> None:
    book = given()
    caller = key(amount_day_max=1000)
    book.limited.add("k1")
    when(book, deal("1", 5000), caller=caller)
    when(book, deposit(999), caller=caller)
    refused(book, deposit(2), "key_day_limit", caller=caller)
