"""Money comes in exactly as written or not at all, and goes out exactly."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.money import (
    AMOUNT_MAX,
    DIGITS_ISO_4217,
    Amount,
    check_currency,
    default_digits,
    format_minor,
    parse_amount,
    parse_amount_text,
    round_half_even,
)
from ledger.refusals import ValidationError

DIGITS = st.integers(0, 8)
BIGINTS = st.integers(-(2**63), 2**63 - 1)
DECIMALS = st.from_regex(r"-?(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,10})?", fullmatch=True)
NEARLY_DECIMALS = st.text("0123456789.-+eE_, xNaIinfty\"'\\/\0\t\n\u0661\uff11\u2212\ud800", max_size=12)

MALFORMED = [
    "NaN", "nan", "sNaN", "Infinity", "-Infinity", "inf", "1_000", "1_0.0", " 1.5 ", " 1.5", "1.5 ", "1.5\n",
    "\t1", "1\r", "1 000", "\u0661\u0662", "\u0661\u0662.\u0665", "\uff11\uff15\uff10\uff10", "1.\uff15",
    "\u06f1", "\u0967", "\u00b2", "\u00bd", "\u22121", "1\u066b5", "1\u00a0", "1\u200b",
    "1e5", "1E-2", "1e100000000", "15e1", "1.5e1", "0e0", "+1", "-+1", "+0", "0x10", "0b1", "0o7", "1,000",
    "1,5", "", "-", ".", "-.", "--1", "1-", "1.2.3", "1..2", "1.", "-1.", ".5", "-.5", "007", "00", "-01",
    "01.50", "00.5", "\0", "1\0", "\x001", "1\0.5", "\ud800", "1\ud800", "\\u0031", "'1'", "$1", "1f", "1d",
    "1L", "null", "true", "[1]", "{}", "1/2", "(1)", "1.5.", "1;2", "\ufeff1", "1500.0O", "l",
]  # fmt: skip


def code_of_refusal(text: str) -> str | None:
    try:
        parse_amount_text(text)
    except ValidationError as refusal:
        return refusal.code
    return None


def by_the_rule(text: str) -> bool:
    """The grammar a second time, without a regular expression."""
    whole, point, decimals = text.removeprefix("-").partition(".")
    ascii_digits = all(character in "0123456789" for character in whole + decimals)
    leading_zero = len(whole) > 1 and whole[0] == "0"
    return ascii_digits and whole != "" and not leading_zero and (decimals != "") == (point != "")


@pytest.mark.parametrize(
    ("written", "units", "digits"),
    [
        ("1500.00", 150000, 2), ("1500", 1500, 0), ("0.05", 5, 2), ("-0.05", -5, 2), ("-12.5", -125, 1),
        ("1000000000", 10**9, 0), ("-1000000000.00000000", -(10**17), 8), ("0.00000001", 1, 8), ("0", 0, 0),
        ("-0", 0, 0), ("-0.00", 0, 2), ("10", 10, 0), ("123456789.01234567", 12345678901234567, 8),
    ],
)  # fmt: skip
def test_an_amount_is_taken_exactly_as_written(written: str, units: int, digits: int) -> None:
    for amount in (parse_amount_text(written), parse_amount(written), parse_amount(f'"{written}"'.encode())):
        assert (amount.units, amount.digits) == (units, digits)


@pytest.mark.parametrize("written", MALFORMED)
def test_whatever_is_not_a_plain_decimal_is_refused(written: str) -> None:
    utf_8 = written.encode("utf-8", "surrogatepass")
    for refused in (written, f'"{written}"', utf_8, b'"' + utf_8 + b'"'):
        with pytest.raises(ValidationError) as caught:
            parse_amount(refused, field="credit")
        assert (caught.value.code, caught.value.field) == ("bad_amount", "credit")
    assert code_of_refusal(written) == "bad_amount"


@pytest.mark.parametrize("token", ['"1', '1"', '""1""', '"1"2', '"1""2"', '" 1"', '"', '""', '"1\\u0030"'])
def test_quotes_stand_around_the_whole_amount_or_nowhere(token: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_amount(token)
    assert caught.value.code == "bad_amount"


def test_an_amount_in_quotes_is_refused_where_no_json_is_spoken() -> None:
    assert code_of_refusal('"1"') == "bad_amount"


@pytest.mark.parametrize("written", ["1000000001", "-1000000001", "1000000000.01", "-1000000000.00000001"])
def test_an_amount_beyond_a_thousand_million_is_refused(written: str) -> None:
    assert code_of_refusal(written) == "amount_too_large"


def test_more_than_eight_decimals_are_refused_also_when_they_are_zeros() -> None:
    assert code_of_refusal("1.000000000") == "too_many_decimals"
    assert code_of_refusal("1000000001.123456789") == "too_many_decimals"


@pytest.mark.parametrize(
    ("token", "code"),
    [
        pytest.param(b"9" * 5_000_000, "amount_too_large", id="a long whole part"),
        pytest.param(b'"-' + b"9" * 5_000_000 + b'"', "amount_too_large", id="the same as a string"),
        pytest.param(b"0." + b"9" * 5_000_000, "too_many_decimals", id="a long fraction"),
        pytest.param(b"9" * 5_000_000 + b"x", "bad_amount", id="a long slip"),
        pytest.param(b"0" * 5_000_000, "bad_amount", id="zeros"),
        pytest.param(b"-" * 5_000_000, "bad_amount", id="signs"),
        pytest.param(b'"' * 5_000_000, "bad_amount", id="quotes"),
    ],
)
def test_millions_of_digits_are_refused_with_a_short_sentence(token: bytes, code: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_amount(token)
    assert caught.value.code == code
    assert len(caught.value.detail) < 150


def test_the_token_of_a_json_body_is_read_without_passing_through_floats() -> None:
    class Body(msgspec.Struct):
        amount: msgspec.Raw

    for token in (b"123456789.01234567", b'"123456789.01234567"'):
        body = msgspec.json.decode(b'{"amount" : ' + token + b" }", type=Body)
        assert parse_amount(body.amount) == Amount(12345678901234567, 8)
    with pytest.raises(ValidationError):
        parse_amount(msgspec.json.decode(b'{"amount":1.5e1}', type=Body).amount)


@pytest.mark.parametrize(
    ("written", "digits", "minor"),
    [("1500.00", 2, 150000), ("1500", 2, 150000), ("1500", 0, 1500), ("-0.5", 3, -500), ("1", 8, 10**8)],
)
def test_an_amount_becomes_minor_units_of_its_currency(written: str, digits: int, minor: int) -> None:
    assert parse_amount_text(written).minor(digits) == minor


@pytest.mark.parametrize(
    ("written", "digits"), [("1500.000", 2), ("0.001", 2), ("1.0", 0), ("0.00", 0), ("1.0000", 3)]
)
def test_more_decimals_than_the_currency_has_are_refused_never_rounded(written: str, digits: int) -> None:
    with pytest.raises(ValidationError) as caught:
        parse_amount_text(written, field="balance").minor(digits)
    assert (caught.value.code, caught.value.field) == ("too_many_decimals", "balance")


@pytest.mark.parametrize("digits", [-1, 9])
def test_a_currency_with_impossible_digits_gets_no_figure(digits: int) -> None:
    with pytest.raises((KeyError, ValidationError)):
        parse_amount_text("1").minor(digits)
    with pytest.raises(KeyError):
        format_minor(1, digits)


def test_amounts_are_equal_by_value_whatever_their_decimals_and_field() -> None:
    whole, decimal = parse_amount_text("1500"), parse_amount_text("1500.00", field="credit")
    assert whole == decimal
    assert hash(whole) == hash(decimal)
    assert whole.normalized() == decimal.normalized() == (1500, 0)
    assert parse_amount_text("-0.00").normalized() == (0, 0)
    assert parse_amount_text("15") != parse_amount_text("1.5")
    assert parse_amount_text("1") != 1


def test_an_amount_knows_its_sign() -> None:
    signs = [(a.negative, a.is_zero, a.positive) for a in map(parse_amount_text, ("-0.01", "-0.00", "0.01"))]
    assert signs == [(True, False, False), (False, True, False), (False, False, True)]


@pytest.mark.parametrize(
    ("minor", "digits", "text"),
    [
        (150000, 2, "1500.00"), (1500, 0, "1500"), (-5, 2, "-0.05"), (0, 2, "0.00"), (0, 0, "0"),
        (-7, 0, "-7"), (5, 3, "0.005"), (1, 8, "0.00000001"), (-100, 2, "-1.00"),
        (-(2**63), 2, "-92233720368547758.08"),
    ],
)  # fmt: skip
def test_minor_units_are_written_with_exactly_the_digits_of_the_currency(
    minor: int, digits: int, text: str
) -> None:
    assert format_minor(minor, digits) == text


@given(minor=st.integers(-AMOUNT_MAX, AMOUNT_MAX), digits=DIGITS)
@example(minor=-AMOUNT_MAX, digits=0)
def test_what_is_written_reads_back_as_the_same_amount(minor: int, digits: int) -> None:
    amount = parse_amount_text(format_minor(minor, digits))
    assert (amount.minor(digits), amount.digits) == (minor, digits)


@given(minor=BIGINTS, digits=DIGITS)
def test_writing_agrees_with_decimal_arithmetic(minor: int, digits: int) -> None:
    assert format_minor(minor, digits) == f"{Decimal(minor).scaleb(-digits):.{digits}f}"


@given(text=DECIMALS, digits=DIGITS)
@example(text="1000000000.00000000", digits=8)
@example(text="1000000000.00000001", digits=8)
def test_reading_agrees_with_decimal_arithmetic(text: str, digits: int) -> None:
    decimals = len(text.partition(".")[2])
    if decimals > 8:
        assert code_of_refusal(text) == "too_many_decimals"
    elif abs(Decimal(text)) > AMOUNT_MAX:
        assert code_of_refusal(text) == "amount_too_large"
    elif decimals <= digits:
        assert Decimal(parse_amount_text(text).minor(digits)).scaleb(-digits) == Decimal(text)


@given(text=NEARLY_DECIMALS)
def test_nothing_but_the_grammar_is_read(text: str) -> None:
    assert (code_of_refusal(text) != "bad_amount") == by_the_rule(text)


@given(one=DECIMALS, other=DECIMALS)
@example(one="1500", other="1500.00")
@example(one="0", other="-0.0")
def test_amounts_are_equal_exactly_when_their_values_are(one: str, other: str) -> None:
    if code_of_refusal(one) is None and code_of_refusal(other) is None:
        equal = parse_amount_text(one) == parse_amount_text(other)
        assert equal == (Decimal(one) == Decimal(other))


@given(numerator=st.integers(), denominator=st.integers().filter(bool))
@example(numerator=-5, denominator=2)
def test_quotients_are_rounded_half_even(numerator: int, denominator: int) -> None:
    assert round_half_even(numerator, denominator) == round(Fraction(numerator, denominator))


@pytest.mark.parametrize(
    ("half", "even"), [(1, 0), (3, 2), (5, 2), (7, 4), (-1, 0), (-3, -2), (-5, -2), (-7, -4)]
)
def test_a_tie_goes_to_the_even_neighbour(half: int, even: int) -> None:
    assert round_half_even(half, 2) == round_half_even(-half, -2) == even


def test_a_division_by_zero_is_an_error_and_no_figure() -> None:
    with pytest.raises(ZeroDivisionError):
        round_half_even(1, 0)


@pytest.mark.parametrize(
    ("currency", "digits"),
    [("USD", 2), ("EUR", 2), ("JPY", 0), ("KWD", 3), ("TND", 3), ("CLF", 4), ("BTC", 8), ("XYZ", 2)],
)
def test_a_currency_has_the_digits_of_iso_4217_unless_stated(currency: str, digits: int) -> None:
    assert default_digits(currency) == digits


def test_every_currency_of_the_table_is_a_possible_one() -> None:
    assert all(check_currency(code) == code for code in DIGITS_ISO_4217)
    assert set(DIGITS_ISO_4217.values()) <= set(range(9))
    assert 2 not in DIGITS_ISO_4217.values()


@pytest.mark.parametrize("code", ["USD", "USDT", "EURC", "A1B2C3D4E5F6"])
def test_a_currency_is_three_to_twelve_capitals_and_digits(code: str) -> None:
    assert check_currency(code) == code


@pytest.mark.parametrize(
    "code",
    [
        "",
        "US",
        "usd",
        "USd",
        "1USD",
        "USD ",
        "USD\n",
        "US-D",
        "\u00dcSD",
        "US\0",
        "A" * 13,
        "\uff35\uff33\uff24",
        "US\u0661",
    ],
)
def test_another_spelling_of_a_currency_is_refused(code: str) -> None:
    with pytest.raises(ValidationError) as caught:
        check_currency(code)
    assert (caught.value.code, caught.value.field) == ("bad_currency", "currency")
