"""History: one row a leg of a money operation, in pages, as totals, and as a stream of everything.

On the recorded basis rows stand and are bound by the time they were booked; on the effective basis by
when they happened, and what the account held after each is restated in that order.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from projections.asof import AsOf, held_before
from projections.history_filter import (
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
from projections.history_rows import Row, keyset_chunks, read_page, sorted_chunks, statement

__all__ = [
    "Basis",
    "Filter",
    "Order",
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
    "up_to",
]

CHUNK: Final = 5_000

_LAST_ROW: Final = (
    'SELECT recorded_at, "position" FROM history WHERE "position" <= %s ORDER BY "position" DESC LIMIT 1'
)


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
    """Give one page of at least one row; ValidationError `bad_cursor` for a cursor of another question."""
    reached = None if cursor is None else read_cursor(cursor, wanted, order)
    scope = await resolve(connection, wanted)
    if reached is not None:
        scope = scope.past(reached, order)
    # One row more tells whether there is a next page.
    rows = await read_page(connection, scope, order, limit=limit + 1, offset=offset)
    following = write_cursor(rows[limit - 1].key(wanted.basis), wanted, order) if len(rows) > limit else None
    return Page(rows[:limit], following)


async def count_and_totals(connection: AsyncConnection[Any], wanted: Filter) -> Totals:
    """Add up all rows that match, whatever the page."""
    scope = await resolve(connection, wanted)
    if scope.empty:
        return Totals(0, [])
    cursor = connection.cursor(binary=True)
    await cursor.execute(statement("history_totals", scope.conditions, bounds=scope.basis), scope.params)
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

    No transaction stays open, on either basis; close the generator when not all of it is wanted.
    """
    found = await up_to(connection, wanted, until_position)
    if found is None:
        return
    scope, seen = found
    if wanted.basis == "effective":
        chunks = sorted_chunks(connection, scope, order, chunk=chunk, seen=seen)
    else:
        chunks = keyset_chunks(connection, scope, order, chunk=chunk)
    async with aclosing(chunks):
        async for rows in chunks:
            yield [_as_seen(row, seen) for row in rows]


async def up_to(
    connection: AsyncConnection[Any], wanted: Filter, position: int | None = None
) -> tuple[Scope, int] | None:
    """Give the scope of all rows up to a position, and the last row's there; None where no row is.

    Without a position all rows count that there are now. By effective time later rows may come in
    between: who reads must leave out those beyond the last.
    """
    last = await _last_row(connection, POSITION_MAX if position is None else position)
    scope = await resolve(connection, wanted)
    if last is None or scope.empty:
        return None
    recorded_at, seen = last
    if wanted.basis == "recorded":
        scope = scope.within(upper=(recorded_at, seen + 1))
    return scope, seen


@asynccontextmanager
async def snapshot(connection: AsyncConnection[Any]) -> AsyncIterator[None]:
    """Let rows, totals, opening and closing be of one moment. Not for long: an old snapshot slows writes.

    It begins when no rebuild moves its tables in: one of before would not see the last of their rows.
    """
    await connection.execute(_BEGIN)
    try:
        yield
    finally:
        if not connection.closed:
            await connection.execute("COMMIT")  # a rollback would have psycopg forget its prepared statements


# A rebuild locks `groups` first; a LOCK waits without a snapshot.
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; LOCK TABLE groups IN ACCESS SHARE MODE"


async def _last_row(connection: AsyncConnection[Any], until: int) -> Key | None:
    return await (await connection.execute(_LAST_ROW, [Int8(until)])).fetchone()


def _as_seen(row: Row, seen: int) -> Row:
    """Give the row as it was when the position was the last one: a later reversal is not known yet."""
    if row.reversed_by is None or row.reversed_by <= seen:
        return row
    return msgspec.structs.replace(row, reversed_by=None)
