"""What answers are made of: the shape of an object whose fields are all known, exact money, ids, times."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw

from api.bodies import Instant

REFERENCE: Final = "#/components/schemas/{name}"


class Shape(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An object in an answer: it has these fields and no others; those with a default may be missing."""


Money = Annotated[Raw, Meta(extra_json_schema={"type": "number"})]
"""A JSON number with exactly the currency's digits. It is no float: read it with a decimal parser."""

Exact = Money
"""A JSON number that is no money: lots, prices, rates, percent."""

Moment = Instant
Count = Annotated[int, Meta(ge=0)]
Position = Annotated[int, Meta(ge=1)]
BalanceId = Annotated[str, Meta(pattern="^bal_[1-9][0-9]*$")]
OperationId = Annotated[str, Meta(pattern="^(bal|op)_[1-9][0-9]*$")]
AnyObject = dict[str, Any]


def either(*shapes: type[msgspec.Struct]) -> Meta:
    """Say of an annotated field that it is one of several objects."""
    _named.update({shape.__name__: shape for shape in shapes})
    references = [{"$ref": REFERENCE.format(name=shape.__name__)} for shape in shapes]
    return Meta(extra_json_schema={"anyOf": references})


def named(name: str) -> type[msgspec.Struct]:
    """Give a shape that `either` referred to by its name."""
    return _named[name]


_named: dict[str, type[msgspec.Struct]] = {}
