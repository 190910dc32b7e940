"""The market of one moment: symbols, quotes and rates, and what was found missing or old about them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection

from ledger.definitions import Definitions
from projections.rates import Rates, load_rates
from projections.sql import sql
from projections.totals import Moment

Figure = Fraction | None
"""An exact figure; None for one that cannot be known, for want of a quote or a rate."""

OLD_QUOTE: Final = "figures_stale: a quote that open positions are valued by is more than a minute old"


class Listed(msgspec.Struct, frozen=True):
    """A symbol with its latest quote."""

    symbol: str
    digits: int
    contract_size: Decimal
    base: str
    profit: str
    bid: Decimal | None
    ask: Decimal | None
    quoted_at: datetime | None

    def price(self, *, buy: bool) -> Figure:
        """Give the price at which positions of this side would be closed."""
        price = self.bid if buy else self.ask
        return None if price is None else Fraction(price)


class Market:
    """Symbols, quotes and rates of one moment, and what was found wanting about them."""

    def __init__(self, symbols: Iterable[Listed], rates: Rates, *, book: str, oldest: datetime) -> None:
        self.book = book
        self._symbols = {listed.symbol: listed for listed in symbols}
        self._rates = rates
        self._oldest = oldest
        self._missing: set[str] = set()
        self._old = False

    @property
    def warnings(self) -> list[str]:
        """What is missing or old, of all that was asked for."""
        return [*sorted(self._missing), *([OLD_QUOTE] if self._old else [])]

    def listed(self, symbol: str) -> Listed:
        """Give a symbol."""
        return self._symbols[symbol]

    def price(self, symbol: str, *, buy: bool) -> Figure:
        """Give the price at which positions would be closed."""
        listed = self._symbols[symbol]
        price = listed.price(buy=buy)
        if price is None:
            self._missing.add(f"quote_missing: there is no quote of {symbol}")
        self._mark(listed.quoted_at)
        return price

    def rate(self, source: str, target: str) -> Figure:
        """Give the rate between two currencies."""
        rate = self._rates.find(source, target)
        if rate is None:
            self._missing.add(f"rate_missing: there is no rate from {source} to {target}")
            return None
        self._mark(rate.quoted_at)
        return rate.rate

    def in_book(self, amount: Figure, currency: str) -> Figure:
        """Convert an amount into the book currency."""
        return product(amount, self.rate(currency, self.book))

    def _mark(self, quoted_at: datetime | None) -> None:
        self._old = self._old or (quoted_at is not None and quoted_at < self._oldest)


async def load_market(connection: AsyncConnection[Any], definitions: Definitions, moment: Moment) -> Market:
    """Read all symbols with their quotes, and the rates."""
    rows = await (await connection.execute(sql("market").encode())).fetchall()
    rates = await load_rates(connection)
    return Market([Listed(*row) for row in rows], rates, book=definitions.book_currency, oldest=moment.oldest)


def plus(one: Figure, other: Figure) -> Figure:
    """Add; what is not known stays so."""
    return None if one is None or other is None else one + other


def less(one: Figure, other: Figure) -> Figure:
    """Subtract; what is not known stays so."""
    return None if one is None or other is None else one - other


def product(one: Figure, other: Figure) -> Figure:
    """Multiply; what is not known stays so."""
    return None if one is None or other is None else one * other
