"""Right values for fields of bodies and queries: by name where they must mean something, else by type."""

from __future__ import annotations

import types
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from api import batches, bodies, feed_bodies

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGIN = 999_999_999
MEANT: dict[str, Any] = {
    **dict.fromkeys(("login", "from", "to"), LOGIN),
    "kind": "charge",
    "corrects": "bal_999999999",
    "operationId": "bal_999999999",
    "group": "standard",
    "groupFilter": "*",
    "timezone": "UTC",
    "dayEnd": "00:00",
    "overnightDays": "all",
    "symbol": "EURUSD",
    "dealId": "d-1",
    "ticket": 1,
    "at": "2199-01-01T00:00:00Z",
    "timeMs": 1_600_000_000_000,
    "limit": 1000,
    "offset": 0,
}
MEANT_IN: dict[tuple[type[Any], str], Any] = {(feed_bodies.PositionsBody, "kind"): "delta"}
"""What fields have to say so that a body is right, whatever else is in it."""

MEANT_TOO: dict[type[Any], dict[str, Any]] = {
    bodies.CorrectionBody: {"balance": 1},
    bodies.AdjustBody: {"amount": 1},
    bodies.UpdateBody: {"leverage": 100},
}
"""What bodies need of what is not required."""

ITEMS: dict[tuple[type[Any], str], tuple[type[Any], ...]] = {
    (bodies.BatchBody, "operations"): get_args(batches.Item),
    (feed_bodies.QuotesBody, "quotes"): (feed_bodies.QuoteItem,),
    (feed_bodies.PositionsBody, "positions"): (feed_bodies.PositionItem,),
    (feed_bodies.DealsBody, "deals"): (feed_bodies.DealItem,),
}
"""The structs that items of a list are decoded by, one by one."""


def right_body(struct: type[Any], **given: Any) -> Any:
    """Give a body that decodes: what is required, and what is given; by their names on the wire."""
    body = {
        field.encode_name: sample(struct, field) for field in msgspec.structs.fields(struct) if field.required
    }
    body |= next((too for kind, too in MEANT_TOO.items() if issubclass(struct, kind)), {})
    tag = struct.__struct_config__.tag
    if tag is not None:
        body = {struct.__struct_config__.tag_field: tag} | body
    body |= given
    return list(body.values()) if struct.__struct_config__.array_like else body


def sample(struct: type[Any], field: Any) -> Any:
    """Give a right value of a field."""
    for known in (MEANT_IN.get((struct, field.encode_name)), MEANT.get(field.encode_name)):
        if known is not None:
            return known
    if (struct, field.encode_name) in ITEMS:
        return []
    return of_type(field.type, field.encode_name)


def of_type(wanted: Any, name: str = "") -> Any:
    """Give some value of a type."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        return of_type(inner[0], name)
    if origin in {Union, types.UnionType}:
        return of_type(next(part for part in inner if part not in {type(None), msgspec.UnsetType}), name)
    if origin is Literal:
        return inner[0]
    if wanted is str:
        return "USD" if name.lower().endswith("currency") else "x"
    simple = {int: 1, bool: True, datetime: "2020-01-01T00:00:00Z", date: "2020-01-01", msgspec.Raw: 1}
    if wanted in simple:
        return simple[wanted]
    if origin in {list, dict} or wanted is dict:
        return {} if origin is dict or wanted is dict else []
    raise AssertionError(f"tests/access/samples.py does not know a right value of {name}: {wanted}")


def items_of(struct: type[Any]) -> Iterator[tuple[str, tuple[type[Any], ...]]]:
    """Give the fields of a body that hold items decoded one by one, with the structs of these."""
    for field in msgspec.structs.fields(struct):
        if field.type in _RAW_LISTS or (struct, field.encode_name) in ITEMS:
            yield field.encode_name, ITEMS[struct, field.encode_name]


def variants(query: type[Any]) -> Iterator[dict[str, Any]]:
    """Give right questions: the required parameters alone, then with each value of each other parameter."""
    fields = msgspec.structs.fields(query)
    base = {field.encode_name: sample(query, field) for field in fields if field.required}
    yield base
    for field in fields:
        for value in _values(query, field):
            yield base | {field.encode_name: value}


def _values(query: type[Any], field: Any) -> list[Any]:
    choices = [part for part in _parts(field.type) if get_origin(part) is Literal]
    if choices:
        return list(get_args(choices[0]))
    if field.encode_name in ASKED:
        return ASKED[field.encode_name]
    if field.required:
        return []
    if bool in _parts(field.type):
        return ["true", "false"]
    return [sample(query, field)]


ASKED: dict[str, list[Any]] = {
    "login": [],
    "kind": ["deposit", "transfer,correction,reversal,trade"],
    "limit": [1, 1000],
    "offset": [1],
    "wait": [0],
    "cursor": [],
    "from": ["2020-01-01T00:00:00Z"],
    "fromDay": ["2020-01-01"],
    "toDay": ["2199-01-01"],
    "to": ["2199-01-01T00:00:00Z"],
    "day": ["2020-01-01"],
    "where": ['[["balance",">",-1]]'],
    "whereNot": ['[["login",0]]'],
    "whereIn": ['[["enable",[0,1]]]'],
    "whereNotIn": ['[["login",[0]]]'],
    "whereBetween": ['[["balance",[-1000000000,1000000000]]]'],
    "whereNotBetween": ['[["login",[0,1]]]'],
    "orderBy": ['["balance","DESC"]', '["name","ASC"]'],
    "totalsCurrency": ["USD", "EUR"],
    "groupFilter": ["*", "nowhere"],
    "minAmount": ["0.01"],
    "maxAmount": ["1000000000"],
}
"""What is asked of parameters whose values have to mean something."""


def _parts(wanted: Any) -> list[Any]:
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        return _parts(inner[0])
    if origin in {Union, types.UnionType}:
        return [found for part in inner for found in _parts(part)]
    return [wanted]


_RAW_LISTS = (list[msgspec.Raw],)
