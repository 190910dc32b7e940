"""What of the service's work is worth a line in its log, and what a line says: ids, never whose they are.

Deposits and refusals of everyday life are lines at level debug only: there may be thousands a second.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from ledger.events import Event, GroupDefined, ServerDefined, SimulationStarted, operation_id
from ledger.refusals import Fault, ManagerOffline, PermissionDenied, Refusal, Unauthorized

if TYPE_CHECKING:
    from api.middleware import Ask

log = logging.getLogger("fundledger.service")

ASKING: Final[ContextVar[Ask | None]] = ContextVar("asking", default=None)
"""Whose request is being answered, for every line that is written meanwhile."""

ADMINISTRATIVE: Final[frozenset[type[Event]]] = frozenset({GroupDefined, ServerDefined, SimulationStarted})
OTHER_CONTENT: Final = frozenset({"request_id_reused", "reference_reused", "deal_reused"})
"""What was booked was asked for again, with other content: someone should look why."""


def fields(**named: object) -> dict[str, Any]:
    """Give a line its fields."""
    return {"fields": {name: value for name, value in named.items() if value is not None}}


def tell_booked(events: Iterable[Event]) -> None:
    """Tell of each administrative event; of all others at level debug."""
    if not log.isEnabledFor(logging.DEBUG):
        events = [event for event in events if type(event) in ADMINISTRATIVE]
    for event in events:
        log.log(_level_of(event), "booked", extra=_of(event))


def tell_refused(
    refusal: Refusal, scope: Any, *, status: int, request_id: object, operator_id: object
) -> None:
    """Tell of a refusal as far as it concerns people; of all others at level debug."""
    level = _level_of_refusal(refusal)
    if log.isEnabledFor(level):
        told = fields(
            status=status,
            code=refusal.code,
            method=scope["method"],
            route=scope.get("path_template"),
            request_id=request_id,
            operator_id=operator_id,
            key_id=refusal.extra.get("key_id"),
        )
        log.log(level, "refused", extra=told)


def _level_of(event: Event) -> int:
    return logging.INFO if type(event) in ADMINISTRATIVE else logging.DEBUG


def _of(event: Event) -> dict[str, Any]:
    return fields(
        type=event.TOPIC,
        operation_id=operation_id(event),
        request_id=event.request_id,
        operator_id=event.operator_id,
        key_id=event.key_id,
    )


def _level_of_refusal(refusal: Refusal) -> int:
    match refusal:
        case Fault():
            return logging.ERROR
        case ManagerOffline():
            return logging.WARNING
        case Unauthorized() | PermissionDenied() if refusal.attempted:
            return logging.WARNING
        case _:
            return logging.WARNING if refusal.code in OTHER_CONTENT else logging.DEBUG
