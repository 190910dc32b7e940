"""The stored bytes of a log, in order, for whoever verifies or keeps it elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from psycopg import Connection

CHUNK = 5_000

_STATES = (
    "SELECT notification_id, state FROM ledger_events"
    " WHERE notification_id > %s AND notification_id <= %s ORDER BY notification_id LIMIT %s"
)


class NotExportable(Exception):
    """The log has a gap, or an event that is no line."""


def lines(connection: Connection[Any], *, until: int) -> Iterator[list[bytes]]:
    """Yield the bytes of the events up to a position, in steps that hold no snapshot."""
    reached = 0
    while reached < until:
        rows = connection.execute(_STATES, [reached, until, CHUNK], binary=True).fetchall()
        positions = [position for position, _ in rows]
        if not rows or positions != list(range(reached + 1, reached + 1 + len(rows))):
            raise NotExportable(f"the log has a gap after position {reached}: run `fundledger verify`")
        reached = positions[-1]
        if any(b"\n" in state for _, state in rows):
            raise NotExportable(f"an event before position {reached} is no line: run `fundledger verify`")
        yield [state for _, state in rows]
