"""Money: the exact amount a caller wrote, integer minor units inside, exact decimal text outside."""

from __future__ import annotations

import re
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from ledger.refusals import ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

DIGITS_MAX = 8
AMOUNT_MAX = 1_000_000_000  # with 8 decimals 1e17 minor units: a bigint holds ninety of them


class Amount(msgspec.Struct, frozen=True, gc=False):
    """What a caller wrote: units / 10**digits. Equal by value: 1500 == 1500.00, whatever the field."""

    units: int
    digits: int
    field: str = "amount"

    def minor(self, digits: int) -> int:
        """Give the minor units of a currency with these digits; more decimals are refused, also zeros."""
        if self.digits > digits:
            raise _too_many_decimals(self.field, written=self.digits, allowed=digits)
        return self.units * _SCALES[digits - self.digits]

    def normalized(self) -> tuple[int, int]:
        """Give (units, digits) without trailing zero decimals: the same pair for the same value."""
        units, digits = self.units, self.digits
        while digits and units % 10 == 0:
            units, digits = units // 10, digits - 1
        return units, digits

    @property
    def value(self) -> Fraction:
        """The amount as an exact number, for comparing amounts of different digits."""
        return Fraction(self.units, 10**self.digits)

    @property
    def is_zero(self) -> bool:
        return self.units == 0

    @property
    def negative(self) -> bool:
        return self.units < 0

    @property
    def positive(self) -> bool:
        return self.units > 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Amount):
            return NotImplemented
        return self.normalized() == other.normalized()

    def __hash__(self) -> int:
        return hash(self.normalized())


def parse_amount(token: bytes | str | msgspec.Raw, *, field: str = "amount") -> Amount:
    """Read a raw JSON token: a number, or a string that holds one and has no escapes."""
    return _amount(_TOKEN.fullmatch(_ascii(token)), field)


def parse_amount_text(text: str, *, field: str = "amount") -> Amount:
    """Read an amount that stands in no quotes: a command line's, or the inside of a JSON string."""
    return _amount(_TEXT.fullmatch(_ascii(text)), field)


def format_minor(minor: int, digits: int) -> str:
    """Write minor units as a decimal with exactly these digits: 150000, 2 -> 1500.00."""
    text, width = str(minor), _WIDTHS[digits]
    if len(text) <= width:
        text = text.zfill(width + (minor < 0))
    return f"{text[:-digits]}.{text[-digits:]}" if digits else text


def round_half_even(numerator: int, denominator: int) -> int:
    """Round a quotient to the nearest integer, a tie to the even one."""
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    floor, rest = divmod(numerator, denominator)
    above_half = 2 * rest - denominator
    return floor + 1 if above_half > 0 or (above_half == 0 and floor % 2) else floor


def check_currency(code: str, *, field: str = "currency") -> str:
    """Give the code back when it can be a currency's: 3 to 12 of A-Z and 0-9, a letter first."""
    if not _CURRENCY.fullmatch(code):
        raise ValidationError(
            "bad_currency", f"{field} must be 3 to 12 of A-Z and 0-9, a letter first", field=field
        )
    return code


def default_digits(currency: str) -> int:
    """Give the digits of a currency whose group states none."""
    return DIGITS_ISO_4217.get(currency, 2)


# ISO 4217's exceptions to 2 digits, and bitcoin, which ISO does not list. Another digital currency's
# digits are the broker's choice, stated with its first group.
DIGITS_ISO_4217: Mapping[str, int] = MappingProxyType(
    {
        **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"), 0),
        **dict.fromkeys(("RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
        **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
        **dict.fromkeys(("CLF", "UYW"), 4),
        "BTC": 8,
    }
)

# Only 0..8: digits outside raise KeyError here rather than give a wrong figure or a float.
_SCALES: Mapping[int, int] = {digits: 10**digits for digits in range(DIGITS_MAX + 1)}
_WIDTHS: Mapping[int, int] = {digits: digits + 1 for digits in range(DIGITS_MAX + 1)}
"""How many digits the smallest amounts are written with: one stands before the point."""

_WHOLE_LENGTH_MAX = len(f"-{AMOUNT_MAX}")

# Leading zeros are refused in strings too: JSON numbers cannot have them, and 007 is more likely a login.
# The possessive *+ and ++ give no digit back, so that a megabyte of digits is refused in one pass.
_DECIMAL = rb"(-?(?:0|[1-9][0-9]*+))(?:\.([0-9]++))?"
_TEXT = re.compile(_DECIMAL)
_TOKEN = re.compile(rb'("?)' + _DECIMAL + rb"\1")
_CURRENCY = re.compile(r"[A-Z][A-Z0-9]{2,11}")


def _amount(written: re.Match[bytes] | None, field: str) -> Amount:
    if written is None:
        raise _bad_amount(field)
    *_, whole, decimals = written.groups(b"")
    digits = len(decimals)
    if digits > DIGITS_MAX:
        raise _too_many_decimals(field, written=digits, allowed=DIGITS_MAX)
    if len(whole) > _WHOLE_LENGTH_MAX:  # before int(), whose cost grows with the square of the length
        raise _amount_too_large(field)
    units = int(whole + decimals)
    if abs(units) > AMOUNT_MAX * _SCALES[digits]:
        raise _amount_too_large(field)
    return Amount(units, digits, field)


def _ascii(token: bytes | str | msgspec.Raw) -> bytes | msgspec.Raw:
    # Whatever is not ASCII turns into "?", which no amount contains.
    return token.encode("ascii", "replace") if isinstance(token, str) else token


def _bad_amount(field: str) -> ValidationError:
    detail = f"{field} must be a plain decimal such as 1500.00 or -0.05: no exponent, plus sign or blanks"
    return ValidationError("bad_amount", detail, field=field)


def _too_many_decimals(field: str, *, written: int, allowed: int) -> ValidationError:
    detail = f"{field} has {written} decimals where {allowed} are allowed; it is refused, not rounded"
    return ValidationError("too_many_decimals", detail, field=field)


def _amount_too_large(field: str) -> ValidationError:
    detail = f"{field} must not be beyond {AMOUNT_MAX}, either way"
    return ValidationError("amount_too_large", detail, field=field)
