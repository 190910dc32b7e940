"""Reports on the wire: their queries and what is answered to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import date
from fractions import Fraction
from typing import Final, Literal

import msgspec
from msgspec import Raw

from api import answers, bodies
from api.answers import Body, money
from api.middleware import Ask
from api.service import Days, Service
from ledger.commands import Access
from ledger.definitions import Definitions
from ledger.masks import parse_mask
from ledger.money import default_digits, round_half_even
from ledger.refusals import PermissionDenied, ValidationError
from projections import exposure
from projections.accounts_filter import Filter
from projections.accounts_scope import Scope, resolve
from projections.daily import Day, Movement, Report, read_daily
from projections.exposure import OfCurrency, OfGroup, OfSymbol, Side
from projections.history import snapshot
from projections.market import Figure
from projections.totals import Moment
from projections.users_export import Format

ROWS_AT_ONCE: Final = 20
LOTS_DECIMALS: Final = 2
AVERAGE_DECIMALS: Final = 3
"""Decimals of an average price beyond those of the symbol's prices."""


class ReportQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What every report takes."""

    group_filter: str = "*"

    def scope(self, access: Access, definitions: Definitions) -> Scope:
        """Give the groups and accounts that are asked for, and may be seen."""
        return resolve(Filter(group_mask=parse_mask(self.group_filter), access=access), definitions)


class ExposureQuery(ReportQuery, frozen=True, kw_only=True):
    """The query of GET /reports/exposure."""

    by: Literal["symbol", "group", "currency"] = "symbol"


class UsersQuery(ReportQuery, frozen=True, kw_only=True):
    """The query of GET /reports/users."""

    format: Format = "json"


class DailyQuery(ReportQuery, frozen=True, kw_only=True):
    """The query of GET /reports/daily."""

    day: date | None = None


async def exposure_body(service: Service, ask: Ask, query: ExposureQuery) -> Body:
    """Give the exposure at this moment."""
    async with service.database.reporting() as connection, snapshot(connection):
        days = await service.days(connection)
        moment, definitions = moment_of(service, days), days.definitions
        scope = query.scope(ask.access, definitions)
        found = await _EXPOSURES[query.by](connection, scope, definitions, moment)
    return {
        "by": query.by,
        "rows": [row async for row in _rows(found.rows, definitions)],
        "bookCurrency": definitions.book_currency,
        "asOf": answers.utc(moment.now),
        "stale": any(not warning.startswith("rate_missing") for warning in found.warnings),
        "warnings": found.warnings,
    }


async def daily_body(service: Service, ask: Ask, query: DailyQuery) -> Body:
    """Give one server day."""
    if ask.access.logins is not None:
        detail = "the daily report tells of whole groups, and this key reaches some logins only"
        raise PermissionDenied("whole_groups_only", detail)
    asked = bodies.day(query.day, field="day")
    async with service.database.reporting() as connection, snapshot(connection):
        days = await service.days(connection)
        day = asked or days.server_day
        if day > days.server_day:
            detail = f"the server day {day} has not begun: today is {days.server_day}"
            raise ValidationError("bad_date", detail, field="day")
        report = await read_daily(connection, day, query.scope(ask.access, days.definitions).groups)
    return {"day": day, "closed": day < days.server_day, **_daily(report), "asOf": answers.utc(service.now())}


def moment_of(service: Service, days: Days) -> Moment:
    """Give the moment at which a report is asked for."""
    return Moment(now=service.now(), server_day=days.server_day, trading_day=days.trading_day)


_EXPOSURES: Final = {
    "symbol": exposure.by_symbol,
    "group": exposure.by_group,
    "currency": exposure.by_currency,
}


async def _rows(
    rows: Sequence[OfSymbol | OfGroup | OfCurrency], definitions: Definitions
) -> AsyncIterator[Body]:
    """Write rows, giving way now and then."""
    for number, row in enumerate(rows):
        yield _row(row, definitions)
        if number % ROWS_AT_ONCE == 0:
            await asyncio.sleep(0)


def _row(row: OfSymbol | OfGroup | OfCurrency, definitions: Definitions) -> Body:
    match row:
        case OfSymbol():
            return _of_symbol(row, definitions)
        case OfGroup():
            return _of_group(row, definitions)
        case OfCurrency():
            return _of_currency(row, definitions)


def _of_symbol(row: OfSymbol, definitions: Definitions) -> Body:
    book = definitions.book_currency
    return {
        "symbol": row.symbol,
        **_side(row.clients, row.digits, definitions),
        "coverage": _side(row.coverage, row.digits, definitions),
        "uncoveredLots": _lots(row.uncovered_lots),
        "uncoveredProfit": _amount(row.uncovered_profit, book, definitions),
    }


def _side(side: Side, digits: int, definitions: Definitions) -> Body:
    return {
        "orders": side.orders,
        "buyLots": _lots(side.buy_lots),
        "buyPrice": decimal(side.buy_price, digits + AVERAGE_DECIMALS),
        "sellLots": _lots(side.sell_lots),
        "sellPrice": decimal(side.sell_price, digits + AVERAGE_DECIMALS),
        "netLots": _lots(side.net_lots),
        "profit": _amount(side.profit, definitions.book_currency, definitions),
    }


def _of_group(row: OfGroup, definitions: Definitions) -> Body:
    book, group = definitions.book_currency, row.group
    return {
        "group": group.group,
        "currency": group.currency,
        "coverageGroup": group.coverage,
        "accounts": row.accounts,
        "orders": row.orders,
        "lots": _lots(row.lots),
        "profit": _amount(row.profit, book, definitions),
        "margin": _amount(row.margin, book, definitions),
        "equity": _amount(row.equity, book, definitions),
        "inGroupCurrency": None
        if row.own is None
        else {name: money(row.own[name], group.digits) for name in ("profit", "margin", "equity")},
    }


def _of_currency(row: OfCurrency, definitions: Definitions) -> Body:
    return {
        "currency": row.currency,
        "clients": _amount(row.clients, row.currency, definitions),
        "coverage": _amount(row.coverage, row.currency, definitions),
        "net": _amount(row.net, row.currency, definitions),
    }


def _amount(figure: Figure, currency: str, definitions: Definitions) -> Raw | None:
    """Give money as a JSON number with the currency's digits."""
    return decimal(figure, definitions.digits.get(currency, default_digits(currency)))


def _lots(lots: Fraction) -> Raw | None:
    """Give lots exactly: with two decimals, or as many as it takes."""
    decimals = LOTS_DECIMALS
    while (lots * 10**decimals).denominator > 1:
        decimals += 1
    return decimal(lots, decimals)


def decimal(figure: Figure, decimals: int) -> Raw | None:
    """Give a figure as a JSON number, rounded half-even: the one rounding that there is."""
    if figure is None:
        return None
    scaled = round_half_even(figure.numerator * 10**decimals, figure.denominator)
    whole, rest = divmod(abs(scaled), 10**decimals)
    text = f"{whole}.{rest:0{decimals}d}" if decimals else f"{whole}"
    return Raw(f"-{text}".encode() if scaled < 0 else text.encode())


def _daily(report: Report) -> Body:
    return {
        "rows": [{"group": group} | _day(day) for group, day in report.groups.items()],
        "totals": [_day(day) for day in report.currencies.values()],
    }


def _day(day: Day) -> Body:
    return {
        "currency": day.currency,
        "operations": day.operations,
        "activeAccounts": day.active,
        "balance": _column(day, "balance"),
        "credit": _column(day, "credit"),
    }


def _column(day: Day, name: Literal["balance", "credit"]) -> Body:
    def told(moved: Movement) -> Raw:
        return money(getattr(moved, name), day.digits)

    movements = {
        kind: told(moved)
        for kind, moved in day.movements.items()
        if getattr(moved, name) or moved.cancelled_out
    }
    return {"opening": told(day.opening), "movements": movements, "closing": told(day.closing)}
