"""The problem object: what every refusal looks like."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from api.shapes.funding import Answered
from api.shapes.parts import Count, Money, OperationId, Shape


class Problem(Shape, frozen=True, kw_only=True):
    """A refusal. `operation` is what an earlier operation, the reason, was answered with."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str | None
    field: str | UnsetType = UNSET
    available: Money | UnsetType = UNSET
    stale: bool | UnsetType = UNSET
    fields: list[str] | UnsetType = UNSET
    index: Count | UnsetType = UNSET
    operation: Answered | UnsetType = UNSET
    operation_id: OperationId | UnsetType = UNSET
