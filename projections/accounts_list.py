"""The accounts list: one page of the matched accounts beside the totals of all of them, of one snapshot."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.sql import SQL
from psycopg.types.numeric import Int8

from ledger.definitions import Definitions
from projections.accounts import STRUCTURE
from projections.accounts_filter import Filter, Order
from projections.accounts_scope import Scope, order_by, resolve
from projections.sql import sql
from projections.totals import Moment, Totals, read_totals

Row = tuple[Any, ...]

RUNS_MAX: Final = 100
"""Of more runs of an index than these a page is not put together: their beginnings alone are long."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for: which accounts, in which order, how many of them, totals in which currency."""

    filter: Filter
    limit: int
    offset: int = 0
    order: Order = Order()
    totals_currency: str | None = None


class AccountsPage(msgspec.Struct, frozen=True):
    """The answer. A row has the published fields in order, money in minor units, and last their digits."""

    rows: list[Row]
    totals: Totals


async def read_accounts(
    connection: AsyncConnection[Any], question: Question, definitions: Definitions, moment: Moment
) -> AccountsPage:
    """Answer a question; for one snapshot, ask inside of one."""
    scope = resolve(question.filter, definitions)
    totals = await read_totals(connection, scope, definitions, moment, currency=question.totals_currency)
    if question.limit == 0 or question.offset >= totals.count:
        return AccountsPage([], totals)
    logins = await _logins(connection, question, scope, moment)
    return AccountsPage(await _rows(connection, logins, moment), totals)


async def _logins(
    connection: AsyncConnection[Any], question: Question, scope: Scope, moment: Moment
) -> list[int]:
    limit, offset = question.limit, question.offset
    pages = {"limit": Int8(limit), "offset": Int8(offset), "reach": Int8(limit + offset)}
    cursor = connection.cursor(binary=True)
    by_index = _has_index(question.order, scope)
    order = question.order
    statement = _indexed_keys(order.descending, scope.everything) if by_index else _keys(order, scope)
    # Without an index, how best to find a page hangs on what is asked for: that is planned each time.
    await cursor.execute(statement, scope.params | moment.params | pages, prepare=by_index)
    return [login for (login,) in await cursor.fetchall()]


def _has_index(order: Order, scope: Scope) -> bool:
    """Tell whether an index has the page: by login, where only groups and flags decide."""
    few = len(scope.groups) * len(scope.flags) <= RUNS_MAX
    return order.field == "login" and scope.simple and (scope.everything or few)


@cache
def _indexed_keys(descending: bool, everything: bool) -> bytes:
    direction = SQL("DESC" if descending else "ASC")
    name = "accounts_keys_all" if everything else "accounts_keys_grouped"
    return SQL(sql(name)).format(direction=direction).as_bytes()


def _keys(order: Order, scope: Scope) -> bytes:
    parts = {"where": SQL(scope.where), "order": SQL(order_by(order, scope)), "accounts": _ACCOUNTS}
    return SQL(sql("accounts_keys")).format(**parts).as_bytes()


async def _rows(connection: AsyncConnection[Any], logins: list[int], moment: Moment) -> list[Row]:
    cursor = connection.cursor(binary=True)
    params = {"logins": [Int8(login) for login in logins]} | moment.params
    await cursor.execute(_ROWS, params, prepare=True)
    return await cursor.fetchall()


_ACCOUNTS: Final = SQL(sql("figures_of_accounts"))
_COLUMNS: Final = SQL(", ".join(f'v."{name}"' for name in STRUCTURE))
_ROWS: Final = SQL(sql("accounts_rows")).format(columns=_COLUMNS, accounts=_ACCOUNTS).as_bytes()
