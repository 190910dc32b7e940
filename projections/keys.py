"""Keys as rows: how one is looked up to be checked, listed and rotated."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection, Connection

Row = tuple[Any, ...]

_CHECKED = (
    "SELECT key_id, name, scopes, groups, logins, amount_max, amount_day_max, secret_hash, expires_at,"
    " revoked_at FROM keys WHERE key_id = %s"
)
_LISTED = (
    "SELECT key_id, name, role, groups, logins, amount_max, amount_day_max, expires_at, revoked_at"
    " FROM keys ORDER BY position"
)
_LIVING = (
    "SELECT name, role, scopes, groups, logins, amount_max, amount_day_max, expires_at FROM keys"
    " WHERE key_id = %(key)s AND (revoked_at IS NULL OR revoked_at > %(now)s)"
    " AND (expires_at IS NULL OR expires_at > %(now)s)"
)


async def checked(connection: AsyncConnection[Any], key_id: str) -> Row | None:
    """Give what a check of the key needs, living or dead."""
    return await (await connection.execute(_CHECKED, [key_id])).fetchone()


def listed(connection: Connection[Any]) -> list[Row]:
    """Give all keys without their hashes, oldest first."""
    return connection.execute(_LISTED).fetchall()


def living(connection: Connection[Any], key_id: str, now: datetime) -> Row | None:
    """Give what a successor inherits of a key that lives at an instant of the real clock."""
    row: Row | None = connection.execute(_LIVING, {"key": key_id, "now": now}).fetchone()
    return row
