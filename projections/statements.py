"""Statements that write the rows of rare events, and the parameters that an event gives them."""

from __future__ import annotations

from typing import Any

from ledger.events import Event
from ledger.transaction import Statement

__all__ = ["Statement", "fields_of"]


def fields_of(event: Event) -> dict[str, Any]:
    """Give every field of an event by name."""
    return {name: getattr(event, name) for name in event.__struct_fields__}
