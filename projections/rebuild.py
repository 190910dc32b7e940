"""Rebuild the read models from the log, and verify that the live ones are what a rebuild gives.

Both replay the log through the code that the live writes use. A rebuild fills tables in a shadow
schema while the service goes on, then catches up under the gate and swaps them in. A verification does
everything in one snapshot and leaves nothing behind.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from ledger.checkpoint import VerificationKey
from ledger.codec import UnknownEvent
from ledger.continuity import LogBroken
from ledger.evidence import Kept
from ledger.recorder import LOCK_GATE
from projections.replay import Progress, Replay, replayed
from projections.reports import point_reports
from projections.rights import grant
from projections.roles import become_owner
from projections.schema import (
    check_schema,
    create_views,
    insisting,
    lock_views,
    schema_of,
    view_tables,
)
from projections.verifying import LogVerification

DIFFERENCES_MAX = 20
COMPARED: dict[str, LiteralString] = {
    "totals": (
        "SELECT group_name, enable, balance_day, balance_month, sum(accounts) AS accounts,"
        " sum(balance) AS balance, sum(credit) AS credit, sum(balance_before_day) AS balance_before_day,"
        " sum(balance_before_month) AS balance_before_month"
        " FROM (TABLE {schema}.totals UNION ALL TABLE {schema}.totals_added) AS kept GROUP BY 1, 2, 3, 4"
        " HAVING (sum(accounts), sum(balance), sum(credit), sum(balance_before_day),"
        " sum(balance_before_month)) <> (0, 0, 0, 0, 0)"
    ),
    "daily": (
        "SELECT server_day, group_name, kind, sum(operations) AS operations,"
        " sum(balance_change) AS balance_change, sum(credit_change) AS credit_change"
        " FROM (TABLE {schema}.daily UNION ALL TABLE {schema}.daily_added) AS kept GROUP BY 1, 2, 3"
    ),
}
"""What of a table is compared: sums with what was added since, but for those over nobody."""

PARTS = ("totals_added", "daily_added")
"""Tables that are compared with another one."""

_SHADOWS = """
SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s) AND pg_has_role(nspowner, 'USAGE')
"""


def rebuild(database_url: str, ledger: str, progress: Progress | None = None) -> int:
    """Replace the read models by ones made from the log, while the service goes on."""
    schema, shadow = _schemas(ledger)
    with psycopg.connect(database_url, autocommit=True) as connection:
        become_owner(connection)
        check_schema(connection, schema)
        _drop_leftovers(connection, schema)
        _create_shadow(connection, schema, shadow)
        try:
            return _replace(connection, schema, shadow, progress)
        finally:
            connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(shadow)))


def verify(
    database_url: str,
    ledger: str,
    progress: Progress | None = None,
    *,
    keys: Sequence[VerificationKey] = (),
    kept: Sequence[Kept] = (),
) -> Iterator[str]:
    """Check the log, then the live rows against a rebuild, in one snapshot; tell each thing that differs.

    The rows of tables that a rebuild moves in meanwhile are not of that snapshot: they are not compared.
    """
    schema, shadow = _schemas(ledger)
    with psycopg.connect(database_url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        become_owner(connection)
        check_schema(connection, schema)
        connection.commit()
        connection.execute("SAVEPOINT begun")
        tables = _tables(connection, schema)  # under no snapshot before the lock
        connection.execute("ROLLBACK TO begun")  # lets go of the lock, and keeps the snapshot
        log = LogVerification(connection, keys=keys, kept=kept)
        yield from log.run(progress)
        if log.broken:
            return
        _create_shadow(connection, schema, shadow)
        try:
            replayed(connection, progress)
        except (LogBroken, UnknownEvent) as error:
            connection.rollback()
            yield str(error)
            return
        if _tables(connection, schema) == tables:
            for table in view_tables(connection):
                if table not in PARTS:
                    yield from _differences(connection, table, schema, shadow)
        else:
            yield "a rebuild has replaced the read models meanwhile, and they were not compared: verify again"
        connection.rollback()


def _tables(connection: Connection[Any], schema: str) -> int:
    """Number the read models that are in place, and keep a rebuild from moving others in."""
    groups = Identifier(schema, "groups")
    connection.execute(SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(groups))
    found = connection.execute("SELECT to_regclass(%s)::oid", [groups.as_string(connection)])
    [(oid,)] = found.fetchall()
    return int(oid)


def _replace(connection: Connection[Any], schema: str, shadow: str, progress: Progress | None) -> int:
    connection.execute("SET synchronous_commit TO off")  # the swap commits it all
    run = replayed(connection, progress)
    for table in view_tables(connection):
        connection.execute(SQL("ANALYZE {}").format(Identifier(shadow, table)))
    connection.execute("RESET synchronous_commit")
    insisting(lambda: _swap(connection, run, schema, shadow, progress))
    return run.position


def _schemas(ledger: str) -> tuple[str, str]:
    """Give the ledger's schema, and the name of a shadow of this run's own."""
    schema = schema_of(ledger)
    return schema, f"shadow_{schema}_{secrets.token_hex(4)}"


def _create_shadow(connection: Connection[Any], schema: str, shadow: str) -> None:
    connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [shadow])  # says that its owner lives
    connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(shadow)))
    path = SQL("SET search_path TO {}, {}").format(Identifier(shadow), Identifier(schema))
    connection.execute(path)
    create_views(connection)


def _drop_leftovers(connection: Connection[Any], schema: str) -> None:
    """Drop the shadows of runs that were killed: nobody holds their locks."""
    for (shadow,) in connection.execute(_SHADOWS, [f"shadow_{schema}_"]).fetchall():
        if connection.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [shadow]).fetchone() == (True,):
            connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(shadow)))
            connection.execute("SELECT pg_advisory_unlock(hashtext(%s))", [shadow])


def _swap(
    connection: Connection[Any], run: Replay, schema: str, shadow: str, progress: Progress | None
) -> None:
    """Catch up under the gate, then put the shadow's tables in the place of the live ones."""
    run.catch_up(progress)
    with connection.transaction():
        connection.execute(LOCK_GATE)
        _search(connection, schema)
        lock_views(connection)  # what may fail comes before the last catching up: it would be undone
        _search(connection, shadow, schema)
        run.catch_up(progress, last=True)
        point_reports(connection, schema)  # at the shadow's tables, which they follow: they are never gone
        for table in view_tables(connection):
            live, rebuilt = Identifier(schema, table), Identifier(shadow, table)
            connection.execute(SQL("DROP TABLE {}").format(live))
            connection.execute(SQL("ALTER TABLE {} SET SCHEMA {}").format(rebuilt, Identifier(schema)))
        _search(connection, schema)
        grant(connection, schema)


def _search(connection: Connection[Any], *schemas: str) -> None:
    path = SQL(", ").join(map(Identifier, schemas))
    connection.execute(SQL("SET LOCAL search_path TO {}").format(path))


def _differences(connection: Connection[Any], table: str, schema: str, shadow: str) -> Iterator[str]:
    live, rebuilt = compared(table, schema), compared(table, shadow)
    for one, other, word in ((live, rebuilt, "live only"), (rebuilt, live, "rebuilt only")):
        query = SQL("SELECT to_jsonb(d)::text FROM ({} EXCEPT ALL {}) AS d LIMIT {}")
        for (row,) in connection.execute(query.format(one, other, DIFFERENCES_MAX)).fetchall():
            yield f"{table}, {word}: {row}"


def compared(table: str, schema: str) -> Composed:
    """Give the rows of a table that must be the same after a rebuild."""
    rows = SQL(COMPARED.get(table, "TABLE {schema}.{table}"))
    return rows.format(schema=Identifier(schema), table=Identifier(table))
