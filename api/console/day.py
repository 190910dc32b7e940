"""The page of a server day: the daily report by currency, with the sum of what moved beside its kinds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from api.answers import Body
from api.console.exchange import Fields, query_as
from api.console.period import ONE_DAY
from api.console.writing import text
from api.middleware import Ask
from api.reports import DailyQuery, daily_body
from api.service import Service


class OfCurrency(msgspec.Struct, frozen=True, kw_only=True):
    """A day of all groups of one currency, and of each of them."""

    total: Body
    groups: list[Body]

    @property
    def kinds(self) -> list[str]:
        """The kinds that moved anything."""
        return sorted({*self.total["balance"]["movements"], *self.total["credit"]["movements"]})


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A server day, and its neighbours."""

    day: date
    closed: bool
    as_of: Any
    currencies: list[OfCurrency]

    @property
    def before(self) -> date:
        """The day before."""
        return self.day - ONE_DAY

    @property
    def after(self) -> date | None:
        """The day after, where it has begun."""
        return self.day + ONE_DAY if self.closed else None


async def results_of(service: Service, ask: Ask, fields: Fields) -> Results:
    """Answer the form of the page."""
    body = await daily_body(service, ask, query_as(fields, DailyQuery))
    rows = [_summed(row) for row in body["rows"]]
    currencies = [
        OfCurrency(total=_summed(total), groups=[row for row in rows if row["currency"] == total["currency"]])
        for total in body["totals"]
    ]
    return Results(day=body["day"], closed=body["closed"], as_of=body["asOf"], currencies=currencies)


def _summed(row: Body) -> Body:
    """Put the sum of all movements beside them."""
    return row | {name: row[name] | {"moved": _moved(row[name])} for name in ("balance", "credit")}


def _moved(column: Mapping[str, Any]) -> Decimal:
    zero = Decimal(text(column["opening"])) * 0  # with the currency's digits
    return sum((Decimal(text(moved)) for moved in column["movements"].values()), zero)
