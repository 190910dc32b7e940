"""Operations in answers: what was booked, what would be, and how an operation reads later."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Raw, UnsetType

from api.history import KINDS
from api.shapes.accounts import ProfileWritten
from api.shapes.definitions import GroupWritten, ServerWritten, SimulationWritten, SymbolWritten
from api.shapes.parts import BalanceId, Moment, Money, Position, Shape, either
from ledger.events import MoneyMoved

OperationKind = Annotated[str, Meta(extra_json_schema={"enum": sorted(KINDS)})]


class Told(Shape, frozen=True, kw_only=True):
    """What every operation tells; where it has legs, what they share."""

    kind: OperationKind
    amount: Money
    currency: str
    request_id: str
    reference: str | None
    server_day: date
    recorded_at: Moment
    effective_at: Moment


class OneLeg(Told, frozen=True, kw_only=True):
    """What an operation did to one account."""

    login: Position
    new_balance: Money
    new_credit: Money
    balance_change: Money
    credit_change: Money
    expires_at: Moment | UnsetType = UNSET
    corrects: BalanceId | UnsetType = UNSET
    warnings: list[str] | UnsetType = UNSET
    stale: Literal[True] | UnsetType = UNSET


class Booked(OneLeg, frozen=True, kw_only=True):
    """An operation that was booked, or a leg of it."""

    operation_id: BalanceId
    status: Literal["accepted"]
    position: Position


class Transferred(Told, frozen=True, kw_only=True):
    """An operation of two legs that was booked: a transfer, or the reversal of one."""

    operation_id: BalanceId
    status: Literal["accepted"]
    position: Position
    corrects: BalanceId | UnsetType = UNSET
    legs: list[Booked]


class Rehearsed(OneLeg, frozen=True, kw_only=True):
    """What a dry run would have booked, or a leg of it."""

    operation_id: None
    status: Literal["dry_run"]
    position: None


class TransferRehearsed(Told, frozen=True, kw_only=True):
    """What a dry run of two legs would have booked."""

    operation_id: None
    status: Literal["dry_run"]
    position: None
    corrects: BalanceId | UnsetType = UNSET
    legs: list[Rehearsed]


class BookedRead(Booked, frozen=True, kw_only=True):
    """A booked operation, its stored events, and what corrects or reverses it."""

    events: list[MoneyMoved]
    corrected_by: list[BalanceId]
    reversed_by: BalanceId | None


class TransferredRead(Transferred, frozen=True, kw_only=True):
    """The same for an operation of two legs."""

    events: list[MoneyMoved]
    corrected_by: list[BalanceId]
    reversed_by: BalanceId | None


_OTHERS = (ProfileWritten, GroupWritten, SymbolWritten, ServerWritten, SimulationWritten)

Booking = Annotated[Raw, either(Booked, Transferred)]
Rehearsal = Annotated[Raw, either(Rehearsed, TransferRehearsed, Booked, Transferred)]
"""What a dry run is answered with; of a request id that was applied, a replay of the first answer."""

Operation = Annotated[Raw, either(BookedRead, TransferredRead, *_OTHERS)]
Answered = Annotated[Raw, either(Booked, Transferred, *_OTHERS)]
"""What the first operation was answered with."""
