"""Rows of history and how they are read: pages, restated figures, chunks of a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import date, datetime
from functools import cache
from itertools import groupby
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.sql import SQL
from psycopg.types.numeric import Int8

from projections.history_filter import CONDITIONS, Basis, Key, Order, Scope
from projections.sql import sql


class Row(msgspec.Struct, frozen=True):
    """One leg. Money is in minor units of `currency`; times may come in the connection's time zone.

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


async def read_page(
    connection: AsyncConnection[Any], scope: Scope, order: Order, *, limit: int, offset: int = 0
) -> list[Row]:
    """Read so many rows of a scope, with what the accounts held after each on its basis."""
    if scope.empty:
        return []
    cursor = connection.cursor(binary=True)
    params = scope.params | {"limit": Int8(limit), "offset": Int8(offset)}
    await cursor.execute(page_statement(scope, order, offset=offset), params)
    found = await cursor.fetchall()
    if scope.basis == "recorded" or not found:
        return [Row(*cells) for cells in found]
    return await _restated(connection, [Row(*cells) for *cells, _ in found], seen=found[0][-1])


async def keyset_chunks(
    connection: AsyncConnection[Any], scope: Scope, order: Order, *, chunk: int
) -> AsyncGenerator[list[Row], None]:
    """Yield all rows of a scope, each chunk by a page that begins where the one before ended."""
    while rows := await read_page(connection, scope, order, limit=chunk):
        yield rows
        if len(rows) < chunk:
            return
        scope = scope.past(rows[-1].key(scope.basis), order)


async def sorted_chunks(
    connection: AsyncConnection[Any], scope: Scope, order: Order, *, chunk: int, seen: int
) -> AsyncGenerator[list[Row], None]:
    """Yield all rows of a scope by effective time, restated over the log up to a position.

    The server sorts once and keeps the result aside until the generator is closed.
    """
    query = statement("history_stream_effective", scope.conditions, order=order)
    async with connection.cursor("history_stream", binary=True, withhold=True) as cursor:
        await cursor.execute(query, scope.params | {"seen": Int8(seen)})
        while found := await cursor.fetchmany(chunk):
            yield [Row(*(*cells, int(balance), int(credit))) for *cells, balance, credit in found]


def page_statement(scope: Scope, order: Order, *, offset: int = 0) -> bytes:
    """Give the statement of a page, which has `limit` and `offset` for parameters beside the scope's."""
    name = _page_of(scope, offset)
    # The page of some logins asks for them one by one.
    conditions = tuple(c for c in scope.conditions if (name, c) != ("history_page_logins", "logins"))
    return statement(name, conditions, order=order)


@cache
def statement(
    name: str, conditions: tuple[str, ...], *, bounds: Basis = "recorded", order: Order = "asc"
) -> bytes:
    """Put a statement together from its file and named fragments: nothing of a caller's gets in."""
    names = [name for name in Row.__struct_fields__ if name not in {"balance", "credit"}]
    text = SQL(sql(name)).format(
        columns=SQL(", ").join(SQL(_COLUMNS.get(name, f'h."{name}"')) for name in names),
        where=SQL(" AND ").join([SQL("true"), *(SQL(CONDITIONS[name]) for name in conditions)]),
        recorded=SQL(CONDITIONS["recorded"]),
        effective=SQL(CONDITIONS["effective"]),
        bounds=SQL(CONDITIONS[bounds]),
        order=SQL(_ORDERS[order]),
    )
    return text.as_bytes()


_COLUMNS: Final = {
    "booked_balance": "h.balance AS booked_balance",
    "booked_credit": "h.credit AS booked_credit",
}
_ORDERS: Final = {"asc": "ASC", "desc": "DESC"}


def _page_of(scope: Scope, offset: int) -> str:
    """Name the statement of a page."""
    if scope.basis == "effective":
        return "history_page_effective"
    if "logins" in scope.conditions:
        return "history_page_logins"
    return "history_page_offset" if offset else "history_page"


async def _restated(connection: AsyncConnection[Any], rows: list[Row], *, seen: int) -> list[Row]:
    """Put into rows what their accounts held by effective time, as the log was when they were read."""
    accounts = [list(legs) for _, legs in groupby(sorted(rows, key=_by_account), key=lambda row: row.login)]
    params = {
        "logins": [Int8(legs[0].login) for legs in accounts],
        "first_at": [legs[0].effective_at for legs in accounts],
        "last_at": [legs[-1].effective_at for legs in accounts],
        "positions": [Int8(row.position) for row in rows],
        "seen": Int8(seen),
    }
    cursor = connection.cursor(binary=True)
    # Planned each time: the server looks positions up in a hash only where it sees them as it plans.
    await cursor.execute(sql("history_restated").encode(), params, prepare=False)
    held = {position: (int(balance), int(credit)) for position, balance, credit in await cursor.fetchall()}
    return [_with(row, *held[row.position]) for row in rows]


def _by_account(row: Row) -> tuple[int, datetime]:
    return (row.login, row.effective_at)


def _with(row: Row, balance: int, credit: int) -> Row:
    return msgspec.structs.replace(row, balance=balance, credit=credit)
