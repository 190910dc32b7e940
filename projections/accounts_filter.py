"""Which accounts a caller asks for: rules on the published fields, each checked against its field's kind.

What the rules stand for in SQL is in accounts_scope.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any, Final, Literal

import msgspec

from ledger.commands import EVERYTHING, Access
from ledger.masks import ALL, Mask, Patterns
from ledger.refusals import Unauthorized, ValidationError
from projections.accounts import PERSONAL

Kind = Literal["number", "percent", "money", "flag", "text", "group"]
Test = Literal["=", ">", "<", ">=", "<=", "like", "in", "between"]
Value = str | Fraction

FIELDS: Final[dict[str, Kind]] = {
    "login": "number",
    "enable": "flag",
    "enable_read_only": "flag",
    "enable_change_password": "flag",
    "leverage": "number",
    "currency": "group",
    "group": "group",
    "email": "text",
    "country": "text",
    "phone": "text",
    "comment": "text",
    "address": "text",
    "city": "text",
    "zipcode": "text",
    "name": "text",
    "regdate": "number",
    "prevbalance": "money",
    "prevmonthbalance": "money",
    "balance": "money",
    "credit": "money",
    "margin": "money",
    "margin_free": "money",
    "margin_level": "percent",
    "equity": "money",
    "profit": "money",
    "net_profit": "money",
    "storage": "money",
    "commission": "money",
    "online": "flag",
    "magic": "number",
    "customer_id": "number",
}
"""Every field with its kind. Money has the digits of the account's currency, a percentage has two."""

NAME_MAX: Final = 64
NUMBER_MAX: Final = 400
TEXT_MAX: Final = 1024  # longer than any field; the database gives up on very long patterns
_TEXT_TESTS: Final[tuple[Test, ...]] = ("=", "like", "in")


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, or its exact complement. `place` is where the caller wrote it: `where[0]`."""

    place: str
    field: str
    test: Test
    values: tuple[Value, ...]
    negated: bool = False

    def holds(self, value: str | int) -> bool:
        """Tell whether a value passes the rule."""
        return _HOLDS[self.test](value, self.values) != self.negated


class Order(msgspec.Struct, frozen=True):
    """What pages are sorted by; ties go by login."""

    field: str = "login"
    descending: bool = False


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for."""

    group_mask: Mask = ALL
    rules: tuple[Rule, ...] = ()
    access: Access = EVERYTHING


def make_rule(
    place: str, field: str, test: Test, values: Sequence[Value | bool], *, negated: bool = False
) -> Rule:
    """Make a rule of a caller's words, or refuse it by the name of its field."""
    kind = kind_of(field, place)
    if not _takes(kind, test):
        raise ValidationError("bad_operator", f"{place}: {field} cannot be compared by {test}", field=field)
    if test == "in" and not values:
        raise ValidationError("empty_list", f"{place}: the list for {field} is empty", field=field)
    read = tuple(_value(value, kind, place, field) for value in values)
    if test == "between" and read[0] > read[1]:  # type: ignore[operator]
        raise ValidationError(
            "bad_range", f"{place}: the range of {field} ends before its start", field=field
        )
    return Rule(place=place, field=field, test=test, values=read, negated=negated)


def kind_of(field: str, place: str) -> Kind:
    """Give the kind of a field; ValidationError `unknown_field` for a name that is none."""
    kind = FIELDS.get(field)
    if kind is None:
        name = field[:NAME_MAX]
        raise ValidationError("unknown_field", f"{place}: {name} is not a field of accounts", field=name)
    return kind


def number(text: str) -> Fraction | None:
    """Read a plain decimal of any length in reason, exactly; None for anything else."""
    return Fraction(text) if len(text) <= NUMBER_MAX and _NUMBER.fullmatch(text) else None


def check_personal(fields: Iterable[str], scopes: frozenset[str]) -> None:
    """Refuse to let columns decide that the key may not see: the answer would tell what is in them."""
    for field in fields:
        if field in PERSONAL and "users:pii" not in scopes:
            detail = f"to filter or order by {field} the key needs the scope users:pii"
            raise Unauthorized("scope_missing", detail, field=field)


_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?")


def _takes(kind: Kind, test: Test) -> bool:
    return test in _TEXT_TESTS if kind in {"text", "group"} else test != "like"


def _value(value: Value | bool, kind: Kind, place: str, field: str) -> Value:
    read = _READERS[kind](value)
    if read is None:
        raise ValidationError("wrong_type", f"{place}: {field} compares with {_WORDS[kind]}", field=field)
    return read


def _text(value: Value | bool) -> str | None:
    return value if isinstance(value, str) and len(value) <= TEXT_MAX else None


def _flag(value: Value | bool) -> Fraction | None:
    return Fraction(value) if not isinstance(value, str) and value in (0, 1) else None


def _plain(value: Value | bool) -> Fraction | None:
    return value if isinstance(value, Fraction) else None


def _money(value: Value | bool) -> Fraction | None:
    """Read money as everywhere: a number, or a string that holds one."""
    return number(value) if isinstance(value, str) else _plain(value)


_READERS: Final[dict[Kind, Callable[[Value | bool], Value | None]]] = {
    "number": _plain,
    "percent": _plain,
    "money": _money,
    "flag": _flag,
    "text": _text,
    "group": _text,
}


_WORDS: Final[dict[Kind, str]] = {
    "number": "numbers",
    "percent": "numbers",
    "money": "numbers",
    "flag": "0 and 1",
    "text": f"texts of at most {TEXT_MAX} characters",
    "group": f"texts of at most {TEXT_MAX} characters",
}


def _like(value: Any, patterns: Sequence[Any]) -> bool:
    literals = tuple(patterns[0].split("%"))
    exact = len(literals) == 1
    return Patterns(frozenset(literals if exact else ()), () if exact else (literals,)).match(value)


_HOLDS: Final[dict[Test, Callable[[Any, Sequence[Any]], bool]]] = {
    "=": lambda value, values: value == values[0],
    ">": lambda value, values: value > values[0],
    "<": lambda value, values: value < values[0],
    ">=": lambda value, values: value >= values[0],
    "<=": lambda value, values: value <= values[0],
    "like": _like,
    "in": lambda value, values: value in values,
    "between": lambda value, values: values[0] <= value <= values[1],
}
