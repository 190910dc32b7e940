"""Account figures worked out again, plainly, from positions and quotes: what the valuation must come to."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec
import psycopg
from psycopg import Connection

from bench.broker import LOGIN_FIRST, Broker
from bench.load import WrongAnswer

SAMPLE: Final = 300
_HOLDERS: Final = (
    "SELECT login, currency, digits, leverage FROM accounts WHERE login = ANY(%s) ORDER BY login"
)
_POSITIONS: Final = (
    "SELECT login, symbol, buy, lots, open_price, storage, commission, profit, margin FROM positions"
    " WHERE login = ANY(%s)"
)
_FIGURES: Final = (
    "SELECT login, orders, unvalued, profit, storage, commission, margin FROM figures WHERE login = ANY(%s)"
    " ORDER BY login"
)
_OFF: Final = """
SELECT count(*) FROM figure_totals t FULL JOIN (
    SELECT group_name, enable, sum(orders) AS orders, sum(unvalued) AS unvalued, sum(profit) AS profit,
        sum(storage) AS storage, sum(commission) AS commission, sum(margin) AS margin
    FROM figures GROUP BY group_name, enable
) f USING (group_name, enable)
WHERE (t.orders, t.unvalued, t.profit, t.storage, t.commission, t.margin)
    IS DISTINCT FROM (f.orders, f.unvalued, f.profit, f.storage, f.commission, f.margin)
"""

Prices = dict[str, tuple[Fraction, Fraction]]


class Position(msgspec.Struct, frozen=True):
    """An open position; profit and margin where the trading server sent them."""

    login: int
    symbol: str
    buy: bool
    lots: Decimal
    open_price: Decimal
    storage: int
    commission: int
    profit: int | None
    margin: int | None


class Holder(msgspec.Struct, frozen=True):
    """An account that has open positions."""

    login: int
    currency: str
    digits: int
    leverage: int


class Market:
    """The symbols at certain prices."""

    def __init__(self, broker: Broker, prices: Prices) -> None:
        self._prices = prices
        self._symbols = {symbol.name: symbol for symbol in broker.symbols}
        self._rates = {
            (symbol.base, symbol.profit): _mid(prices[symbol.name])
            for symbol in broker.symbols
            if symbol.name == symbol.base + symbol.profit
        }

    def profit(self, position: Position, holder: Holder) -> Fraction:
        """Give what a position has gained, in minor units of its account."""
        if position.profit is not None:
            return Fraction(position.profit)
        symbol, (bid, ask) = self._symbols[position.symbol], self._prices[position.symbol]
        opened = Fraction(position.open_price)
        gained = bid - opened if position.buy else opened - ask
        units = Fraction(position.lots) * Fraction(symbol.contract_size)
        return gained * units * self._rate(symbol.profit, holder.currency) * _minor(holder)

    def margin(self, position: Position, holder: Holder) -> Fraction:
        """Give what a position ties up, in minor units of its account."""
        if position.margin is not None:
            return Fraction(position.margin)
        symbol = self._symbols[position.symbol]
        units = Fraction(position.lots) * Fraction(symbol.contract_size)
        rate = self._rate(symbol.base, holder.currency)
        return units * rate * _minor(holder) / holder.leverage

    def _rate(self, source: str, target: str) -> Fraction:
        if source == target:
            return Fraction(1)
        direct = self._rates.get((source, target))
        return Fraction(1) / self._rates[target, source] if direct is None else direct


def check(broker: Broker, quotes: Sequence[Sequence[Any]]) -> None:
    """Refuse figures that are not those of the quotes: work a sample out again, add all sums up again."""
    prices = {symbol: (Fraction(bid), Fraction(ask)) for symbol, bid, ask in quotes}
    holders = [LOGIN_FIRST + 8 * n + 1 for n in random.sample(range(broker.size.holders), SAMPLE)]
    with psycopg.connect(broker.ledger.superuser) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        found = connection.execute(_FIGURES, [holders]).fetchall()
        wanted = _expected(connection, Market(broker, prices), holders)
        [[groups_off]] = connection.execute(_OFF).fetchall()
    if found != wanted:
        raise WrongAnswer(f"figures are {_first_difference(found, wanted)} as the quotes have it")
    if groups_off:
        raise WrongAnswer(f"the sums of figures are wrong in {groups_off} groups")


def _expected(connection: Connection[Any], market: Market, logins: list[int]) -> list[tuple[int, ...]]:
    held: dict[int, list[Position]] = {login: [] for login in logins}
    for row in connection.execute(_POSITIONS, [logins]).fetchall():
        held[row[0]].append(Position(*row))
    holders = [Holder(*row) for row in connection.execute(_HOLDERS, [logins]).fetchall()]
    return [_figures(market, holder, held[holder.login]) for holder in holders]


def _figures(market: Market, holder: Holder, held: Sequence[Position]) -> tuple[int, ...]:
    return (
        holder.login,
        len(held),
        0,
        round(sum((market.profit(position, holder) for position in held), Fraction())),
        sum(position.storage for position in held),
        sum(position.commission for position in held),
        round(sum((market.margin(position, holder) for position in held), Fraction())),
    )


def _mid(price: tuple[Fraction, Fraction]) -> Fraction:
    bid, ask = price
    return (bid + ask) / 2


def _minor(holder: Holder) -> Fraction:
    return Fraction(10) ** holder.digits


def _first_difference(found: Iterable[object], wanted: Iterable[object]) -> str:
    pairs = (f"{one} instead of {other}" for one, other in zip(found, wanted, strict=False) if one != other)
    return next(pairs, "missing")
