"""Exposure: what the broker stands to win and lose by the open positions, by symbol, group and currency.

Sums are exact and rounded once, at the end. What a position has won or lost counts in the currency of its
account first, where the broker owes it, and goes from there to the book currency: so what the trading
server sent and what follows from quotes add up, and to what the totals of accounts say. A figure that lacks
a quote or a rate is None, with a warning that names it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection

from ledger.definitions import Definitions, Group
from projections.accounts_scope import Scope
from projections.market import OLD_QUOTE, Figure, Listed, Market, less, load_market, plus, product
from projections.sql import sql
from projections.totals import Moment, Sums, read_fed_at, read_sums


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """The open positions of one symbol, clients' or coverage's; profit in book currency."""

    orders: int
    buy_lots: Fraction
    buy_price: Figure
    sell_lots: Fraction
    sell_price: Figure
    profit: Figure

    @property
    def net_lots(self) -> Fraction:
        """Bought less sold."""
        return self.buy_lots - self.sell_lots


class OfSymbol(msgspec.Struct, frozen=True):
    """One symbol; its prices have `digits` decimals."""

    symbol: str
    digits: int
    clients: Side
    coverage: Side

    @property
    def uncovered_lots(self) -> Fraction:
        """What clients have net that the coverage has not."""
        return self.clients.net_lots - self.coverage.net_lots

    @property
    def uncovered_profit(self) -> Figure:
        """What clients have won that the coverage has not."""
        return less(self.clients.profit, self.coverage.profit)


class OfGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One group; the figures in book currency, `own` in minor units of its own."""

    group: Group
    accounts: int
    orders: int
    lots: Fraction
    profit: Figure
    margin: Figure
    equity: Figure
    own: dict[str, int] | None


class OfCurrency(msgspec.Struct, frozen=True):
    """One currency: how much of it clients and coverage are long, or (negative) short."""

    currency: str
    clients: Figure
    coverage: Figure

    @property
    def net(self) -> Figure:
        """What the coverage leaves open."""
        return less(self.clients, self.coverage)


class Slice(msgspec.Struct, frozen=True):
    """Open positions of one symbol, side and account currency, added up.

    `sent` is the profit that the trading server sent, in minor units of that currency; `unsent_lots` and
    `unsent_opened` (lots times open price) are of the positions that it sent none for.
    """

    symbol: str
    currency: str
    digits: int
    coverage: bool
    buy: bool
    orders: int
    lots: Fraction
    opened: Fraction
    sent: Fraction
    unsent_lots: Fraction
    unsent_opened: Fraction

    @property
    def sign(self) -> int:
        """1 for what was bought, -1 for what was sold."""
        return 1 if self.buy else -1


class Exposure(msgspec.Struct, frozen=True):
    """The answer, and what is to be said about it."""

    rows: Sequence[OfSymbol | OfGroup | OfCurrency]
    warnings: list[str]


OLD_FEED: Final = "figures_stale: no word of the open positions has come for a minute"


async def by_symbol(
    connection: AsyncConnection[Any], scope: Scope, definitions: Definitions, moment: Moment
) -> Exposure:
    """Add up the open positions by symbol; like the others of one snapshot when asked inside of one."""
    market = await load_market(connection, definitions, moment)
    rows = [
        _of_symbol(market, market.listed(symbol), parts) async for symbol, parts in _slices(connection, scope)
    ]
    return Exposure(rows, await _warnings(connection, market, moment, asked=bool(rows)))


async def by_group(
    connection: AsyncConnection[Any], scope: Scope, definitions: Definitions, moment: Moment
) -> Exposure:
    """Add up the figures of accounts by group."""
    market, sums = (
        await load_market(connection, definitions, moment),
        await read_sums(connection, scope, moment),
    )
    lots = dict(await _read(connection, "exposure_lots", scope))
    rows = [_of_group(market, scope.groups[part.group], part, lots.get(part.group)) for part in sums]
    warnings = await _warnings(connection, market, moment, asked=any(part.orders for part in sums))
    old = [OLD_QUOTE] if any(part.old_quotes for part in sums) and OLD_QUOTE not in warnings else []
    return Exposure(rows, [*_unvalued(sums), *warnings, *old])


async def by_currency(
    connection: AsyncConnection[Any], scope: Scope, definitions: Definitions, moment: Moment
) -> Exposure:
    """Add up the open positions by what is owned and owed of each currency."""
    market = await load_market(connection, definitions, moment)
    held: dict[str, dict[bool, Figure]] = defaultdict(lambda: {False: Fraction(0), True: Fraction(0)})
    async for _, parts in _slices(connection, scope):
        for currency, coverage, amount in _legs(market, parts):
            held[currency][coverage] = plus(held[currency][coverage], amount)
    rows = [OfCurrency(currency, found[False], found[True]) for currency, found in sorted(held.items())]
    return Exposure(rows, await _warnings(connection, market, moment, asked=bool(rows)))


async def _slices(connection: AsyncConnection[Any], scope: Scope) -> AsyncIterator[tuple[str, list[Slice]]]:
    """Yield symbol after symbol, giving way each time: no deposit waits for a long report."""
    rows = await _read(connection, "exposure_slices", scope)
    for symbol, parts in groupby(rows, key=itemgetter(0)):
        yield symbol, [Slice(*part[:6], *map(Fraction, part[6:])) for part in parts]
        await asyncio.sleep(0)


async def _read(connection: AsyncConnection[Any], name: str, scope: Scope) -> list[tuple[Any, ...]]:
    params = {"groups": list(scope.groups), "logins": scope.params.get("logins")}
    return await (await connection.execute(sql(name).encode(), params)).fetchall()


def _of_symbol(market: Market, listed: Listed, parts: Sequence[Slice]) -> OfSymbol:
    clients = _side(market, [part for part in parts if not part.coverage])
    coverage = _side(market, [part for part in parts if part.coverage])
    return OfSymbol(listed.symbol, listed.digits, clients, coverage)


def _side(market: Market, parts: Sequence[Slice]) -> Side:
    bought = [part for part in parts if part.buy]
    sold = [part for part in parts if not part.buy]
    return Side(
        orders=sum(part.orders for part in parts),
        buy_lots=_lots(bought),
        buy_price=_average(bought),
        sell_lots=_lots(sold),
        sell_price=_average(sold),
        profit=_total(_profit(market, part) for part in parts),
    )


def _profit(market: Market, part: Slice) -> Figure:
    """Give what positions have won, in book currency."""
    won: Figure = part.sent / 10**part.digits
    if part.unsent_lots:
        won = plus(won, _won(market, part))
    return market.in_book(won, part.currency)


def _won(market: Market, part: Slice) -> Figure:
    """Give what positions have won by their quote, in the currency of their accounts."""
    listed = market.listed(part.symbol)
    price = market.price(part.symbol, buy=part.buy)
    rate = market.rate(listed.profit, part.currency)
    if price is None:
        return None
    moved = (price * part.unsent_lots - part.unsent_opened) * part.sign
    return product(moved * Fraction(listed.contract_size), rate)


def _of_group(market: Market, group: Group, part: Sums, lots: Decimal | None) -> OfGroup:
    own = None if part.unvalued else part.totals(group)
    figures = {
        name: None if own is None else market.in_book(Fraction(own[name], 10**group.digits), group.currency)
        for name in ("profit", "margin", "equity")
    }
    return OfGroup(
        group=group, accounts=part.accounts, orders=part.orders, lots=Fraction(lots or 0), own=own, **figures
    )


def _legs(market: Market, parts: Iterable[Slice]) -> Iterator[tuple[str, bool, Figure]]:
    """Give what positions own, or (negative) owe, of the base currency, then of the profit currency."""
    for part in parts:
        listed = market.listed(part.symbol)
        units = part.sign * part.lots * Fraction(listed.contract_size)
        yield listed.base, part.coverage, units
        yield listed.profit, part.coverage, product(-units, market.price(part.symbol, buy=part.buy))


def _unvalued(sums: Iterable[Sums]) -> list[str]:
    return [
        f"figures_stale: {part.unvalued} open positions of {part.group} lack a quote or a rate"
        for part in sums
        if part.unvalued
    ]


async def _warnings(
    connection: AsyncConnection[Any], market: Market, moment: Moment, *, asked: bool
) -> list[str]:
    """Say what is missing or old, where there are open positions at all."""
    if not asked:
        return market.warnings
    fed_at = await read_fed_at(connection)
    silent = fed_at is None or fed_at < moment.oldest
    return [*market.warnings, *([OLD_FEED] if silent else [])]


def _lots(parts: Sequence[Slice]) -> Fraction:
    return sum((part.lots for part in parts), Fraction(0))


def _average(parts: Sequence[Slice]) -> Figure:
    """Give the volume-weighted open price; None without any lots."""
    lots = _lots(parts)
    return sum((part.opened for part in parts), Fraction(0)) / lots if lots else None


def _total(figures: Iterable[Figure]) -> Figure:
    total: Figure = Fraction(0)
    for figure in figures:  # all of them, so that everything that is missing is named
        total = plus(total, figure)
    return total
