"""The log in PostgreSQL: gap-free positions in commit order, leaf hashes, the gate that orders writers.

The hot path is `append_sql` inside the group commit of ledger.writer. The library's own path,
`insert_events`, does the same work for its callers: the same gate, positions and hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg import Cursor
from psycopg.rows import DictRow
from psycopg.sql import SQL

from ledger.events import Event, encode
from ledger.packing import Packed, RowPacker
from ledger.sql import migrations

LOCK_GATE: LiteralString = "LOCK TABLE gate IN EXCLUSIVE MODE"
APPEND_LOG: LiteralString = """
log AS (
    INSERT INTO ledger_events (
        notification_id, originator_id, originator_version, topic, state, leaf_hash
    )
    SELECT "position", stream, version, topic, state, sha256('\\x00'::bytea || state)
    FROM unnest(%(entries)s::log_entry[])
)
"""
AT_THE_HEAD: LiteralString = """
CASE WHEN (SELECT coalesce(max(notification_id), 0) FROM ledger_events) = %(head)s THEN NULL
    ELSE require(false, 'the log moved under the batch')
END
"""
_INSERT: LiteralString = """
INSERT INTO ledger_events (notification_id, originator_id, originator_version, topic, state, leaf_hash)
SELECT head.max + n, stream, version, topic, state, sha256('\\x00'::bytea || state)
FROM (SELECT coalesce(max(notification_id), 0) AS max FROM ledger_events) AS head,
    unnest(%s::text[], %s::bigint[], %s::text[], %s::bytea[])
    WITH ORDINALITY AS events (stream, version, topic, state, n)
ORDER BY n
RETURNING notification_id
"""


def entry_packer(row_types: dict[str, int]) -> RowPacker:
    """Give the packer of log entries, for a database in which the row types have these oids."""
    return RowPacker(row_types["log_entry"], fixed=("int8", "int8"), variable=("text", "text", "bytea"))


def entries(packer: RowPacker, events: Sequence[Event]) -> Packed:
    """Pack events for the log."""
    return packer.array(
        ((event.position, event.version), (), (event.stream, event.TOPIC, encode(event))) for event in events
    )


class LedgerRecorder(PostgresApplicationRecorder):
    """The library's recorder over our log table."""

    def __init__(self, datastore: PostgresDatastore, *, events_table_name: str = "ledger_events") -> None:
        super().__init__(datastore, events_table_name=events_table_name)
        self.sql_create_statements = [SQL(text).format() for _, text in migrations()]
        self.lock_table_statements = [SQL(LOCK_GATE)]

    def create_table(self) -> None:
        """Run the log's migrations in an empty schema."""
        with self.datastore.transaction(commit=True) as curs:
            for statement in self.sql_create_statements:
                curs.execute(statement, prepare=False)

    def _insert_stored_events(
        self, curs: Cursor[DictRow], stored_events: Sequence[StoredEvent], **_: Any
    ) -> None:
        self._lock_table(curs)
        columns = [
            [event.originator_id for event in stored_events],
            [event.originator_version for event in stored_events],
            [event.topic for event in stored_events],
            [event.state for event in stored_events],
        ]
        curs.execute(_INSERT, columns, prepare=True)

    def _fetch_ids_after_insert_events(
        self,
        curs: Cursor[DictRow],
        stored_events: Sequence[StoredEvent],  # noqa: ARG002 - the library's signature
        **_: Any,
    ) -> Sequence[int]:
        while curs.statusmessage is None or not curs.statusmessage.startswith("INSERT"):
            if not curs.nextset():
                break
        return sorted(row["notification_id"] for row in curs.fetchall())

    def _notify_channel(self, curs: Cursor[DictRow]) -> None:
        """Say nothing: polling is the truth, and a global lock at commit is not worth a wake-up."""
