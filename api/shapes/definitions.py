"""Groups, symbols and the server's clock in answers."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from msgspec import Meta

from api.shapes.parts import AnyObject, Count, Exact, Moment, Money, OperationId, Shape

Overnight = Literal["all", "mon-fri"]


class Group(Shape, frozen=True, kw_only=True):
    """A group's definition; maxOperation is in its currency."""

    group: str
    currency: str
    digits: Annotated[int, Meta(ge=0, le=8)]
    leverage: Count
    equity_mode: Literal["gross", "net"]
    withdraw_policy: Literal["protect_credit", "mt"]
    refuse_when_stale: bool
    margin_call: Exact | None
    stop_out: Exact | None
    max_operation: Money | None
    coverage: bool
    permissions: AnyObject


class GroupWritten(Group, frozen=True, kw_only=True):
    """A group as an operation defined it."""

    operation_id: OperationId
    request_id: str


class Groups(Shape, frozen=True, kw_only=True):
    """The groups that the key's mask selects, by name."""

    groups: list[Group]


class Symbol(Shape, frozen=True, kw_only=True):
    """A symbol's definition; contractSize is in units of the base currency a lot."""

    symbol: str
    digits: Annotated[int, Meta(ge=0, le=10)]
    contract_size: Exact
    base_currency: str
    profit_currency: str
    margin_rate: Exact
    swap_long: Exact
    swap_short: Exact
    spread: Count
    trade_mode: Literal["full", "close_only", "disabled"]
    description: str


class SymbolWritten(Symbol, frozen=True, kw_only=True):
    """A symbol as an operation defined it."""

    operation_id: OperationId
    request_id: str


class Symbols(Shape, frozen=True, kw_only=True):
    """All symbols, by name."""

    symbols: list[Symbol]


class ServerWritten(Shape, frozen=True, kw_only=True):
    """The clock and book currency as an operation set them."""

    timezone: str
    day_end: Annotated[str, Meta(pattern="^[0-2][0-9]:[0-5][0-9]$")]
    overnight_days: Overnight
    book_currency: str
    operation_id: OperationId
    request_id: str


class Server(Shape, frozen=True, kw_only=True):
    """The clock and book currency in force, and what time it is there."""

    timezone: str
    day_end: Annotated[str, Meta(pattern="^[0-2][0-9]:[0-5][0-9]$")]
    overnight_days: Overnight
    book_currency: str
    simulated: bool
    simulated_from: Moment | None
    ledger: str
    now: Moment
    server_day: date
    trading_day: date


class SimulationWritten(Shape, frozen=True, kw_only=True):
    """The mark of a ledger on a simulated clock."""

    simulated: Literal[True]
    simulated_from: Moment
    operation_id: OperationId
    request_id: str
