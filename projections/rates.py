"""Rates of exchange between currencies, found through the quotes given: direct, inverse, or by a common one.

A rate is the mid of bid and ask. Where several ways lead from one currency to another, the same one is
always taken: direct before inverse before by a common currency; the book currency as the common one, then
the others by name; and of several symbols for one pair the first by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
from psycopg import AsyncConnection

from ledger.definitions import Definitions
from projections.sql import sql


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """What one unit of `source` is worth in `target`, exactly.

    `symbols` names the quotes that it was made of, none where source is target; `quoted_at` is the time of
    the oldest of them.
    """

    source: str
    target: str
    rate: Fraction
    symbols: tuple[str, ...] = ()
    quoted_at: datetime | None = None


class Pair(msgspec.Struct, frozen=True):
    """One quote between two currencies. Its mid is worked out for those that are used, of hundreds."""

    symbol: str
    base: str
    profit: str
    bid: Decimal | Fraction
    ask: Decimal | Fraction
    quoted_at: datetime

    @property
    def mid(self) -> Fraction:
        """The rate."""
        return (Fraction(self.bid) + Fraction(self.ask)) / 2


class Rates:
    """All rates of one moment."""

    def __init__(self, pairs: Iterable[Pair], *, book_currency: str) -> None:
        self._pairs: dict[tuple[str, str], Pair] = {}
        for pair in sorted(pairs, key=lambda pair: pair.symbol):
            self._pairs.setdefault((pair.base, pair.profit), pair)
        currencies = {currency for pair in self._pairs for currency in pair}
        self._common = [book_currency, *sorted(currencies - {book_currency})]

    def find(self, source: str, target: str) -> Rate | None:
        """Give the rate from one currency into another; None where the quotes do not lead there."""
        if source == target:
            return Rate(source=source, target=target, rate=Fraction(1))
        return self._leg(source, target) or next(self._crosses(source, target), None)

    def joins(self, source: str, target: str) -> bool:
        """Tell whether a quote leads from one to the other, so that no common currency is asked for."""
        return source == target or (source, target) in self._pairs or (target, source) in self._pairs

    def _leg(self, source: str, target: str) -> Rate | None:
        if (direct := self._pairs.get((source, target))) is not None:
            return _rate(source, target, direct, direct.mid)
        if (inverse := self._pairs.get((target, source))) is not None:
            return _rate(source, target, inverse, 1 / inverse.mid)
        return None

    def _crosses(self, source: str, target: str) -> Iterator[Rate]:
        for common in self._common:
            first, second = self._leg(source, common), self._leg(common, target)
            if first is not None and second is not None:
                yield _chained(first, second)


async def rates_into(
    connection: AsyncConnection[Any], target: str, sources: Iterable[str]
) -> dict[str, Rate]:
    """Give the rates from each source into a currency, by source; one that is missing is left out."""
    wanted = list(sources)
    rates = await load_rates(connection, among=[target, *wanted])
    if not all(rates.joins(source, target) for source in wanted):
        rates = await load_rates(connection)
    found = {source: rates.find(source, target) for source in wanted}
    return {source: rate for source, rate in found.items() if rate is not None}


async def load_rates(connection: AsyncConnection[Any], *, among: Sequence[str] | None = None) -> Rates:
    """Read what the rates of this moment are made of: all of them, or only those between some currencies."""
    rows = await (await connection.execute(sql("rates").encode(), {"among": among})).fetchall()
    book_currency = next((row[-1] for row in rows), None) or Definitions().book_currency
    return Rates([Pair(*row[:-1]) for row in rows], book_currency=book_currency)


def _rate(source: str, target: str, pair: Pair, rate: Fraction) -> Rate:
    return Rate(source=source, target=target, rate=rate, symbols=(pair.symbol,), quoted_at=pair.quoted_at)


def _chained(first: Rate, second: Rate) -> Rate:
    times = [leg.quoted_at for leg in (first, second) if leg.quoted_at is not None]
    return Rate(
        source=first.source,
        target=second.target,
        rate=first.rate * second.rate,
        symbols=first.symbols + second.symbols,
        quoted_at=min(times),
    )
