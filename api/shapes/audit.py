"""The audit in answers: the mirror of the log, refused attempts; and what needs no key."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.shapes.parts import Count, Moment, OperationId, Position, Shape
from ledger.events import AnyEvent

Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class LoggedEvent(Shape, frozen=True, kw_only=True):
    """One event of the log; leafHash is null where `blanked` names fields of data that were blanked."""

    position: Position
    type: str
    operation_id: OperationId
    request_id: str | None
    operator_id: str | None
    key_id: str | None
    login: Position | None
    recorded_at: Moment
    leaf_hash: Hash | None
    blanked: list[str] | UnsetType = UNSET
    data: AnyEvent


class LogPage(Shape, frozen=True, kw_only=True):
    """Events in order; next is the position to go on after."""

    events: list[LoggedEvent]
    next: Count


class Checkpoint(Shape, frozen=True, kw_only=True):
    """What the log was when it was sealed, and the signed note that says so."""

    ledger: str
    size: Position
    root: Hash
    sealed_at: Moment
    key_id: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]
    note: str


class ProvenEvent(Shape, frozen=True, kw_only=True):
    """An event as it is stored, and its RFC 6962 inclusion proof; its leaf is at position - 1."""

    position: Position
    leaf_hash: Hash
    data: AnyEvent | None
    blanked: list[str] | UnsetType = UNSET
    proof: list[Hash]


class Proof(Shape, frozen=True, kw_only=True):
    """An operation's events, and that they are under the checkpoint."""

    operation_id: OperationId
    checkpoint: Checkpoint
    events: list[ProvenEvent]


class Consistency(Shape, frozen=True, kw_only=True):
    """The roots of two trees, and the RFC 6962 proof that one begins with the other."""

    ledger: str
    old: Position = msgspec.field(name="from")
    new: Position = msgspec.field(name="to")
    old_root: Hash = msgspec.field(name="fromRoot")
    new_root: Hash = msgspec.field(name="toRoot")
    proof: list[Hash]


class RefusedAttempt(Shape, frozen=True, kw_only=True):
    """Who tried what, why it was refused, and when."""

    number: Position
    refused_at: Moment
    key_id: str
    operator_id: str | None
    request_id: str | None
    method: str
    route: str
    status: int
    code: str
    detail: str
    field: str | None
    login: int | None


class RefusalsPage(Shape, frozen=True, kw_only=True):
    """Refused attempts in order; next is the number to go on after."""

    refusals: list[RefusedAttempt]
    next: Count


class Alive(Shape, frozen=True, kw_only=True):
    """The process is there."""

    status: Literal["ok"]


class Ready(Shape, frozen=True, kw_only=True):
    """The ledger can book and read."""

    status: Literal["ready"]
    ledger: str
    sealing: Literal["current", "behind", "halted", "off"]
