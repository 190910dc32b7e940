"""The accounts page: from its form to the question of GET /accounts, and from the answer to a table."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Raw

from api import accounts
from api.accounts_query import LIMIT_MAX, OFFSET_MAX, AccountsBody, decode
from api.answers import Body
from api.bodies import SECONDS_MAX
from api.console.exchange import Fields, query_as
from api.console.table import Column, Kind, Table
from api.console.writing import NOTHING, on_the_wall, text
from api.middleware import Ask
from api.service import Service
from ledger.clock import ServerClock
from ledger.events import to_json
from ledger.refusals import ValidationError
from projections.accounts import PERSONAL, STRUCTURE
from projections.accounts_filter import FIELDS, check_personal
from projections.totals import TOTALS

PAGE: Final = 50
PAGES: Final = (25, 50, 100, 200)
RULES_MAX: Final = 8
ROWS_AT_ONCE: Final = 50

LABELS: Final = {
    "enable": "Enabled",
    "enable_read_only": "Read only",
    "enable_change_password": "May change password",
    "zipcode": "Zip code",
    "regdate": "Registered",
    "prevbalance": "Prev. balance",
    "prevmonthbalance": "Prev. month",
    "margin_free": "Free margin",
    "margin_level": "Margin level %",
    "net_profit": "Net profit",
    "customer_id": "Customer",
}
USUAL: Final = (
    *("login", "name", "group", "currency", "balance", "credit", "equity", "margin"),
    *("prevbalance", "prevmonthbalance", "enable"),
)
"""The columns that are shown unless others are asked for."""

OPERATORS: Final = {
    "=": ("where", "="),
    "≠": ("where", "!="),
    ">": ("where", ">"),
    "≥": ("where", ">="),
    "<": ("where", "<"),
    "≤": ("where", "<="),
    "like": ("where", "like"),
    "in": ("whereIn", None),
    "not in": ("whereNotIn", None),
    "between": ("whereBetween", None),
    "not between": ("whereNotBetween", None),
}
"""What the form calls the rules of the question: the array each goes into, and its operator there."""

_KINDS: Final[dict[str, Kind]] = {"money": "money", "percent": "percent", "number": "number", "flag": "flag"}
_RULE = re.compile(r"(?:field|op|value)([1-8])")
_PLAIN = re.compile(r"-?\d+(?:\.\d+)?")
_FLAGS: Final = {"yes": True, "no": False, "true": True, "false": False}


class ListQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What the form asks beside its rules. `columns` is a comma list."""

    group_filter: str = "*"
    order_by: str = "login"
    direction: Literal["ASC", "DESC"] = "ASC"
    limit: Annotated[int, Meta(ge=1, le=PAGES[-1])] = PAGE
    offset: Annotated[int, Meta(ge=0, le=OFFSET_MAX)] = 0
    columns: str = ",".join(USUAL)
    totals_currency: str | None = None
    whole: bool = False


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """One page of the list: its table, and what stands around it."""

    query: ListQuery
    table: Table
    count: int
    body: Body

    @property
    def first(self) -> int:
        """The number of the first row of the page."""
        return self.query.offset + 1 if self.table.rows else 0

    @property
    def last(self) -> int:
        """The number of the last row of the page."""
        return self.query.offset + len(self.table.rows)


async def results_of(
    service: Service, ask: Ask, fields: Fields, *, lend: accounts.Lend | None = None
) -> Results:
    """Answer the form; `whole` asks for all that match, as far as one answer goes."""
    plain = {name: value for name, value in fields.items() if not _RULE.fullmatch(name)}
    query = query_as(plain, ListQuery)
    columns = _columns(query.columns, ask)
    body = await accounts.answer(service, ask, _question(query, _rules(fields)), lend=lend)
    if query.whole and body["count"] > LIMIT_MAX:
        detail = f"{body['count']} accounts match, and one file takes {LIMIT_MAX}: narrow the filter"
        raise ValidationError("too_many_rows", detail, field="whole")
    table = await _table(body, columns, service.writer.definitions.clock)
    return Results(query=query, table=table, count=body["count"], body=body)


def choices(ask: Ask) -> list[tuple[str, str]]:
    """Name the columns that a key may see, with their labels."""
    return [(name, label(name)) for name in STRUCTURE if name not in PERSONAL or "users:pii" in ask.scopes]


def label(name: str) -> str:
    """Give what a column is called for people."""
    return LABELS.get(name, name.replace("_", " ").capitalize())


def rules_in(fields: Fields) -> list[dict[str, str]]:
    """Give the rules as they were filled in, and an empty one after them."""
    numbers = sorted({int(found[1]) for name in fields if (found := _RULE.fullmatch(name))})
    filled = [
        {part: fields.get(f"{part}{number}", "") for part in ("field", "op", "value")} for number in numbers
    ]
    rules = [rule for rule in filled if rule["field"]]
    return [*rules, {"field": "", "op": "=", "value": ""}][:RULES_MAX]


def _columns(names: str, ask: Ask) -> list[Column]:
    """Give the columns that are asked for, always in the same order."""
    if names == ListQuery().columns:
        wanted = {name for name, _ in choices(ask)} & {*USUAL}
    else:
        wanted = {part.strip() for part in names.split(",")}
        if unknown := sorted(wanted - {*STRUCTURE}):
            raise ValidationError("unknown_field", f"there is no column {unknown[0]!r}", field="columns")
        check_personal(sorted(wanted), ask.scopes)
    return [Column(name, label(name), _kind(name)) for name in _ORDER if name in wanted]


_ORDER: Final = tuple(dict.fromkeys((*USUAL, *STRUCTURE)))


def _kind(name: str) -> Kind:
    return "time" if name == "regdate" else _KINDS.get(FIELDS[name], "text")


def _rules(fields: Fields) -> Iterator[tuple[str, list[Any]]]:
    """Give each rule with the array of the question that it goes into."""
    for rule in rules_in(fields):
        field, value = rule["field"], rule["value"]
        if not field:
            continue
        if rule["op"] not in OPERATORS:
            raise ValidationError("bad_operator", f"{rule['op']!r} compares nothing", field=field)
        array, operator = OPERATORS[rule["op"]]
        if operator is not None:
            yield array, [field, operator, _token(field, value)]
        else:
            parts = value.split("..") if "etween" in array else value.split(",")
            yield array, [field, [_token(field, part.strip()) for part in parts]]


def _token(field: str, value: str) -> object:
    """Give a value as the API takes it: a number where the field is one and the value reads so."""
    kind = FIELDS.get(field)
    if kind in {"text", "group"}:
        return value
    if kind == "flag" and value.lower() in _FLAGS:
        return _FLAGS[value.lower()]
    return Raw(value.encode()) if _PLAIN.fullmatch(value) else value


def _question(query: ListQuery, rules: Iterator[tuple[str, list[Any]]]) -> AccountsBody:
    values: dict[str, Any] = {
        "groupFilter": query.group_filter,
        "limit": LIMIT_MAX if query.whole else query.limit,
        "offset": 0 if query.whole else query.offset,
        "orderBy": [query.order_by, query.direction],
        "totalsCurrency": query.totals_currency,
    }
    for array, rule in rules:
        values.setdefault(array, []).append(rule)
    return decode(to_json(values))


async def _table(body: Body, columns: Sequence[Column], clock: ServerClock) -> Table:
    """Write the answer's rows as text, giving way now and then."""
    places = [(STRUCTURE.index(column.name), column) for column in columns]
    rows: list[list[str]] = []
    for number, row in enumerate(body["rows"], start=1):
        rows.append([_cell(row[place], column, clock) for place, column in places])
        if number % ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return Table(columns=columns, rows=rows, totals=list(_totals(body, columns)))


def _cell(value: object, column: Column, clock: ServerClock) -> str:
    match column.kind:
        case "flag":
            return "yes" if value else "no"
        case "time":
            assert isinstance(value, int)
            return _time(value, clock)
        case _:
            return text(value)


def _time(seconds: int, clock: ServerClock) -> str:
    """Write a registration; one that a log took when it had no bound may lie beyond the calendar."""
    if seconds == 0:
        return ""
    if seconds > SECONDS_MAX:
        return text(seconds)
    return " ".join(on_the_wall(clock, datetime.fromtimestamp(seconds, UTC)))


def _totals(body: Body, columns: Sequence[Column]) -> Iterator[list[str]]:
    """Give a line for each currency, exact, and where there are several, one of all of them."""
    _, *others = columns
    by_currency: Mapping[str, Mapping[str, object]] = body["totals_by_currency"]
    for currency, totals in by_currency.items():
        name = f"{currency}, {totals['count']} account{'' if totals['count'] == 1 else 's'}"
        yield [name, *(text(totals[column.name]) if column.name in TOTALS else "" for column in others)]
    if len(by_currency) > 1:
        converted = (
            text(body[f"total_{column.name}"]) or NOTHING if column.name in TOTALS else ""
            for column in others
        )
        yield [f"all in {body['totals_currency']}", *converted]
