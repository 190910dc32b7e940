"""History as lines of CSV that the database writes, in short steps, up to one position.

Row by row in Python it would take three times as long, and hold up the event loop. The bytes are those of
`history_csv.csv_lines`: the database knows the digits of each currency, so a whole number of minor units
times 0.01 is as exact as everywhere.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import cache
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from ledger.money import DIGITS_MAX
from projections.history import up_to
from projections.history_csv import COLUMNS
from projections.history_filter import Filter, Order, Scope
from projections.history_rows import page_statement, statement
from projections.spreadsheets import RUN_BY_SPREADSHEETS
from projections.sql import sql

STEP: Final = 1_000
"""Lines that are written in a step."""

Rest = Callable[[], Awaitable[None]]


async def history_text(
    connection: AsyncConnection[Any], wanted: Filter, *, order: Order, rest: Rest, step: int = STEP
) -> AsyncGenerator[bytes, None]:
    """Yield the lines of all rows up to the last one at the start, as they were then, some at a time.

    No transaction stays open; `rest` is awaited between steps. Close the generator when not all is wanted.
    """
    found = await up_to(connection, wanted)
    if found is None:
        return
    scope, seen = found
    writing = _sorted if wanted.basis == "effective" else _stepwise
    chunks = writing(connection, scope, order, seen=seen, step=step)
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk
            await rest()


async def _stepwise(
    connection: AsyncConnection[Any], scope: Scope, order: Order, *, seen: int, step: int
) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a scope, each step by a page that begins where the one before ended."""
    cursor = connection.cursor(binary=True)
    beside = {"limit": Int8(step), "offset": Int8(0), "seen": Int8(seen)}
    count = step
    while count == step and not scope.empty:
        query = _writing("history_lines", page_statement(scope, order))
        [(text, count, *key)] = await (await cursor.execute(query, scope.params | beside)).fetchall()
        if not count:
            return
        yield text
        scope = scope.past((key[0], key[1]), order)


async def _sorted(
    connection: AsyncConnection[Any], scope: Scope, order: Order, *, seen: int, step: int
) -> AsyncGenerator[bytes, None]:
    """Yield the lines of a scope by effective time, which the server sorts once and keeps aside."""
    rows = statement("history_stream_effective", scope.conditions, order=order)
    query = _writing("history_lines_sorted", rows)
    async with connection.cursor("history_text", binary=True, withhold=True) as cursor:
        await cursor.execute(query, scope.params | {"seen": Int8(seen)})
        while found := await cursor.fetchmany(step):
            yield b"".join(line for (line,) in found)


@cache
def _writing(name: str, rows: bytes) -> bytes:
    """Put a statement together that writes the rows of another."""
    parts = ", ".join(["h.*", *(f"{value} AS {part}" for part, value in _PARTS.items())])
    return sql(name).format(line=_line(), parts=parts, rows=rows.decode()).encode()


def _line() -> str:
    """Write a line; one look at all its texts tells whether any of them has to be quoted."""
    asking = f"concat(v.warnings, {', '.join(_TEXTS.values())}) LIKE ANY ({_ASKING})"
    quoted = _CELLS | {name: _quoted(_CELLS[name]) for name in ("warnings", *_TEXTS)}
    return rf"CASE WHEN {asking} THEN {_joined(quoted)} ELSE {_joined(_CELLS)} END || E'\r\n'"


def _joined(cells: dict[str, str]) -> str:
    null_as_nothing = (
        f"coalesce(({cells[name]})::text, '')" if name in _NULLABLE else cells[name] for name in COLUMNS
    )
    return f"concat_ws(',', {', '.join(null_as_nothing)})"


def _money(value: str) -> str:
    return f"({value} * v.unit)"


def _same(value: str, other: str, text: str) -> str:
    """Take the text of a value for that of another where the two are the same."""
    return f"CASE WHEN {value} = {other} THEN {text} ELSE {_money(value)}::text END"


def _time(column: str) -> str:
    """Write an instant as Python does: six digits after the seconds, or none.

    JSON has that form but for zeros at the end, and comes in half the time.
    """
    instant = f"({column} AT TIME ZONE INTERVAL '0')"
    json = f"to_json({instant})::text"
    return f"""CASE
        WHEN octet_length({json}) = 28 THEN substr({json}, 2, 26) || 'Z'
        WHEN date_trunc('second', {instant}) = {instant} THEN to_char({instant}, 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        ELSE to_char({instant}, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    END"""


def _day(column: str) -> str:
    return f"substr(to_json({column})::text, 2, 10)"


def _operation(column: str) -> str:
    return f"'bal_' || {column}"


def _safe(column: str) -> str:
    """Quote a text as `spreadsheets.quote` does."""
    return f"CASE WHEN ascii({column}) IN ({_RUN}) THEN '''' || {column} ELSE {column} END"


def _quoted(cell: str) -> str:
    """Quote a cell as CSV does, where it has to be."""
    quoted = f"""'"' || replace({cell}, '"', '""') || '"'"""
    return f"CASE WHEN {cell} LIKE ANY ({_ASKING}) THEN {quoted} ELSE {cell} END"


_RUN: Final = ", ".join(str(ord(character)) for character in RUN_BY_SPREADSHEETS)
_ASKING: Final = r"""ARRAY['%%"%%', '%%,%%', E'%%\r%%', E'%%\n%%']"""
_UNITS: Final = {digits: f"0.{1:0{digits}d}" if digits else "1" for digits in (2, *range(DIGITS_MAX + 1))}
_TEXTS: Final = {
    "requestId": "v.request_id",
    "reference": "v.reference",
    "group": "v.group_name",
    "comment": "v.comment",
    "method": "v.method",
    "operatorId": "v.operator_id",
    "keyId": "v.key_id",
    "metadata": "v.metadata",
}
"""What a caller writes."""

_CELLS: Final = {name: _safe(column) for name, column in _TEXTS.items()} | {
    "warnings": "v.warnings",
    "operationId": _operation("v.operation"),
    "status": "'accepted'",
    "kind": "v.kind",
    "login": "v.login",
    "amount": _money("v.amount"),
    "currency": "v.currency",
    "newBalance": _same("v.booked_balance", "v.balance", "v.balance_text"),
    "newCredit": _same("v.booked_credit", "v.credit", "v.credit_text"),
    "balanceChange": _money("v.balance_change"),
    "creditChange": _money("v.credit_change"),
    "position": 'v."position"',
    "serverDay": "v.server_day_text",
    "recordedAt": "v.recorded_at_text",
    "effectiveAt": (
        f"CASE WHEN v.effective_at = v.recorded_at THEN v.recorded_at_text ELSE {_time('v.effective_at')} END"
    ),
    "tradingDay": (
        f"CASE WHEN v.trading_day = v.server_day THEN v.server_day_text ELSE {_day('v.trading_day')} END"
    ),
    "balanceBefore": _money("(v.balance - v.balance_change)"),
    "balanceAfter": "v.balance_text",
    "creditBefore": _same("(v.credit - v.credit_change)", "v.credit", "v.credit_text"),
    "creditAfter": "v.credit_text",
    "corrects": _operation("v.corrects"),
    "reversedBy": f"CASE WHEN v.reversed_by <= %(seen)s THEN {_operation('v.reversed_by')} END",
    "peer": "v.peer",
}
_NULLABLE: Final = frozenset({*_TEXTS, "warnings", "corrects", "reversedBy", "peer"})
_UNIT: Final = f"CASE h.digits {' '.join(f'WHEN {n} THEN {unit}' for n, unit in _UNITS.items())} END"
_PARTS: Final = {
    "unit": _UNIT,
    "balance_text": f"(h.balance * {_UNIT})::text",
    "credit_text": f"(h.credit * {_UNIT})::text",
    "server_day_text": _day("h.server_day"),
    "recorded_at_text": _time("h.recorded_at"),
}
