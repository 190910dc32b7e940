"""One operation as the log has it: its events, the request that caused it, what answered it."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from ledger.codec import read_event
from ledger.events import Event
from projections.history_filter import POSITION_MAX

_EVENTS = (
    "SELECT notification_id, topic, state FROM ledger_events"
    " WHERE notification_id >= %(operation)s AND notification_id <= %(operation)s + 1 ORDER BY 1"
)
_REQUESTED = (
    "SELECT e.notification_id, e.topic, e.state FROM requests r JOIN ledger_events e"
    ' ON e.notification_id >= r."position" AND e.notification_id < r."position" + r.size'
    " WHERE r.request_id = %(request_id)s ORDER BY 1"
)
_LAST = "SELECT notification_id, topic, state FROM ledger_events ORDER BY notification_id DESC LIMIT 1"
_PRESENT = (
    'SELECT greatest((SELECT max("position") FROM groups), (SELECT max("position") FROM server), 0),'
    " last.notification_id, last.topic, last.state FROM (SELECT) AS one"
    " LEFT JOIN (SELECT notification_id, topic, state FROM ledger_events"
    " ORDER BY notification_id DESC LIMIT 1) AS last ON true"
)
_SWITCHES = (
    "SELECT notification_id, topic, state FROM ledger_events WHERE originator_id = %(stream)s"
    " AND topic IN ('account-opened', 'account-updated', 'account-disabled', 'account-enabled')"
    " ORDER BY originator_version"
)
_ANSWERED_BY = "SELECT DISTINCT operation FROM history WHERE corrects = %(operation)s ORDER BY 1"
_REVERSED_BY = 'SELECT reversed_by FROM history WHERE "position" = %(operation)s'


async def operation_events(connection: AsyncConnection[Any], operation: int) -> list[Event]:
    """Give the one or two events of an operation; none where no operation begins at this position."""
    if not 0 < operation < POSITION_MAX:
        return []
    events = await _events(connection, _EVENTS, operation=Int8(operation))
    return [event for event in events if event.operation == operation]


async def requested(connection: AsyncConnection[Any], request_id: str) -> list[Event]:
    """Give the events that a request caused; none where it caused none."""
    return await _events(connection, _REQUESTED, request_id=request_id)


async def answered_by(connection: AsyncConnection[Any], operation: int) -> list[int]:
    """Give the operations that correct or reverse this one, or expired its credit, in order."""
    return [number for (number,) in await _rows(connection, _ANSWERED_BY, operation=Int8(operation))]


async def reversed_by(connection: AsyncConnection[Any], operation: int) -> int | None:
    """Give the operation that reversed this one."""
    rows = await _rows(connection, _REVERSED_BY, operation=Int8(operation))
    return rows[0][0] if rows else None


async def last_event(connection: AsyncConnection[Any]) -> Event | None:
    """Give the event at the head of the log."""
    events = await _events(connection, _LAST)
    return events[0] if events else None


async def present(connection: AsyncConnection[Any]) -> tuple[int, Event | None]:
    """Give the position of the last definition, and the event at the head of the log."""
    ((defined, *last),) = await _rows(connection, _PRESENT)
    return defined, None if last[0] is None else _read(*last)


async def last_switch(connection: AsyncConnection[Any], login: int) -> tuple[Event, ...]:
    """Give the event that last disabled or enabled an account; its opening counts as well."""
    events = await _events(connection, _SWITCHES, stream=f"account:{login}")
    switches = [event for event in events if getattr(event, "enable", True) is not None]
    return (switches[-1],)


async def _events(connection: AsyncConnection[Any], statement: str, **params: object) -> list[Event]:
    rows = await _rows(connection, statement, **params)
    return [_read(*row) for row in rows]


def _read(position: int, topic: str, state: bytes) -> Event:
    return read_event(state, topic=topic, position=position)


async def _rows(connection: AsyncConnection[Any], statement: str, **params: object) -> list[tuple[Any, ...]]:
    cursor = connection.cursor(binary=True)
    await cursor.execute(statement.encode(), params, prepare=True)
    return await cursor.fetchall()
