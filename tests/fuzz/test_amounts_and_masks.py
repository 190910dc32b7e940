"""Any text is an amount, a price, a mask, a pattern as a second reader says, or it is refused."""

from __future__ import annotations

import string
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api import feed_bodies
from ledger.masks import parse_mask
from ledger.money import Amount, format_minor, parse_amount, parse_amount_text
from ledger.refusals import Refusal, ValidationError
from projections.accounts_filter import make_rule, number
from tests.fuzz.hostile import TEXTS, json_of, outcome

if TYPE_CHECKING:
    pass

MANY = settings(max_examples=150)


def plain_decimal(text: str) -> bool:
    """The grammar of amounts, said another way than the parser does."""
    whole, point, decimals = text.removeprefix("-").partition(".")
    digits = set(string.digits)
    return (
        bool(whole)
        and set(whole + decimals) <= digits
        and (whole == "0" or not whole.startswith("0"))
        and bool(point) == bool(decimals)
    )


@MANY
@given(text=TEXTS)
@example(text="-0.00")
@example(text="1000000000.00000000")
@example(text="1000000000.00000001")
def test_an_amount_is_what_decimal_says_or_is_refused(text: str) -> None:
    read = outcome(lambda: parse_amount_text(text))
    allowed = plain_decimal(text) and len(text.partition(".")[2]) <= 8
    if allowed and abs(Decimal(text)) <= 1_000_000_000:
        assert isinstance(read, Amount)
        assert read.value == Fraction(Decimal(text))
        assert Decimal(format_minor(read.units, read.digits)) == Decimal(text)
        assert parse_amount(f'"{text}"') == read
    else:
        assert isinstance(read, ValidationError)


@MANY
@given(token=st.binary(max_size=30) | TEXTS.map(json_of))
def test_any_token_is_an_amount_or_is_refused(token: bytes) -> None:
    for read in (parse_amount, feed_bodies.lots, feed_bodies.price):
        field = {} if read is feed_bodies.lots else {"field": "amount"}
        outcome(lambda read=read, field=field: read(msgspec.Raw(token), **field))  # type: ignore[misc]


@MANY
@given(text=TEXTS)
def test_a_price_is_what_decimal_says_or_is_refused(text: str) -> None:
    read = outcome(lambda: feed_bodies.price(msgspec.Raw(json_of(text)), field="bid"))
    whole, _, decimals = text.removeprefix("-").partition(".")
    if plain_decimal(text) and len(whole) <= 10 and len(decimals) <= 10:
        assert isinstance(read, str)
        assert Decimal(read) == Decimal(text)
    else:
        assert isinstance(read, ValidationError)


@MANY
@given(text=TEXTS)
def test_a_number_of_a_filter_is_exact_or_none(text: str) -> None:
    read = number(text)
    with localcontext(prec=1_000):
        assert read == (Fraction(Decimal(text)) if plain_decimal(text) and len(text) <= 400 else None)


def matches(pattern: str, text: str, *, star: str) -> bool:
    """Match by trying everything: every star stands for every run of characters."""
    if not pattern:
        return not text
    if pattern[0] == star:
        return any(matches(pattern[1:], text[skipped:], star=star) for skipped in range(len(text) + 1))
    return text[:1] == pattern[0] and matches(pattern[1:], text[1:], star=star)


@MANY
@given(mask=st.text("ab*!, \t", max_size=10), group=st.text("ab!", max_size=5))
def test_a_mask_selects_what_a_naive_matcher_selects(mask: str, group: str) -> None:
    items = [item.strip(" \t") for item in mask.split(",")]
    included = [item for item in items if item and item[0] != "!"]
    excluded = [item[1:].lstrip(" \t") or "*" for item in items if item.startswith("!")]
    selected = any(matches(item, group, star="*") for item in included)
    selected = selected and not any(matches(item, group, star="*") for item in excluded)
    assert parse_mask(mask).selects(group) is selected


@MANY
@given(mask=TEXTS, group=TEXTS)
def test_any_text_is_a_mask_or_is_refused(mask: str, group: str) -> None:
    read = outcome(lambda: parse_mask(mask))
    if not isinstance(read, Refusal):
        assert read.selects(group) in {True, False}


@MANY
@given(pattern=st.text("ab%_*", max_size=8), value=st.text("ab%_", max_size=6))
def test_like_finds_what_a_naive_matcher_finds(pattern: str, value: str) -> None:
    rule = make_rule("where[0]", "name", "like", [pattern])
    assert rule.holds(value) is matches(pattern, value, star="%")
    assert make_rule("where[0]", "name", "like", [pattern], negated=True).holds(value) is not rule.holds(
        value
    )
