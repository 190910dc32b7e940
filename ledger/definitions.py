"""What a ledger has been told about itself: groups, currencies, the server's clock, its keys' versions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from ledger.clock import ServerClock
from ledger.events import Event, GroupDefined, ServerDefined, SimulationStarted

NEW_CLOCK = ServerClock(timezone="UTC", day_end="00:00", overnight_days="all")


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One group's present definition; `max_operation` in minor units of its currency."""

    group: str
    currency: str
    digits: int
    leverage: int = 100
    equity_mode: str = "gross"
    withdraw_policy: str = "protect_credit"
    refuse_when_stale: bool = False
    margin_call: str | None = None
    stop_out: str | None = None
    max_operation: int | None = None
    coverage: bool = False
    permissions: dict[str, Any] | None = None
    version: int = 0


class Definitions(msgspec.Struct, frozen=True, kw_only=True):
    """All definitions as of `position`. Digits belong to the currency, fixed by its first group."""

    position: int = 0
    groups: dict[str, Group] = {}
    digits: dict[str, int] = {}
    clock: ServerClock = NEW_CLOCK
    book_currency: str = "USD"
    server_version: int = 0
    simulated_from: datetime | None = None


def evolve(definitions: Definitions, event: Event) -> Definitions:
    """Apply a recorded fact to the definitions; events about other things change nothing."""
    match event:
        case GroupDefined():
            return _with_group(definitions, event)
        case ServerDefined():
            return msgspec.structs.replace(
                definitions,
                position=event.position,
                clock=ServerClock(
                    timezone=event.timezone, day_end=event.day_end, overnight_days=event.overnight_days
                ),
                book_currency=event.book_currency,
                server_version=event.version,
            )
        case SimulationStarted():
            return msgspec.structs.replace(
                definitions,
                position=event.position,
                simulated_from=event.starts_at,
                server_version=event.version,
            )
        case _:
            return definitions


def group_of(event: GroupDefined) -> Group:
    """Give the definition that the event carries."""
    names = [name for name in Group.__struct_fields__ if name != "version"]
    return Group(**{name: getattr(event, name) for name in names}, version=event.version)


def _with_group(definitions: Definitions, event: GroupDefined) -> Definitions:
    return msgspec.structs.replace(
        definitions,
        position=event.position,
        groups=definitions.groups | {event.group: group_of(event)},
        digits={event.currency: event.digits} | definitions.digits,
    )
