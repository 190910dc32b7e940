"""The history page: the question of GET /balances/history by a form, and the sums of its totals."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final

import msgspec

from api import bodies, history_reading
from api.answers import Body
from api.console.exchange import Fields, query_as
from api.console.period import ONE_DAY, Period, Span, span_of
from api.console.writing import text
from api.history import HistoryQuery
from api.middleware import Ask
from api.service import Service

PAGE: Final = 50


class RestatementsQuery(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """What the page of what was booked later asks; `day` is one of the period's."""

    day: date | None = None
    span: Span = "month"
    group_filter: str | None = None
    cursor: str | None = None


class Restatements(msgspec.Struct, frozen=True, kw_only=True):
    """What was booked after the end of a period with an effective time in it."""

    query: RestatementsQuery
    period: Period
    today: date
    body: Body

    @property
    def over(self) -> bool:
        """Whether the period is over: before that, nothing can restate it."""
        return self.period.to_day < self.today


async def results_of(service: Service, ask: Ask, fields: Fields) -> Body:
    """Answer the form of the page."""
    query = query_as({"limit": str(PAGE)} | fields, HistoryQuery)
    return await _page(service, ask, query)


async def restatements_of(service: Service, ask: Ask, fields: Fields) -> Restatements:
    """Tell what was booked later."""
    query = query_as(fields, RestatementsQuery)
    day = bodies.day(query.day, field="day")
    async with service.reading() as connection:
        today = (await service.days(connection)).server_day
    period = span_of(day or span_of(today, query.span).from_day - ONE_DAY, query.span)
    body = await _page(
        service,
        ask,
        HistoryQuery(
            group_filter=query.group_filter,
            from_day=period.from_day,
            to_day=period.to_day,
            booked_after=period.to_day,
            basis="effective",
            order="asc",
            limit=PAGE,
            cursor=query.cursor,
            totals=True,
        ),
    )
    return Restatements(query=query, period=period, today=today, body=body)


def sums_of(totals: Mapping[str, Mapping[str, Body]]) -> list[tuple[str, Body]]:
    """Add the kinds of each currency up, exactly."""
    return [(currency, _added(kinds.values())) for currency, kinds in totals.items()]


def _added(kinds: Any) -> Body:
    found = list(kinds)
    money = {
        name: sum(Decimal(text(kind[name])) for kind in found) for name in ("balanceChange", "creditChange")
    }
    return {"count": sum(kind["count"] for kind in found)} | money


async def _page(service: Service, ask: Ask, query: HistoryQuery) -> Body:
    wanted = await history_reading.wanted_by(service, ask, query)
    return await history_reading.page_body(service, query, wanted)
