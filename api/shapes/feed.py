"""The feed in answers: what became of a call's items, how far the streams have come."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, UnsetType

from api.shapes.parts import BalanceId, Count, Exact, Moment, Shape


class ItemError(Shape, frozen=True, kw_only=True):
    """An item that was refused, by its index from 0, and what it is about where that can be read."""

    index: Count
    code: str
    detail: str
    field: str | UnsetType = UNSET
    symbol: str | UnsetType = UNSET
    ticket: int | UnsetType = UNSET
    login: int | UnsetType = UNSET
    deal_id: str | int | UnsetType | None = UNSET


class Receipt(Shape, frozen=True, kw_only=True):
    """How many items were taken, how many changed nothing, and which were refused."""

    accepted: Count
    ignored: Count
    errors: list[ItemError]


class DealResult(Shape, frozen=True, kw_only=True):
    """What became of one deal."""

    deal_id: str | int | None
    status: Literal["accepted", "ignored", "refused"]
    operation_id: BalanceId | UnsetType | None = UNSET
    code: str | UnsetType = UNSET


class DealsReceipt(Receipt, frozen=True, kw_only=True):
    """The same of deals, with the result of each in order."""

    results: list[DealResult]


class StreamStatus(Shape, frozen=True, kw_only=True):
    """How far a stream has come; age is in seconds."""

    stream: str
    epoch: Count
    seq: Count | None
    gaps: Count
    received_at: Moment | None
    age: Exact | None
    stale: bool


class FeedStatus(Shape, frozen=True, kw_only=True):
    """All streams."""

    streams: list[StreamStatus]
