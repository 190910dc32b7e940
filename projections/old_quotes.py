"""Old quotes: whether open positions are valued by one, found without a look at accounts that hold none.

An old quote leads to the positions that it values, of its own symbol or by the rate of exchange that it is,
and these to the figures of their accounts, which decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection

from ledger.definitions import Group
from projections.rates import load_rates
from projections.sql import sql
from projections.valuation import Listed, list_symbols

_OLD: Final = """
SELECT symbol, s.base_currency, s.profit_currency FROM quotes q JOIN symbols s USING (symbol)
WHERE q.quoted_at < %s
"""


async def valued_by_old(
    connection: AsyncConnection[Any], groups: Sequence[Group], flags: Sequence[int], oldest: datetime
) -> bool:
    """Tell whether an account of these groups and flags is valued by a quote from before a time."""
    rows = await (await connection.execute(_OLD, [oldest])).fetchall()
    old = {listed.symbol: listed for listed in (Listed(*row) for row in rows)}
    params = {"groups": [group.group for group in groups], "flags": list(flags), "oldest": oldest}
    if await _lead(connection, old, params):
        return True
    if not any(listed.is_rate for listed in old.values()):
        return False
    converted = await _converted(connection, {group.currency for group in groups}, oldest)
    return await _lead(connection, converted - old.keys(), params)


async def _lead(connection: AsyncConnection[Any], symbols: Iterable[str], params: dict[str, Any]) -> bool:
    """Tell whether among the holders of some symbols there is such an account."""
    wanted = list(symbols)
    if not wanted:
        return False
    # Planned each time: how best to find the holders hangs on whether these are few symbols or all.
    found = await connection.execute(sql("old_quotes").encode(), params | {"symbols": wanted}, prepare=False)
    return await found.fetchone() is not None


async def _converted(connection: AsyncConnection[Any], targets: set[str], oldest: datetime) -> set[str]:
    """Find the symbols whose worth or margin is converted by a rate that is made of an old quote."""
    rates, symbols = await load_rates(connection), await list_symbols(connection)
    sources = {currency for listed in symbols for currency in (listed.base, listed.profit)}
    found = [rates.find(source, target) for source in sources for target in targets]
    old = {r.source for r in found if r and r.quoted_at and r.quoted_at < oldest}
    return {listed.symbol for listed in symbols if not old.isdisjoint((listed.base, listed.profit))}
