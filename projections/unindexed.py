"""Fill large tables first and index them afterwards: sorting once costs less than finding each row's place.

Only indexes whose entries come in no order are put off. Those that follow positions and times grow at their
end while rows are added, which costs little, and serve the updates meanwhile.
"""

from __future__ import annotations

from typing import Any, Final, LiteralString

from psycopg import Connection
from psycopg.sql import SQL, Identifier

PUT_OFF: Final = (
    "requests_pkey",
    "history_login",
    "history_reference",
    "history_any_reference",
    "history_backdated_login",
)
_FOUND: LiteralString = """
SELECT r.relname, t.relname, c.oid IS NOT NULL,
    coalesce(pg_get_constraintdef(c.oid), pg_get_indexdef(r.oid))
FROM pg_index i
JOIN pg_class r ON r.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid
LEFT JOIN pg_constraint c ON c.conindid = r.oid AND c.contype = 'p'
WHERE r.relnamespace = current_schema()::regnamespace AND r.relname = ANY(%s)
ORDER BY r.oid
"""
_DROP: dict[bool, LiteralString] = {True: "ALTER TABLE {} DROP CONSTRAINT {}", False: "DROP INDEX {1}"}


class Unindexed:
    """Empty tables of the schema that comes first on the search path, without some of their indexes."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        self._put_off = connection.execute(_FOUND, [list(PUT_OFF)]).fetchall()
        for index, table, constraint, _ in self._put_off:
            connection.execute(SQL(_DROP[constraint]).format(Identifier(table), Identifier(index)))

    def index(self) -> None:
        """Make the indexes that were put off."""
        for index, table, constraint, definition in self._put_off:
            add = SQL("ALTER TABLE {} ADD CONSTRAINT {} ").format(Identifier(table), Identifier(index))
            statement = add.as_string(self._connection) + definition if constraint else definition
            self._connection.execute(statement.encode())
