"""Reports in answers: exposure by symbol, group and currency, and one server day."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from msgspec import UNSET, Raw, UnsetType

from api.shapes.parts import Count, Exact, Moment, Money, Shape, either


class Side(Shape, frozen=True, kw_only=True):
    """The open positions of one symbol; prices are null without lots, profit where a quote or rate lacks."""

    orders: Count
    buy_lots: Exact
    buy_price: Exact | None
    sell_lots: Exact
    sell_price: Exact | None
    net_lots: Exact
    profit: Money | None


class SymbolExposure(Side, frozen=True, kw_only=True):
    """One symbol: the clients' side, that of coverage groups, and the difference."""

    symbol: str
    coverage: Side
    uncovered_lots: Exact
    uncovered_profit: Money | None


class GroupFigures(Shape, frozen=True, kw_only=True):
    """Figures in a group's own currency."""

    profit: Money
    margin: Money
    equity: Money


class GroupExposure(Shape, frozen=True, kw_only=True):
    """One group, in book currency."""

    group: str
    currency: str
    coverage_group: bool
    accounts: Count
    orders: Count
    lots: Exact
    profit: Money | None
    margin: Money | None
    equity: Money | None
    in_group_currency: GroupFigures | None


class CurrencyExposure(Shape, frozen=True, kw_only=True):
    """One currency, in its units."""

    currency: str
    clients: Money | None
    coverage: Money | None
    net: Money | None


class Exposure(Shape, frozen=True, kw_only=True):
    """What the broker stands to win and lose by the open positions."""

    by: Literal["symbol", "group", "currency"]
    rows: list[Annotated[Raw, either(SymbolExposure, GroupExposure, CurrencyExposure)]]
    book_currency: str
    as_of: Moment
    stale: bool
    warnings: list[str]


class DayColumn(Shape, frozen=True, kw_only=True):
    """Opening, movements by kind, closing."""

    opening: Money
    movements: dict[str, Money]
    closing: Money


class DayRow(Shape, frozen=True, kw_only=True):
    """A server day of one group, or (without group) of one currency."""

    group: str | UnsetType = UNSET
    currency: str
    operations: Count
    active_accounts: Count
    balance: DayColumn
    credit: DayColumn


class Daily(Shape, frozen=True, kw_only=True):
    """One server day."""

    day: date
    closed: bool
    rows: list[DayRow]
    totals: list[DayRow]
    as_of: Moment
