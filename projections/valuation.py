"""Valuation: what the open positions of each account add up to, worked out anew for what a call touched.

The rules are domain rule 6; the arithmetic is in valuation.sql, for all touched accounts at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from psycopg import AsyncConnection

from projections.rates import Rate, load_rates
from projections.sql import sql


class Listed(msgspec.Struct, frozen=True):
    """A symbol as the valuation sees it."""

    symbol: str
    base: str
    profit: str

    @property
    def is_rate(self) -> bool:
        """Whether its quotes are rates of exchange."""
        return self.base != self.profit and self.symbol.startswith(self.base + self.profit)


class Touched(msgspec.Struct):
    """What a transaction has changed: quotes of symbols, positions of logins, or anything at all."""

    symbols: set[str] = msgspec.field(default_factory=set)
    logins: set[int] = msgspec.field(default_factory=set)
    everything: bool = False

    @property
    def nothing(self) -> bool:
        """Whether all figures are still right."""
        return not (self.symbols or self.logins or self.everything)


async def revalue(connection: AsyncConnection[Any], touched: Touched, symbols: Sequence[Listed]) -> None:
    """Bring the figures of all touched accounts up to date, and those of accounts that were regrouped.

    Inside the caller's transaction, which holds the streams of the feed.
    """
    pending = await (await connection.execute(_PENDING)).fetchall()
    touched.logins |= {login for login, _ in pending}
    if touched.nothing:
        return
    found = await _conversions(connection, symbols)
    params = _rate_params(found) | _touched_params(touched, symbols, found)
    await connection.execute(sql("valuation").encode(), params, prepare=False)
    if touched.everything:
        await connection.execute(sql("sum_figures").encode(), prepare=False)
    await placed(connection, pending)


async def valued_by(connection: AsyncConnection[Any], defined: int) -> None:
    """Write down by which definitions all figures are valued: by outdated ones they are stale."""
    await connection.execute(_VALUED_BY, {"defined": defined})


async def placed(connection: AsyncConnection[Any], seen: Sequence[tuple[int, int]]) -> None:
    """Strike the regroupings that a valuation has seen; later ones stay for the next."""
    if seen:
        logins, positions = zip(*seen, strict=True)
        await connection.execute(_PLACED, {"logins": list(logins), "positions": list(positions)})


async def regrouped(connection: AsyncConnection[Any]) -> bool:
    """Tell whether there are accounts whose figures are to be placed anew."""
    return await (await connection.execute(f"{_PENDING} LIMIT 1")).fetchone() is not None


async def waiting(connection: AsyncConnection[Any]) -> int:
    """Give how many such accounts there are."""
    row = await (await connection.execute(_WAITING)).fetchone()
    assert row is not None
    return int(row[0])


async def defined(connection: AsyncConnection[Any]) -> int:
    """Give the position of the last definition that all figures depend on."""
    row = await (await connection.execute(_DEFINED)).fetchone()
    assert row is not None
    return int(row[0])


async def list_symbols(connection: AsyncConnection[Any]) -> list[Listed]:
    """Read all symbols."""
    return [Listed(*row) for row in await (await connection.execute(_SYMBOLS)).fetchall()]


async def lacking(connection: AsyncConnection[Any], login: int) -> list[str]:
    """Say why positions of an account are not valued: which quotes and which rates are missing."""
    rows = await (await connection.execute(_QUOTELESS, {"login": login})).fetchall()
    unquoted = {symbol for symbol, *_, quoted in rows if not quoted}
    rates = await load_rates(connection)
    wanted = {(source, target) for _, target, *sources, _ in rows for source in sources if source is not None}
    unrated = [(source, target) for source, target in sorted(wanted) if rates.find(source, target) is None]
    return [f"no quote of {symbol}" for symbol in sorted(unquoted)] + [
        f"no rate from {source} to {target}" for source, target in unrated
    ]


_PENDING = 'SELECT login, "position" FROM regroupings'
_WAITING = "SELECT count(DISTINCT login) FROM regroupings"
_PLACED = """
DELETE FROM regroupings r USING unnest(%(logins)s::bigint[], %(positions)s::bigint[]) AS seen (login, at)
WHERE r.login = seen.login AND r."position" = seen.at
"""
_DEFINED = """
SELECT greatest(coalesce((SELECT max("position") FROM symbols), 0),
    coalesce((SELECT max("position") FROM server), 0))
"""
_VALUED_BY = "UPDATE valuation SET defined = %(defined)s WHERE one AND defined <> %(defined)s"
_SYMBOLS = "SELECT symbol, base_currency, profit_currency FROM symbols ORDER BY symbol"
_CURRENCIES = "SELECT DISTINCT currency FROM groups ORDER BY 1"
_QUOTELESS = """
SELECT DISTINCT p.symbol, a.currency, CASE WHEN p.profit IS NULL THEN s.profit_currency END,
    CASE WHEN p.margin IS NULL THEN s.base_currency END, p.profit IS NOT NULL OR q.symbol IS NOT NULL
FROM positions p
JOIN accounts a ON a.login = p.login
JOIN symbols s ON s.symbol = p.symbol
LEFT JOIN quotes q ON q.symbol = p.symbol
WHERE p.login = %(login)s
"""


async def _conversions(connection: AsyncConnection[Any], symbols: Iterable[Listed]) -> list[Rate]:
    """Find the rates from every currency of a symbol into every currency of an account."""
    rates = await load_rates(connection)
    targets = [row[0] for row in await (await connection.execute(_CURRENCIES)).fetchall()]
    sources = sorted({currency for listed in symbols for currency in (listed.base, listed.profit)})
    found = [rates.find(source, target) for target in targets for source in sources]
    return [rate for rate in found if rate is not None]


def _rate_params(found: Sequence[Rate]) -> dict[str, Any]:
    return {
        "sources": [rate.source for rate in found],
        "targets": [rate.target for rate in found],
        "numerators": [str(rate.rate.numerator) for rate in found],
        "denominators": [str(rate.rate.denominator) for rate in found],
        "rated_at": [rate.quoted_at for rate in found],
    }


def _touched_params(touched: Touched, symbols: Iterable[Listed], found: Iterable[Rate]) -> dict[str, Any]:
    moved = {(rate.source, rate.target) for rate in found if not touched.symbols.isdisjoint(rate.symbols)}
    converted = [
        (listed.symbol, target)
        for listed in (symbols if moved else ())
        for source, target in moved
        if source in (listed.base, listed.profit) and listed.symbol not in touched.symbols
    ]
    return {
        "symbols": sorted(touched.symbols),
        "converted": [symbol for symbol, _ in converted],
        "currencies": [currency for _, currency in converted],
        "logins": sorted(touched.logins),
        "everything": touched.everything,
    }
