"""Totals of the accounts list: what the matched accounts add up to, exactly by currency, and in one.

Sums are taken by groups that are alike: of one currency and one way to count equity. Of what is asked of
groups and flags alone they are kept already.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from fractions import Fraction
from math import lcm
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.sql import SQL

from ledger.definitions import Definitions, Group
from ledger.figures import STALE_AFTER, Figures, Worth
from ledger.money import default_digits, round_half_even
from projections.accounts_scope import Scope
from projections.old_quotes import valued_by_old
from projections.rates import Rate, rates_into
from projections.sql import sql

TOTALS: Final = (
    "balance",
    "credit",
    "profit",
    "net_profit",
    "storage",
    "commission",
    "margin",
    "margin_free",
    "equity",
    "prevbalance",
    "prevmonthbalance",
)
"""What is added up, in the published order."""


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """When the question is asked: by the ledger's clock, and on which of its days."""

    now: datetime
    server_day: date
    trading_day: date

    @property
    def oldest(self) -> datetime:
        """The time before which a quote is old."""
        return self.now - STALE_AFTER

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of statements."""
        return {"server_day": self.server_day, "trading_day": self.trading_day, "oldest": self.oldest}


class Sums(msgspec.Struct, frozen=True):
    """What the matched accounts of one group, or of all that are like it, add up to, in minor units.

    `old_quotes` is above zero where open positions of matched accounts are valued by a quote that is old.
    """

    group: str
    accounts: int
    balance: int
    credit: int
    prevbalance: int
    prevmonthbalance: int
    profit: int
    storage: int
    commission: int
    margin: int
    orders: int
    unvalued: int
    old_quotes: int

    def totals(self, group: Group) -> dict[str, int]:
        """Give the totals by name: equity and free margin are as linear as what they are made of."""
        figures = Figures(
            profit=self.profit, storage=self.storage, commission=self.commission, margin=self.margin
        )
        worth = Worth(balance=self.balance, credit=self.credit, group=group, figures=figures)
        known = {"net_profit": figures.net_profit, "equity": worth.equity, "margin_free": worth.margin_free}
        return {name: known[name] if name in known else getattr(self, name) for name in TOTALS}


class CurrencyTotals(msgspec.Struct, frozen=True):
    """The exact totals of the matched accounts of one currency."""

    digits: int
    count: int
    totals: dict[str, int]


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """All totals; `totals` in one currency, None where a rate into it is missing."""

    count: int
    currency: str
    digits: int
    totals: dict[str, int] | None
    by_currency: dict[str, CurrencyTotals]
    rates: list[Rate]
    stale: bool
    warnings: list[str]


async def read_totals(
    connection: AsyncConnection[Any],
    scope: Scope,
    definitions: Definitions,
    moment: Moment,
    *,
    currency: str | None = None,
) -> Totals:
    """Add up all accounts of a scope; `currency` is that of the totals, by default the one they share."""
    sums = await _read(connection, scope, moment, _alike(scope.groups.values()))
    by_currency = _by_currency(sums, scope.groups)
    wanted = currency or (next(iter(by_currency)) if len(by_currency) == 1 else definitions.book_currency)
    rates = {} if set(by_currency) <= {wanted} else await rates_into(connection, wanted, by_currency)
    missing = [source for source in by_currency if source != wanted and source not in rates]
    digits = definitions.digits.get(wanted, default_digits(wanted))
    used = [rates[source] for source in by_currency if source != wanted and source in rates]
    stale = await _staleness(connection, sums, moment)
    return Totals(
        count=sum(found.accounts for found in sums),
        currency=wanted,
        digits=digits,
        totals=None if missing else _converted(by_currency, rates, digits),
        by_currency=by_currency,
        rates=used,
        stale=bool(stale),
        warnings=[
            *stale,
            *(f"rate_missing: there is no rate from {name} to {wanted}" for name in missing),
            *_old_rates(used, moment),
        ],
    )


async def read_sums(connection: AsyncConnection[Any], scope: Scope, moment: Moment) -> list[Sums]:
    """Add up each group's matched accounts, groups by name."""
    sums = await _read(connection, scope, moment, range(len(scope.groups)))
    return sorted(sums, key=lambda part: part.group)


async def _read(
    connection: AsyncConnection[Any], scope: Scope, moment: Moment, places: Sequence[int]
) -> list[Sums]:
    """Add up the matched accounts of the scope's groups, those with the same place together."""
    if scope.empty:
        return []
    params = scope.params | moment.params | {"places": list(places)}
    cursor = connection.cursor(binary=False)  # numeric is read faster as text
    await cursor.execute(_statement(scope), params, prepare=scope.simple)
    groups = list(scope.groups.values())
    found = {place: Sums(groups[place].group, *map(int, sums)) for place, *sums in await cursor.fetchall()}
    if not scope.simple or not any(part.old_quotes for part in found.values()):
        return list(found.values())
    holders = [g for g, place in zip(groups, places, strict=True) if place in found and found[place].orders]
    valued = bool(holders) and await valued_by_old(connection, holders, scope.flags, moment.oldest)
    return [msgspec.structs.replace(part, old_quotes=int(valued)) for part in found.values()]


def _alike(groups: Iterable[Group]) -> list[int]:
    """Give for each group the place of the first one that is counted as it is."""
    first: dict[tuple[str, str], int] = {}
    return [first.setdefault((g.currency, g.equity_mode), place) for place, g in enumerate(groups)]


def _statement(scope: Scope) -> bytes:
    if scope.simple:
        return _KEPT_SUMS
    accounts, where = SQL(sql("figures_of_accounts")), SQL(scope.where)
    return SQL(sql("accounts_sums")).format(accounts=accounts, where=where).as_bytes()


def _by_currency(sums: Iterable[Sums], groups: Mapping[str, Group]) -> dict[str, CurrencyTotals]:
    """Add up by currency, currencies by name."""
    found: dict[str, list[tuple[Sums, Group]]] = {}
    for part in sums:
        group = groups[part.group]
        found.setdefault(group.currency, []).append((part, group))
    return {currency: _added(found[currency]) for currency in sorted(found)}


def _added(parts: Sequence[tuple[Sums, Group]]) -> CurrencyTotals:
    totals = [part.totals(group) for part, group in parts]
    count = sum(part.accounts for part, _ in parts)
    return CurrencyTotals(parts[0][1].digits, count, {name: sum(t[name] for t in totals) for name in TOTALS})


def _converted(
    by_currency: Mapping[str, CurrencyTotals], rates: Mapping[str, Rate], digits: int
) -> dict[str, int]:
    """Convert and add up, over one denominator, and only then round: once, half-even."""
    factors = {
        currency: Fraction(10) ** (digits - found.digits) * (rates[currency].rate if currency in rates else 1)
        for currency, found in by_currency.items()
    }
    whole = lcm(*(factor.denominator for factor in factors.values()))
    shares = [(found.totals, int(factors[currency] * whole)) for currency, found in by_currency.items()]
    return {name: round_half_even(sum(t[name] * share for t, share in shares), whole) for name in TOTALS}


def _old_rates(rates: Iterable[Rate], moment: Moment) -> list[str]:
    """Say which rates are old: totals are no better than what they were converted by."""
    old = [rate for rate in rates if rate.quoted_at is not None and rate.quoted_at < moment.oldest]
    return [f"rate_old: the rate from {r.source} to {r.target} is more than a minute old" for r in old]


async def _staleness(connection: AsyncConnection[Any], sums: Sequence[Sums], moment: Moment) -> list[str]:
    """Say why figures are stale, if they are."""
    if not any(part.orders for part in sums):
        return []
    fed_at = await read_fed_at(connection)
    unvalued = sum(part.unvalued for part in sums)
    reasons = {
        "no word of the open positions has come for a minute": fed_at is None or fed_at < moment.oldest,
        "a quote that open positions are valued by is more than a minute old": any(
            part.old_quotes for part in sums
        ),
        f"{unvalued} open positions lack a quote or a rate": unvalued > 0,
    }
    return [f"figures_stale: {reason}" for reason, holds in reasons.items() if holds]


async def read_fed_at(connection: AsyncConnection[Any]) -> datetime | None:
    """Give up to when the open positions are known; None where figures are not of the present definitions."""
    found = await (await connection.execute(sql("fed_at").encode())).fetchone()
    return None if found is None else found[0]


_KEPT_SUMS: Final = SQL(sql("totals_sums")).format(figures=SQL(sql("figure_parts"))).as_bytes()
