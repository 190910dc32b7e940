"""Bring a ledger's schema up to date: the log by numbered migrations, the read models by rebuilding."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from ledger.recorder import LOCK_GATE
from projections.rebuild import replay
from projections.schema import (
    SERVICE_ROLE,
    VIEWS,
    create_views,
    digest_of,
    grant,
    insisting,
    lock_views,
    numbered,
    schema_of,
    view_tables,
)
from projections.sql import sql

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


def migrate(database_url: str, ledger: str) -> list[str]:
    """Create or update the ledger's schema; give the names of what was done."""
    return insisting(lambda: _migrate(database_url, schema_of(ledger)))


def _migrate(database_url: str, schema: str) -> list[str]:
    with psycopg.connect(database_url, autocommit=True) as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('fundledger migrate'))")
        _ensure_role(connection)
        connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
        connection.execute(SQL("SET LOCAL search_path TO {}").format(Identifier(schema)))
        return _migrate_here(connection, schema)


def _ensure_role(connection: Connection[Any]) -> None:
    found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [SERVICE_ROLE]).fetchone()
    role = Identifier(SERVICE_ROLE)
    if found is None:
        connection.execute(SQL("CREATE ROLE {} NOLOGIN").format(role))
    # From PostgreSQL 16 on, whoever creates a role is its administrator and still may not act as it.
    right = "SET" if connection.info.server_version >= 160000 else "MEMBER"
    held = connection.execute("SELECT pg_has_role(%s, %s)", [SERVICE_ROLE, right]).fetchone()
    if held != (True,):
        connection.execute(SQL("GRANT {} TO CURRENT_USER").format(role))


def _migrate_here(connection: Connection[Any], schema: str) -> list[str]:
    connection.execute(_MIGRATIONS)
    done = dict(connection.execute("SELECT name, digest FROM migrations").fetchall())
    todo = [(name, text) for name, text in numbered() if name not in done]
    for name, text in todo:
        connection.execute(text.encode())
        _record(connection, name, digest_of(text))
    if done.get(VIEWS) != digest_of(sql("schema")):
        _replace_views(connection)
        todo.append((VIEWS, ""))
    if todo:
        grant(connection, schema)
    return [name for name, _ in todo]


def _replace_views(connection: Connection[Any]) -> None:
    connection.execute(LOCK_GATE)  # before any table: a service that runs takes its locks in this order
    if view_tables(connection):
        lock_views(connection)
    for table in view_tables(connection):
        connection.execute(SQL("DROP TABLE {}").format(Identifier(table)))
    for (name,) in connection.execute(_ROW_TYPES).fetchall():
        connection.execute(SQL("DROP TYPE {}").format(Identifier(name)))
    create_views(connection)
    replay(connection)
    _record(connection, VIEWS, digest_of(sql("schema")))


def _record(connection: Connection[Any], name: str, digest: str) -> None:
    connection.execute(
        "INSERT INTO migrations (name, digest) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET digest = excluded.digest",
        [name, digest],
    )
