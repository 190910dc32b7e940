"""A ledger's schema in PostgreSQL: its name, its connections, its tables, and whether it is up to date.

Everything of a ledger is in one schema. The service's role may INSERT and SELECT in the log, lock the
gate, and write the read models; it owns nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from ledger.refusals import ValidationError
from ledger.sql import migrations
from projections.sql import kept, sql

SERVICE_ROLE = "fundledger_service"
LOG_TABLES = ("ledger_events", "gate", "migrations")
OBSERVATIONS = (
    "quotes",
    "positions",
    "snapshots",
    "position_parts",
    "online",
    "feed_streams",
    "valuation",
    "figures",
    "figure_totals",
    "regroupings",
)
KEPT_TABLES = (*LOG_TABLES, "refusals", *OBSERVATIONS)
"""What a rebuild leaves alone."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_VIEW_TABLES = """
SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace
AND c.relkind = 'r' AND c.relname <> ALL(%s) ORDER BY 1
"""
_LEDGERS = """
SELECT n.nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
WHERE c.relname = 'ledger_events' AND starts_with(n.nspname, 'ledger_') ORDER BY 1
"""
VIEWS = "views"
LOCK_WAIT_MS = 300  # less than it takes PostgreSQL to look for a deadlock: the reader wins
LOCK_TRIES = 40
LOCK_PAUSE_S = 0.1
_READ_FIRST = ("groups", "server")

T = TypeVar("T")


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
    settings = {"search_path": schema_of(ledger), "TimeZone": "UTC", "jit": "off", **options}
    if service:
        settings["role"] = SERVICE_ROLE
    given = psycopg.conninfo.conninfo_to_dict(database_url).get("options") or ""
    flags = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return make_conninfo(database_url, options=f"{given} {flags}".strip())


def check(connection: Connection[Any]) -> None:
    """Raise SchemaOutdated unless the schema on the search path is this version's."""
    if connection.execute("SELECT to_regclass('migrations')").fetchone() == (None,):
        raise SchemaOutdated("the ledger does not exist in this database yet")
    done = dict(connection.execute("SELECT name, digest FROM migrations").fetchall())
    missing = [name for name, text in wanted().items() if done.get(name) != text]
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
    return [name for (name,) in connection.execute(_VIEW_TABLES, [list(KEPT_TABLES)]).fetchall()]


def lock_views(connection: Connection[Any]) -> None:
    """Shut readers out of the read models until the transaction ends, or give up soon.

    The definitions come first, as readers take them; but readers take tables in many orders, so whoever
    comes into their way must be able to let go and try again: see `insisting`.
    """
    tables = sorted(view_tables(connection), key=lambda table: (table not in _READ_FIRST, table))
    connection.execute(SQL("SET LOCAL lock_timeout = {}").format(f"{LOCK_WAIT_MS}ms"))
    names = SQL(", ").join(Identifier(table) for table in tables)
    connection.execute(SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(names))
    connection.execute("SET LOCAL lock_timeout = 0")


def insisting(attempt: Callable[[], T]) -> T:
    """Try again where readers were in the way, some seconds long."""
    for _ in range(LOCK_TRIES - 1):
        with contextlib.suppress(psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            return attempt()
        time.sleep(LOCK_PAUSE_S)
    return attempt()


def grant(connection: Connection[Any], schema: str) -> None:
    """Give the service's role what it needs, and nothing else."""
    role, here = Identifier(SERVICE_ROLE), Identifier(schema)
    connection.execute(SQL("GRANT USAGE ON SCHEMA {} TO {}").format(here, role))
    connection.execute(SQL("GRANT INSERT, SELECT ON ledger_events TO {}").format(role))
    connection.execute(SQL("GRANT UPDATE ON gate TO {}").format(role))
    connection.execute(SQL("GRANT SELECT ON migrations TO {}").format(role))
    connection.execute(SQL("GRANT INSERT, SELECT ON refusals TO {}").format(role))
    for table in (*OBSERVATIONS, *view_tables(connection)):
        statement = SQL("GRANT INSERT, SELECT, UPDATE, DELETE ON {} TO {}")
        connection.execute(statement.format(Identifier(table), role))


def numbered() -> list[tuple[str, str]]:
    """Give name and text of every migration of what cannot be rebuilt, in order."""
    return [*migrations(), *kept.migrations()]


def wanted() -> dict[str, str]:
    return {name: digest_of(text) for name, text in numbered()} | {VIEWS: digest_of(sql("schema"))}


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
