"""Answers on the wire: exact decimals, RFC 3339 times, the body of a booked operation."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from ledger.events import Event, MoneyMoved, operation_id
from ledger.money import format_minor

Body = dict[str, Any]


def money(minor: int, digits: int) -> msgspec.Raw:
    """Give an amount as a JSON number with exactly the currency's digits."""
    return msgspec.Raw(format_minor(minor, digits).encode())


money_again = lru_cache(maxsize=4_096)(money)
"""For operations, whose amounts, balances and zeros come again and again; the figures of accounts do not."""


def utc(instant: datetime) -> datetime:
    """Give an instant as the wire has it: in UTC."""
    return instant.astimezone(UTC)


def made_request_id() -> str:
    """Make a request id for a caller that sent none."""
    return f"auto-{uuid.uuid4().hex}"


def booked(events: Sequence[Event], *, dry_run: bool = False) -> Body:
    """Give the 201 body of a money operation: one leg, or a transfer's legs."""
    legs = [_leg(event, dry_run=dry_run) for event in events if isinstance(event, MoneyMoved)]
    if len(legs) == 1:
        return legs[0]
    first = legs[0]
    shared = {name: first[name] for name in _SHARED if name in first}
    return shared | {"legs": legs}


_SHARED = (
    "operationId",
    "status",
    "kind",
    "amount",
    "currency",
    "requestId",
    "reference",
    "position",
    "serverDay",
    "recordedAt",
    "effectiveAt",
    "corrects",
)


def _leg(event: MoneyMoved, *, dry_run: bool) -> Body:
    digits = event.digits
    body: Body = {
        "operationId": None if dry_run else operation_id(event),
        "status": "dry_run" if dry_run else "accepted",
        "kind": event.kind,
        "login": event.login,
        "amount": money_again(event.amount, digits),
        "currency": event.currency,
        "newBalance": money(event.balance, digits),
        "newCredit": money_again(event.credit, digits),
        "balanceChange": money_again(event.balance_change, digits),
        "creditChange": money_again(event.credit_change, digits),
        "requestId": event.request_id,
        "reference": event.reference,
        "position": None if dry_run else event.position,
        "serverDay": event.server_day,
        "recordedAt": event.recorded_at,
        "effectiveAt": event.effective,
    }
    if event.expires_at is not None:
        body["expiresAt"] = event.expires_at
    if event.corrects is not None:
        body["corrects"] = f"bal_{event.corrects}"
    if event.warnings:
        body["warnings"] = event.warnings
    if "figures_stale" in event.warnings:
        body["stale"] = True
    return body
