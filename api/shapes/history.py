"""History in answers: rows, totals, what an account held."""

from __future__ import annotations

from datetime import date
from typing import Literal

from msgspec import UNSET, UnsetType

from api.shapes.funding import OperationKind
from api.shapes.parts import AnyObject, BalanceId, Count, Moment, Money, Position, Shape


class HistoryRow(Shape, frozen=True, kw_only=True):
    """One leg: what its operation was answered with, and what the account held around it."""

    operation_id: BalanceId
    status: Literal["accepted"]
    kind: OperationKind
    login: Position
    amount: Money
    currency: str
    new_balance: Money
    new_credit: Money
    balance_change: Money
    credit_change: Money
    request_id: str
    reference: str | None
    position: Position
    server_day: date
    recorded_at: Moment
    effective_at: Moment
    group: str
    trading_day: date
    warnings: list[str]
    balance_before: Money
    balance_after: Money
    credit_before: Money
    credit_after: Money
    comment: str | None
    method: str | None
    operator_id: str | None
    key_id: str | None
    corrects: BalanceId | None
    reversed_by: BalanceId | None
    peer: Position | None
    metadata: AnyObject | None


class Held(Shape, frozen=True, kw_only=True):
    """What an account held; position is the last one that counts, null before any."""

    balance: Money
    credit: Money
    position: Position | None


class KindTotal(Shape, frozen=True, kw_only=True):
    """What operations of one kind moved."""

    count: Count
    balance_change: Money
    credit_change: Money


class HistoryPage(Shape, frozen=True, kw_only=True):
    """A page of history; count and totals (by currency, then kind) where they were asked for."""

    rows: list[HistoryRow]
    next: str | None
    opening: Held | None
    closing: Held | None
    count: Count | UnsetType = UNSET
    totals: dict[str, dict[str, KindTotal]] | UnsetType = UNSET


class HeldAt(Held, frozen=True, kw_only=True):
    """What an account held at an instant."""

    login: Position
    currency: str
    at: Moment
