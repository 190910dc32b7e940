"""Bring a ledger up to date: its roles, the log by numbered migrations, the read models by rebuilding."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from ledger.recorder import LOCK_GATE
from projections import rights, roles
from projections.replay import replayed
from projections.reports import drop_reports, point_reports
from projections.schema import (
    EVENT,
    REPORTS,
    VIEWS,
    check_known,
    create_views,
    insisting,
    lock_views,
    numbered,
    schema_of,
    view_tables,
    wanted,
)

ROLES = "roles"
"""What `migrate` says it did where it only put rights right."""

_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS migrations (
    name text COLLATE "C" CONSTRAINT migrations_pkey PRIMARY KEY,
    digest text NOT NULL
)
"""
_ROW_TYPES = """
SELECT t.typname FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
WHERE t.typnamespace = current_schema()::regnamespace AND t.typname <> 'log_entry' ORDER BY 1
"""
_RECORD = """
INSERT INTO migrations (name, digest) SELECT * FROM unnest(%s::text[], %s::text[])
ON CONFLICT (name) DO UPDATE SET digest = excluded.digest
"""


def migrate(database_url: str, ledger: str) -> list[str]:
    """Create or update the ledger's schema, its roles and their rights; give the names of what was done."""
    return insisting(lambda: _migrate(database_url, schema_of(ledger)))


def make_service_login(database_url: str, ledger: str) -> str:
    """As a superuser: have a login that may work as the ledger's writer and nothing else; give its name."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        return roles.make_service_login(connection, schema_of(ledger))


def _migrate(database_url: str, schema: str) -> list[str]:
    with psycopg.connect(database_url, autocommit=True) as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('fundledger migrate'))")
        roles.prepare(connection, schema)
        connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
        connection.execute(SQL("SET LOCAL search_path TO {}, pg_temp").format(Identifier(schema)))
        return _migrate_here(connection, schema)


def _migrate_here(connection: Connection[Any], schema: str) -> list[str]:
    connection.execute(_MIGRATIONS)
    done = dict(connection.execute("SELECT name, digest FROM migrations").fetchall())
    check_known(done)
    todo = [name for name, digest in wanted().items() if done.get(name) != digest]
    for name, text in numbered():
        if name in todo:
            connection.execute(text.encode())
    if VIEWS in todo or REPORTS in todo:
        _replace_views(connection, schema, rebuilt=VIEWS in todo)
    connection.execute(_RECORD, [todo, [wanted()[name] for name in todo]])
    if not todo and rights.faults(connection, schema):
        todo.append(ROLES)
    if todo:
        rights.grant(connection, schema)
        rights.check(connection, schema)
    return [name for name in todo if not name.startswith(EVENT)]


def _replace_views(connection: Connection[Any], schema: str, *, rebuilt: bool) -> None:
    """Make the reporting views anew, and before them the read models if those have changed."""
    connection.execute(LOCK_GATE)  # before any table: a service that runs takes its locks in this order
    if view_tables(connection):
        lock_views(connection)
    drop_reports(connection)
    if rebuilt:
        for table in view_tables(connection):
            connection.execute(SQL("DROP TABLE {}").format(Identifier(table)))
        for (name,) in connection.execute(_ROW_TYPES).fetchall():
            connection.execute(SQL("DROP TYPE {}").format(Identifier(name)))
        create_views(connection)
        replayed(connection)
    point_reports(connection, schema)
