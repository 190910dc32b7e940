"""The log as an outside mirror reads it: stored events in order, and which of them a key may be told of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from ledger.codec import read_event
from ledger.commands import Access
from projections.sql import sql

Entry = tuple[int, bytes, bytes]
"""One event as it is stored: its position, bytes and leaf hash. A row as it comes: there are many."""


async def entries(connection: AsyncConnection[Any], *, after: int, limit: int) -> list[Entry]:
    """Give the events after a position, in order, at most so many."""
    cursor = connection.cursor(binary=True)
    params = {"after": Int8(after), "limit": Int8(limit)}
    await cursor.execute(sql("audit_entries").encode(), params, prepare=True)
    return await cursor.fetchall()


async def visible(
    connection: AsyncConnection[Any], found: Sequence[Entry], access: Access
) -> Sequence[Entry]:
    """Leave out what a caller may not be told of, by the accounts' present groups."""
    if access.everything:
        return found
    events = [read_event(state, topic="", position=position) for position, state, _ in found]
    groups = await _groups(connection, {getattr(event, "login", None) for event in events} - {None})
    return [entry for entry, event in zip(found, events, strict=True) if access.sees(event, groups)]


async def head(connection: AsyncConnection[Any]) -> int:
    """Give the last position of the log; 0 where it is empty."""
    row = await (await connection.execute(_HEAD)).fetchone()
    assert row is not None
    return int(row[0])


_HEAD = "SELECT coalesce(max(notification_id), 0) FROM ledger_events"
_GROUPS = "SELECT login, group_name FROM accounts WHERE login = ANY(%s)"


async def _groups(connection: AsyncConnection[Any], logins: Iterable[Any]) -> dict[int, str]:
    return dict(await (await connection.execute(_GROUPS, [list(logins)])).fetchall())
