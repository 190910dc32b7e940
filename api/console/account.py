"""The account page: profile and figures, and for a period its history with what it held before and after."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from api import history_reading
from api.answers import Body
from api.console import period as periods
from api.console.exchange import Fields, query_as
from api.console.period import Period
from api.history import Basis, HistoryQuery
from api.middleware import Ask
from api.service import Service

PAGE = 50


class PeriodQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What the page of an account asks."""

    from_day: date | None = None
    to_day: date | None = None
    basis: Basis = "recorded"
    order: Literal["asc", "desc"] = "desc"
    limit: Annotated[int, Meta(ge=1, le=200)] = PAGE
    cursor: str | None = None


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """A page of an account's history, and the period that it is of."""

    query: PeriodQuery
    period: Period
    today: date
    body: Body

    @property
    def others(self) -> dict[str, Period]:
        """Name the periods that are asked for most."""
        this_month = self.today.replace(day=1)
        return {
            "this month": Period(this_month, self.today),
            "last month": periods.month_of(this_month - periods.ONE_DAY),
            "this year": Period(self.today.replace(month=1, day=1), self.today),
        }


async def results_of(service: Service, ask: Ask, login: int, fields: Fields) -> Results | None:
    """Answer the form of the page; None for a key that may not see history."""
    if "history:read" not in ask.scopes:
        return None
    query = query_as(fields, PeriodQuery)
    period, today = await period_of(service, query)
    asked = HistoryQuery(
        login=login,
        from_day=period.from_day,
        to_day=period.to_day,
        basis=query.basis,
        order=query.order,
        limit=query.limit,
        cursor=query.cursor,
        totals=True,
    )
    wanted = await history_reading.wanted_by(service, ask, asked)
    body = await history_reading.page_body(service, asked, wanted)
    return Results(query=query, period=period, today=today, body=body)


async def period_of(service: Service, query: PeriodQuery) -> tuple[Period, date]:
    """Give the period that is asked for, and today."""
    async with service.reading() as connection:
        today = (await service.days(connection)).server_day
    return periods.checked(query.from_day, query.to_day, today=today), today
