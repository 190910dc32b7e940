"""Accounts in answers: the profile by name, the accounts list with its totals."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.shapes.parts import Count, Exact, Moment, Money, OperationId, Shape
from projections.accounts import STRUCTURE
from projections.accounts_filter import FIELDS, Kind
from projections.totals import TOTALS

KINDS: Final[dict[Kind, Any]] = {
    "number": Count,
    "percent": Exact,
    "money": Money,
    "flag": Literal[0, 1],
    "text": str,
    "group": str,
}
"""What a published field is in an answer."""

_CLOSED: Final[dict[str, Any]] = {"frozen": True, "kw_only": True, "forbid_unknown_fields": True}
_Maybe = Money | None

Profile: Final = msgspec.defstruct(
    "Profile",
    [
        *((name, KINDS[FIELDS[name]]) for name in STRUCTURE),
        ("withdrawable", Money),
        ("digits", Annotated[int, Meta(ge=0, le=8)]),
        ("stale", bool),
        ("version", Annotated[int, Meta(ge=1)]),
        ("warnings", list[str] | UnsetType, UNSET),
    ],
    namespace={"__doc__": "An account: the published fields by name, and ours. Personal ones may be blank."},
    **_CLOSED,
)

ProfileWritten: Final = msgspec.defstruct(
    "ProfileWritten",
    [("operationId", OperationId), ("requestId", str)],
    bases=(Profile,),
    namespace={"__doc__": "An account as an operation left it."},
    **_CLOSED,
)

CurrencyTotals: Final = msgspec.defstruct(
    "CurrencyTotals",
    [("count", Count), *((name, Money) for name in TOTALS)],
    namespace={"__doc__": "The exact totals of the matched accounts of one currency."},
    **_CLOSED,
)


class Rate(Shape, frozen=True, kw_only=True):
    """What was converted by, and the symbols that it was made of."""

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    rate: Exact
    symbols: list[str]
    quoted_at: Moment | None


_Row: Any = tuple.__class_getitem__(tuple(KINDS[FIELDS[name]] for name in STRUCTURE))
_Rows: Any = list.__class_getitem__(_Row)
_Structure = Annotated[list[str], Meta(extra_json_schema={"const": list(STRUCTURE)})]

AccountsPage: Final = msgspec.defstruct(
    "AccountsPage",
    [
        ("structure", _Structure),
        ("rows", _Rows),
        ("count", Count),
        *((f"total_{name}", _Maybe) for name in TOTALS),
        ("totals_currency", str),
        ("totals_by_currency", dict.__class_getitem__((str, CurrencyTotals))),
        ("rates", list[Rate]),
        ("position", Count),
        ("asOf", Moment),
        ("stale", bool),
        ("warnings", list[str]),
    ],
    namespace={"__doc__": "A page of accounts, and the totals of all that match; null where a rate lacks."},
    **_CLOSED,
)

UsersExport: Final = msgspec.defstruct(
    "UsersExport",
    [
        ("structure", _Structure),
        ("rows", _Rows),
        ("count", Count),
        ("position", Count),
        ("asOf", Moment),
        ("stale", bool),
        ("warnings", list[str]),
    ],
    namespace={"__doc__": "All matched accounts, with the money of one position."},
    **_CLOSED,
)
