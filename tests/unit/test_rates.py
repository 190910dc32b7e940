"""Rates of exchange: direct, inverse or by one common currency, always by the same way."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import pytest

from projections.rates import Pair, Rate, Rates
from tests.make import NOW


def quoted(symbol: str, mid: str | Fraction, *, age_s: float = 0) -> Pair:
    """Quote a symbol that is named after its currencies."""
    price = Fraction(mid)
    return Pair(symbol, symbol[:3], symbol[3:6], price, price, NOW - timedelta(seconds=age_s))


def rates(*pairs: Pair, book_currency: str = "USD") -> Rates:
    """Give the rates that these quotes lead to."""
    return Rates(pairs, book_currency=book_currency)


def found(known: Rates, source: str, target: str) -> Rate:
    """Give a rate that must be there."""
    rate = known.find(source, target)
    assert rate is not None
    return rate


def test_a_quote_of_the_pair_is_the_rate() -> None:
    rate = found(rates(quoted("EURUSD", "1.25")), "EUR", "USD")
    assert rate == Rate(source="EUR", target="USD", rate=Fraction("1.25"), symbols=("EURUSD",), quoted_at=NOW)


def test_the_other_way_round_the_rate_is_the_inverse_and_exact() -> None:
    rate = found(rates(quoted("USDJPY", "150")), "JPY", "USD")
    assert (rate.rate, rate.symbols) == (Fraction(1, 150), ("USDJPY",))


def test_two_quotes_with_a_common_currency_make_a_rate() -> None:
    known = rates(quoted("EURUSD", "1.25"), quoted("USDJPY", "150"))
    assert found(known, "EUR", "JPY").rate == Fraction("187.5")
    assert found(known, "JPY", "EUR").rate == Fraction(2, 375)
    assert found(known, "JPY", "EUR").symbols == ("USDJPY", "EURUSD")


def test_a_currency_is_worth_itself_without_any_quote() -> None:
    assert found(rates(), "KWD", "KWD") == Rate(source="KWD", target="KWD", rate=Fraction(1))


@pytest.mark.parametrize(("source", "target"), [("USD", "EUR"), ("CHF", "JPY"), ("XXX", "YYY")])
def test_where_the_quotes_do_not_lead_there_is_no_rate(source: str, target: str) -> None:
    assert rates(quoted("USDCHF", "0.9"), quoted("GBPJPY", "190")).find(source, target) is None


def test_no_rate_takes_two_common_currencies() -> None:
    known = rates(quoted("EURUSD", "1.25"), quoted("USDJPY", "150"), quoted("JPYKRW", "9"))
    assert known.find("EUR", "KRW") is None


def test_a_direct_quote_goes_before_an_inverse_and_both_before_a_common_currency() -> None:
    cross = (quoted("EURUSD", "2"), quoted("USDJPY", "100"))
    assert found(rates(*cross), "EUR", "JPY").rate == 200
    assert found(rates(*cross, quoted("JPYEUR", "0.01")), "EUR", "JPY").rate == 100
    assert found(rates(*cross, quoted("JPYEUR", "0.01"), quoted("EURJPY", "300")), "EUR", "JPY").rate == 300


def test_the_book_currency_is_the_first_choice_of_a_common_one_then_the_first_by_name() -> None:
    by_usd = (quoted("EURUSD", "2"), quoted("USDJPY", "100"))
    by_chf = (quoted("EURCHF", "1"), quoted("CHFJPY", "170"))
    by_gbp = (quoted("EURGBP", "1"), quoted("GBPJPY", "190"))
    every = (*by_gbp, *by_usd, *by_chf)
    assert found(rates(*every), "EUR", "JPY").symbols == ("EURUSD", "USDJPY")
    assert found(rates(*every, book_currency="GBP"), "EUR", "JPY").symbols == ("EURGBP", "GBPJPY")
    assert found(rates(*by_gbp, *by_chf), "EUR", "JPY").symbols == ("EURCHF", "CHFJPY")


def test_of_several_symbols_of_a_pair_the_first_by_name_counts_in_whatever_order_they_come() -> None:
    pairs = [quoted("EURUSD.m", "3"), quoted("EURUSD", "2"), quoted("EURUSD.a", "4")]
    for order in (pairs, pairs[::-1]):
        assert found(rates(*order), "EUR", "USD").symbols == ("EURUSD",)


def test_a_rate_is_as_old_as_the_oldest_quote_in_it() -> None:
    known = rates(quoted("EURUSD", "1.25", age_s=5), quoted("USDJPY", "150", age_s=90))
    assert found(known, "EUR", "USD").quoted_at == NOW - timedelta(seconds=5)
    assert found(known, "EUR", "JPY").quoted_at == NOW - timedelta(seconds=90)
