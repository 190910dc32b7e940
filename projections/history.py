"""History: one row a leg of a money operation, in pages, as totals, and as a stream of everything.

On the recorded basis rows stand and bound by the time they were booked; on the effective basis by when
they happened, and what the account held after each is restated in that order.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import date, datetime
from functools import cache
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.sql import SQL
from psycopg.types.numeric import Int8

from projections.asof import AsOf, held_before
from projections.history_filter import (
    CONDITIONS,
    POSITION_MAX,
    Basis,
    Filter,
    Key,
    Order,
    Scope,
    by_instants,
    read_cursor,
    resolve,
    write_cursor,
)
from projections.sql import sql

__all__ = [
    "Filter",
    "Page",
    "Row",
    "Total",
    "Totals",
    "by_instants",
    "count_and_totals",
    "opening_closing",
    "page",
    "snapshot",
    "stream",
]

CHUNK = 5_000


class Row(msgspec.Struct, frozen=True):
    """One leg. Money is in minor units of `currency`; a time may be in the connection's time zone.

    `balance` and `credit` are what the account held afterwards on the asked basis, `booked_balance` and
    `booked_credit` what its booking said. `warnings` is a comma list, `metadata` the text of a JSON object.
    """

    position: int
    operation: int
    login: int
    recorded_at: datetime
    effective_at: datetime
    amount: int
    balance_change: int
    credit_change: int
    booked_balance: int
    booked_credit: int
    server_day: date
    trading_day: date
    digits: int
    corrects: int | None
    reversed_by: int | None
    peer: int | None
    kind: str
    currency: str
    group_name: str
    request_id: str | None
    operator_id: str | None
    key_id: str | None
    reference: str | None
    method: str | None
    comment: str | None
    warnings: str | None
    metadata: str | None
    balance: int
    credit: int

    @property
    def balance_before(self) -> int:
        """What the account held before, on the asked basis."""
        return self.balance - self.balance_change

    @property
    def credit_before(self) -> int:
        """The credit before, on the asked basis."""
        return self.credit - self.credit_change

    def key(self, basis: Basis) -> Key:
        """Where the row stands."""
        return (self.recorded_at if basis == "recorded" else self.effective_at, self.position)


class Page(msgspec.Struct, frozen=True):
    """Some rows, and the cursor of those after them: None at the end."""

    rows: list[Row]
    next: str | None


class Total(msgspec.Struct, frozen=True):
    """What the matched rows of one currency and kind add up to."""

    currency: str
    digits: int
    kind: str
    count: int
    balance_change: int
    credit_change: int


class Totals(msgspec.Struct, frozen=True):
    """How many rows match, and what they add up to."""

    count: int
    totals: list[Total]


async def page(
    connection: AsyncConnection[Any],
    wanted: Filter,
    *,
    order: Order = "desc",
    limit: int = 100,
    offset: int = 0,
    cursor: str | None = None,
) -> Page:
    """Give one page; ValidationError `bad_cursor` for a cursor of another question."""
    reached = None if cursor is None else read_cursor(cursor, wanted, order)
    scope = await resolve(connection, wanted)
    if reached is not None:
        scope = scope.past(reached, order)
    # One row more tells whether there is a next page.
    rows = await _rows(connection, scope, order, limit=limit + 1, offset=offset)
    following = write_cursor(rows[limit - 1].key(wanted.basis), wanted, order) if len(rows) > limit else None
    return Page(rows[:limit], following)


async def count_and_totals(connection: AsyncConnection[Any], wanted: Filter) -> Totals:
    """Add up all rows that match, whatever the page."""
    scope = await resolve(connection, wanted)
    if scope.empty:
        return Totals(0, [])
    cursor = connection.cursor(binary=True)
    await cursor.execute(_statement("history_totals", scope.conditions, bounds=scope.basis), scope.params)
    totals = [
        Total(currency, digits, kind, count, int(balance), int(credit))
        for currency, digits, kind, count, balance, credit in await cursor.fetchall()
    ]
    return Totals(sum(total.count for total in totals), totals)


async def opening_closing(connection: AsyncConnection[Any], wanted: Filter) -> tuple[AsOf, AsOf] | None:
    """Give what the account held before and after all its rows of a time: opening + movements = closing.

    None unless one login and bounds in time are all that is asked, and the caller sees that account.
    """
    if wanted.login is None or not wanted.one_account or not wanted.timed:
        return None
    span = (await resolve(connection, wanted)).span
    lower, upper = span.lower, max(span.lower, span.upper)
    opening = await held_before(connection, wanted.login, lower, basis=wanted.basis)
    closing = await held_before(connection, wanted.login, upper, basis=wanted.basis)
    if opening is None or closing is None or not wanted.access.reaches(wanted.login, opening.group):
        return None
    return opening, closing


async def stream(
    connection: AsyncConnection[Any],
    wanted: Filter,
    *,
    order: Order = "desc",
    chunk: int = CHUNK,
    until_position: int | None = None,
) -> AsyncGenerator[list[Row], None]:
    """Yield all rows up to a position, the last one at the start unless given, as they were then.

    No transaction stays open: by recorded time each chunk is a page of its own; by effective time the
    server sorts once and keeps the result beside, which `aclose` frees.
    """
    last = await _last_row(connection, until_position)
    scope = await resolve(connection, wanted)
    if last is None or scope.empty:
        return
    recorded_at, seen = last
    if wanted.basis == "effective":
        chunks = _sorted_chunks(connection, scope, order, chunk=chunk, seen=seen)
    else:
        chunks = _keyset_chunks(connection, scope.within(upper=(recorded_at, seen + 1)), order, chunk=chunk)
    async with aclosing(chunks):
        async for rows in chunks:
            yield [_as_seen(row, seen) for row in rows]


@asynccontextmanager
async def snapshot(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Let rows, totals, opening and closing be of one moment. Not for long reads: they hold up vacuum."""
    async with connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


_LAST_ROW: Final = (
    'SELECT recorded_at, "position" FROM history WHERE "position" <= %s ORDER BY "position" DESC LIMIT 1'
)
_COLUMNS: Final = {"booked_balance": "h.balance", "booked_credit": "h.credit"}
_ORDERS: Final = {"asc": "ASC", "desc": "DESC"}


@cache
def _statement(
    name: str, conditions: tuple[str, ...], *, bounds: Basis = "recorded", order: Order = "asc"
) -> bytes:
    """Put a statement together from its file and named fragments: nothing of a caller's gets in."""
    names = [name for name in Row.__struct_fields__ if name not in {"balance", "credit"}]
    columns = SQL(", ").join(SQL(_COLUMNS.get(name, f'h."{name}"')) for name in names)
    where = SQL(" AND ").join([SQL("true"), *(SQL(CONDITIONS[name]) for name in conditions)])
    text = SQL(sql(name)).format(
        columns=columns,
        where=where,
        recorded=SQL(CONDITIONS["recorded"]),
        effective=SQL(CONDITIONS["effective"]),
        bounds=SQL(CONDITIONS[bounds]),
        order=SQL(_ORDERS[order]),
    )
    return text.as_bytes()


async def _rows(
    connection: AsyncConnection[Any], scope: Scope, order: Order, *, limit: int, offset: int = 0
) -> list[Row]:
    if scope.empty:
        return []
    name = _page_of(scope, offset)
    # A page of logins asks for them one by one.
    conditions = tuple(c for c in scope.conditions if (name, c) != ("history_page_logins", "logins"))
    statement = _statement(name, conditions, order=order)
    cursor = connection.cursor(binary=True)
    await cursor.execute(statement, scope.params | {"limit": Int8(limit), "offset": Int8(offset)})
    return [_row(cells) for cells in await cursor.fetchall()]


def _page_of(scope: Scope, offset: int) -> str:
    """Name the statement of a page."""
    if scope.basis == "effective":
        return "history_page_effective"
    if "logins" in scope.conditions:
        return "history_page_logins"
    return "history_page_offset" if offset else "history_page"


def _row(cells: tuple[Any, ...]) -> Row:
    *others, balance, credit = cells
    return Row(*(*others, int(balance), int(credit)))  # restated sums are numeric: they know no limit


async def _last_row(connection: AsyncConnection[Any], until_position: int | None) -> Key | None:
    until = POSITION_MAX if until_position is None else until_position
    return await (await connection.execute(_LAST_ROW, [Int8(until)])).fetchone()


async def _keyset_chunks(
    connection: AsyncConnection[Any], scope: Scope, order: Order, *, chunk: int
) -> AsyncGenerator[list[Row], None]:
    while rows := await _rows(connection, scope, order, limit=chunk):
        yield rows
        if len(rows) < chunk:
            return
        scope = scope.past(rows[-1].key(scope.basis), order)


async def _sorted_chunks(
    connection: AsyncConnection[Any], scope: Scope, order: Order, *, chunk: int, seen: int
) -> AsyncGenerator[list[Row], None]:
    statement = _statement("history_stream_effective", scope.conditions, order=order)
    async with connection.cursor("history_stream", binary=True, withhold=True) as cursor:
        await cursor.execute(statement, scope.params | {"seen": Int8(seen)})
        while cells := await cursor.fetchmany(chunk):
            yield [_row(row) for row in cells]


def _as_seen(row: Row, seen: int) -> Row:
    """Give the row as it was when the position was the last one: a later reversal is not known yet."""
    if row.reversed_by is None or row.reversed_by <= seen:
        return row
    return msgspec.structs.replace(row, reversed_by=None)
