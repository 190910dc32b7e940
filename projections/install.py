"""Bring a ledger's schema up to date: the log by numbered migrations, the read models by rebuilding.

Everything of a ledger is in one schema. The service's role may INSERT and SELECT in the log, lock the
gate, and write the read models; it owns nothing.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from ledger.refusals import ValidationError
from ledger.sql import migrations
from projections.sql import sql

SERVICE_ROLE = "fundledger_service"
LOG_TABLES = ("ledger_events", "gate", "migrations")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS migrations (
    name text COLLATE "C" CONSTRAINT migrations_pkey PRIMARY KEY,
    digest text NOT NULL
)
"""
_VIEW_TABLES = """
SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace
AND c.relkind = 'r' AND c.relname <> ALL(%s) ORDER BY 1
"""
_ROW_TYPES = """
SELECT t.typname FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
WHERE t.typnamespace = current_schema()::regnamespace AND t.typname <> 'log_entry' ORDER BY 1
"""
_LEDGERS = """
SELECT n.nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
WHERE c.relname = 'ledger_events' AND starts_with(n.nspname, 'ledger_') ORDER BY 1
"""
VIEWS = "views"


class SchemaOutdated(Exception):
    """The schema is missing or older than this version; `fundledger migrate` brings it up to date."""


def schema_of(ledger: str) -> str:
    """Give the schema of a ledger; ValidationError `bad_ledger` for a name that cannot be one."""
    if not _NAME.fullmatch(ledger):
        raise ValidationError(
            "bad_ledger", "a ledger's name is a small letter, then small letters, digits or _", field="ledger"
        )
    return f"ledger_{ledger}"


def conninfo_of(database_url: str, ledger: str, *, service: bool = False, **options: str) -> str:
    """Give the conninfo of connections that work in the ledger's schema, as the service's role if asked."""
    settings = {"search_path": schema_of(ledger), "TimeZone": "UTC", **options}
    if service:
        settings["role"] = SERVICE_ROLE
    given = psycopg.conninfo.conninfo_to_dict(database_url).get("options") or ""
    flags = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return make_conninfo(database_url, options=f"{given} {flags}".strip())


def migrate(database_url: str, ledger: str) -> list[str]:
    """Create or update the ledger's schema; give the names of what was done."""
    schema = schema_of(ledger)
    with psycopg.connect(database_url, autocommit=True) as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('fundledger migrate'))")
        _ensure_role(connection)
        connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
        connection.execute(SQL("SET LOCAL search_path TO {}").format(Identifier(schema)))
        return _migrate_here(connection, schema)


def check(connection: Connection[Any]) -> None:
    """Raise SchemaOutdated unless the schema on the search path is this version's."""
    if connection.execute("SELECT to_regclass('migrations')").fetchone() == (None,):
        raise SchemaOutdated("the ledger does not exist in this database yet")
    done = dict(connection.execute("SELECT name, digest FROM migrations").fetchall())
    missing = [name for name, digest in _wanted().items() if done.get(name) != digest]
    if missing:
        raise SchemaOutdated(f"the ledger's schema lacks {', '.join(missing)}")


def check_schema(connection: Connection[Any], schema: str) -> None:
    """Set the search path to a schema and check it."""
    connection.execute(SQL("SET search_path TO {}").format(Identifier(schema)))
    check(connection)


def ledgers(database_url: str) -> list[str]:
    """Name the ledgers of a database."""
    with psycopg.connect(database_url) as connection:
        return [name.removeprefix("ledger_") for (name,) in connection.execute(_LEDGERS).fetchall()]


def create_views(connection: Connection[Any]) -> None:
    """Create the read models, empty, in the schema on the search path."""
    connection.execute(sql("schema").encode())


def view_tables(connection: Connection[Any]) -> list[str]:
    """Name the tables of the read models in the schema on the search path."""
    return [name for (name,) in connection.execute(_VIEW_TABLES, [list(LOG_TABLES)]).fetchall()]


def grant(connection: Connection[Any], schema: str) -> None:
    """Give the service's role what it needs, and nothing else."""
    role, here = Identifier(SERVICE_ROLE), Identifier(schema)
    connection.execute(SQL("GRANT USAGE ON SCHEMA {} TO {}").format(here, role))
    connection.execute(SQL("GRANT INSERT, SELECT ON ledger_events TO {}").format(role))
    connection.execute(SQL("GRANT UPDATE ON gate TO {}").format(role))
    connection.execute(SQL("GRANT SELECT ON migrations TO {}").format(role))
    for table in view_tables(connection):
        statement = SQL("GRANT INSERT, SELECT, UPDATE, DELETE ON {} TO {}")
        connection.execute(statement.format(Identifier(table), role))


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
    todo = [(name, text) for name, text in migrations() if name not in done]
    for name, text in todo:
        connection.execute(text.encode())
        _record(connection, name, _digest(text))
    if done.get(VIEWS) != _digest(sql("schema")):
        _replace_views(connection)
        todo.append((VIEWS, ""))
    if todo:
        grant(connection, schema)
    return [name for name, _ in todo]


def _replace_views(connection: Connection[Any]) -> None:
    from projections.rebuild import replay  # noqa: PLC0415 - rebuild stands on this module

    for table in view_tables(connection):
        connection.execute(SQL("DROP TABLE {}").format(Identifier(table)))
    for (name,) in connection.execute(_ROW_TYPES).fetchall():
        connection.execute(SQL("DROP TYPE {}").format(Identifier(name)))
    create_views(connection)
    replay(connection)
    _record(connection, VIEWS, _digest(sql("schema")))


def _record(connection: Connection[Any], name: str, digest: str) -> None:
    connection.execute(
        "INSERT INTO migrations (name, digest) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET digest = excluded.digest",
        [name, digest],
    )


def _wanted() -> dict[str, str]:
    return {name: _digest(text) for name, text in migrations()} | {VIEWS: _digest(sql("schema"))}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
