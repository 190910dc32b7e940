"""The question of the accounts list: as query parameters or as JSON, checked rule by rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw

from api import bodies
from api.bodies import Body
from ledger.commands import Access
from ledger.masks import parse_mask
from ledger.money import check_currency
from ledger.refusals import ValidationError
from projections.accounts_filter import Filter, Order, Rule, Test, check_personal, kind_of, make_rule, number
from projections.accounts_list import Question

T = TypeVar("T")
Scalars = list[str | bool | Fraction]

LIMIT_MAX: Final = 10_000
OFFSET_MAX: Final = 2**53 - 1
RULES_MAX: Final = 100

Limit = Annotated[int, Meta(ge=0, le=LIMIT_MAX)]
Offset = Annotated[int, Meta(ge=0, le=OFFSET_MAX)]
Comparison = tuple[str, str, Raw]
Pair = tuple[str, Raw]
Direction = Literal["ASC", "DESC"]


class AccountsBody(Body, frozen=True, kw_only=True):
    """The question as JSON: POST /accounts/query, and the body of GET /accounts."""

    group_filter: str
    limit: Limit
    offset: Offset
    where: list[Comparison] | None = None
    where_not: list[Pair] | None = None
    where_in: list[Pair] | None = None
    where_not_in: list[Pair] | None = None
    where_between: list[Pair] | None = None
    where_not_between: list[Pair] | None = None
    order_by: tuple[str, Direction] | None = None
    totals_currency: str | None = None

    def question(self, *, access: Access, scopes: frozenset[str]) -> Question:
        """Give what is asked for, checked."""
        rules = self._rules()
        order = _order(self.order_by)
        check_personal([*(rule.field for rule in rules), order.field], scopes)
        currency = self.totals_currency
        return Question(
            filter=Filter(group_mask=parse_mask(self.group_filter), rules=rules, access=access),
            limit=self.limit,
            offset=self.offset,
            order=order,
            totals_currency=None if currency is None else check_currency(currency, field="totalsCurrency"),
        )

    def _rules(self) -> tuple[Rule, ...]:
        rules = (*self._comparisons(), *self._pairs())
        if len(rules) > RULES_MAX:
            raise ValidationError("too_many_rules", f"at most {RULES_MAX} rules are taken", field="where")
        return rules

    def _comparisons(self) -> Iterator[Rule]:
        for index, (field, operator, token) in enumerate(self.where or ()):
            place = f"where[{index}]"
            kind_of(field, place)
            test, negated = _operator(operator, place, field)
            yield make_rule(place, field, test, _one(token, place, field), negated=negated)

    def _pairs(self) -> Iterator[Rule]:
        for name, (read, test, negated) in _PAIRS.items():
            pairs: list[Pair] | None = getattr(self, name)
            for index, (field, token) in enumerate(pairs or ()):
                place = f"{_WIRE[name]}[{index}]"
                kind_of(field, place)
                yield make_rule(place, field, test, read(token, place, field), negated=negated)


class AccountsQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The same question as query parameters: the arrays are JSON."""

    group_filter: str
    limit: Limit
    offset: Offset
    where: str | None = None
    where_not: str | None = None
    where_in: str | None = None
    where_not_in: str | None = None
    where_between: str | None = None
    where_not_between: str | None = None
    order_by: str | None = None
    totals_currency: str | None = None

    def body(self) -> AccountsBody:
        """Give the question as if it had come as JSON."""
        values: dict[str, object] = {
            field.encode_name: getattr(self, field.name) for field in msgspec.structs.fields(self)
        }
        for name in _ARRAYS:
            if isinstance(text := values[name], str):
                values[name] = _array(text.encode(), name)
        return decode(msgspec.json.encode(values))


decode = bodies.decoder(AccountsBody)

_WIRE: Final = {field.name: field.encode_name for field in msgspec.structs.fields(AccountsBody)}
_OPERATORS: Final[dict[str, tuple[Test, bool]]] = {
    "=": ("=", False),
    "==": ("=", False),
    "!=": ("=", True),
    ">": (">", False),
    "<": ("<", False),
    ">=": (">=", False),
    "<=": ("<=", False),
    "like": ("like", False),
}
"""What an operator says: a test, or the complement of one."""

_ARRAYS: Final = ("where", "whereNot", "whereIn", "whereNotIn", "whereBetween", "whereNotBetween", "orderBy")


def _order(order_by: tuple[str, Direction] | None) -> Order:
    if order_by is None:
        return Order()
    field, direction = order_by
    kind_of(field, "orderBy")
    return Order(field, direction == "DESC")


def _operator(operator: str, place: str, field: str) -> tuple[Test, bool]:
    found = _OPERATORS.get(operator)
    if found is None:
        detail = f"{place}: {field} is compared by one of {' '.join(_OPERATORS)}"
        raise ValidationError("bad_operator", detail, field=field)
    return found


def _scalar(token: Raw, place: str, field: str) -> str | bool | Fraction:
    text = bytes(token)
    if text.startswith(b'"'):
        return bodies.clean(_json(text, str, place, field), field=field)
    if text in {b"true", b"false"}:
        return text == b"true"
    value = number(text.decode("ascii", "replace"))
    if value is None:
        detail = f"{place}: {field} compares with a text or a plain decimal, without exponent"
        raise ValidationError("wrong_type", detail, field=field)
    return value


def _one(token: Raw, place: str, field: str) -> Scalars:
    return [_scalar(token, place, field)]


def _list(token: Raw, place: str, field: str) -> Scalars:
    return [_scalar(value, place, field) for value in _json(bytes(token), list[Raw], place, field)]


def _range(token: Raw, place: str, field: str) -> Scalars:
    values = _list(token, place, field)
    if len(values) != 2:
        raise ValidationError("wrong_type", f"{place}: {field} needs a list of from and to", field=field)
    return values


def _array(text: bytes, name: str) -> Raw:
    """Read an array in the query; null is none, or a filter that was left empty would select everything."""
    array = _json(text, Raw, name, name)
    if bytes(array).strip() == b"null":
        raise ValidationError("wrong_type", f"{name} needs a list, or is left out", field=name)
    return array


def _json(text: bytes, wanted: type[T], place: str, field: str) -> T:
    try:
        return msgspec.json.decode(text, type=wanted)
    except msgspec.ValidationError as error:
        raise ValidationError(
            "wrong_type", f"{place}: {field} needs a list of values", field=field
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValidationError("bad_json", f"{place} is not valid JSON", field=field) from error


_PAIRS: Final[dict[str, tuple[Callable[[Raw, str, str], Scalars], Test, bool]]] = {
    "where_not": (_one, "=", True),
    "where_in": (_list, "in", False),
    "where_not_in": (_list, "in", True),
    "where_between": (_range, "between", False),
    "where_not_between": (_range, "between", True),
}
"""How the value of each array of pairs is read, and what it says."""
