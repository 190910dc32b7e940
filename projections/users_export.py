"""The users export: every matched account as a line of text, in short steps, with the money of one position.

The database writes the lines: row by row in Python it would take five times as long. It knows the digits of
each currency, so the decimals are as exact as everywhere: a whole number of minor units times 0.01. No
transaction stays open from step to step: what was booked since the beginning is taken off again by history.
So money that moves meanwhile is neither there twice nor missing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from psycopg import AsyncConnection
from psycopg.sql import SQL
from psycopg.types.numeric import Int8

from ledger.money import DIGITS_MAX
from projections.accounts import PERSONAL, STRUCTURE
from projections.accounts_filter import FIELDS
from projections.accounts_scope import Scope
from projections.history import snapshot
from projections.spreadsheets import RUN_BY_SPREADSHEETS
from projections.sql import sql
from projections.totals import Moment

Format = Literal["csv", "json", "ndjson"]

SPAN: Final = 5_000
"""Accounts that go together in a step."""

STEP: Final = 250
"""Lines that are taken before others get their turn."""

Rest = Callable[[], Awaitable[None]]


class Start(msgspec.Struct, frozen=True):
    """The last leg that the money of an export comes from."""

    position: int
    recorded_at: datetime


async def read_start(connection: AsyncConnection[Any]) -> Start:
    """Give where an export begins that begins now."""
    return Start(*(await (await connection.execute(_LAST_LEG)).fetchone() or (0, NEVER)))


async def export_lines(
    connection: AsyncConnection[Any],
    scope: Scope,
    moment: Moment,
    start: Start,
    *,
    form: Format,
    personal: bool,
    rest: Rest,
    span: int = SPAN,
) -> AsyncGenerator[list[bytes], None]:
    """Yield the lines of all accounts of a scope, some at a time; personal columns are blank unless asked.

    `moment` and `start` are of one snapshot; `rest` is awaited every few lines.
    """
    if scope.empty:
        return
    cells = _cells(form, hidden=() if personal else PERSONAL)
    begun = {"seen": Int8(start.position), "seen_at": start.recorded_at}
    first, last = 0, await _end_of_span(connection, 0, span)
    while last is not None:
        params = scope.params | moment.params | begun | {"first": Int8(first), "last": Int8(last)}
        async with snapshot(connection):
            moved = await read_start(connection) != start
            statement = _statement(scope, cells=cells, layout=_LAYOUTS[form], moved=moved)
            lines = await _copied(connection, statement, params, rest)
        if lines:
            yield lines
        first, last = last + 1, await _end_of_span(connection, last, span)


def copy_of_all(scope: Scope, moment: Moment, *, form: Format, personal: bool) -> tuple[SQL, dict[str, Any]]:
    """Give one statement that writes every line at once, by which the steps can be measured."""
    cells = _cells(form, hidden=() if personal else PERSONAL)
    statement = _statement(scope, cells=cells, layout=_LAYOUTS[form], moved=False)
    return statement, scope.params | moment.params | {"first": Int8(0), "last": Int8(2**63 - 1)}


NEVER: Final = datetime.min.replace(tzinfo=UTC)

_LAST_LEG: Final = 'SELECT "position", recorded_at FROM history ORDER BY "position" DESC LIMIT 1'
_END_OF_SPAN: Final = """
SELECT max(login) FROM (SELECT login FROM accounts WHERE login > %s ORDER BY login LIMIT %s) AS span
"""


async def _end_of_span(connection: AsyncConnection[Any], after: int, span: int) -> int | None:
    found = await (await connection.execute(_END_OF_SPAN, [Int8(after), span])).fetchone()
    return None if found is None else found[0]


async def _copied(
    connection: AsyncConnection[Any], statement: SQL, params: dict[str, Any], rest: Rest
) -> list[bytes]:
    lines: list[bytes] = []
    async with connection.cursor() as cursor, cursor.copy(statement, params) as copy:
        async for line in copy:
            lines.append(bytes(line))
            if len(lines) % STEP == 0:
                await rest()
    return lines


_UNITS: Final = {digits: f"0.{1:0{digits}d}" if digits else "1" for digits in range(DIGITS_MAX + 1)}
_UNIT: Final = f"CASE v.digits {' '.join(f'WHEN {n} THEN {unit}' for n, unit in _UNITS.items())} END"
_RUN: Final = ", ".join(str(ord(character)) for character in RUN_BY_SPREADSHEETS)

# JSON has no control characters, so none of its lines is quoted by these rules.
_AS_IT_IS: Final = r"FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02', ENCODING 'UTF8'"
_LAYOUTS: Final[dict[Format, str]] = {
    "csv": r"FORMAT csv, NULL E'\x01', ENCODING 'UTF8'",
    "json": _AS_IT_IS,
    "ndjson": _AS_IT_IS,
}


def _statement(scope: Scope, *, cells: str, layout: str, moved: bool) -> SQL:
    text = sql("users_export").format(
        cells=cells, accounts=_ACCOUNTS_AT if moved else _ACCOUNTS, where=scope.where, layout=layout
    )
    return SQL(text)


# The tables beside accounts are bound to the span too, so that each step reads its own part of them.
_ACCOUNTS: Final = re.sub(
    r"ON ([pfo])\.login = a\.login",
    r"ON \1.login = a.login AND \1.login BETWEEN %(first)s AND %(last)s",
    sql("figures_of_accounts"),
)
_ACCOUNTS_AT: Final = _ACCOUNTS.replace("FROM accounts a", f"FROM ({sql('accounts_at')}) a")


def _cells(form: Format, *, hidden: Sequence[str]) -> str:
    """Write the columns of a line: cells of their own in CSV, else one text."""
    values = {name: "''" if name in hidden else _value(name) for name in STRUCTURE}
    match form:
        case "csv":
            return ", ".join(_guarded(name, value) for name, value in values.items())
        case "json":
            return f"'[' || concat_ws(',', {', '.join(_encoded(*field) for field in values.items())}) || ']'"
        case "ndjson":
            named = [f"""'"{name}":' || {_encoded(name, value)}""" for name, value in values.items()]
            return f"'{{' || concat_ws(',', {', '.join(named)}) || '}}'"


def _value(name: str) -> str:
    column = f'v."{name}"'
    match FIELDS[name]:
        case "money":
            return f"{column} * {_UNIT}"
        case "percent":
            return f"{column} * 0.01"
        case _:
            return column


def _guarded(name: str, value: str) -> str:
    """Quote a text as `spreadsheets.quote` does; numbers are left alone."""
    if not _is_text(name):
        return value
    return f"CASE WHEN ascii({value}) IN ({_RUN}) THEN '''' || {value} ELSE {value} END"


def _encoded(name: str, value: str) -> str:
    return f"to_json({value}::text)" if _is_text(name) else value


def _is_text(name: str) -> bool:
    return FIELDS[name] in {"text", "group"}
