"""A ledger's schema in PostgreSQL: its name, its connections, its tables, and whether it is up to date.

Everything of a ledger is in one schema. What the service may do with each table is decided here; the
roles that carry these rights are those of projections.roles.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import Connection
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from ledger.events import topics
from ledger.refusals import ValidationError
from ledger.sql import migrations
from projections.obstacles import SchemaForeign
from projections.sql import kept, sql

OWNER = "fundledger_owner"
"""The role that owns the schemas of all ledgers and everything in them."""

LOG_TABLES = {
    "ledger_events": "INSERT, SELECT",
    "gate": "UPDATE",  # which its lock takes
    "migrations": "SELECT",
    "tree_nodes": "INSERT, SELECT",
    "checkpoints": "INSERT, SELECT",
}
"""What stands with the log, and what the writer may do there: a new table is decided on here."""

OBSERVATIONS = {
    "quotes": "INSERT, SELECT, UPDATE",
    "positions": "INSERT, SELECT, UPDATE, DELETE",
    "snapshots": "INSERT, SELECT, UPDATE, DELETE",
    "position_parts": "INSERT, SELECT, UPDATE, DELETE",
    "online": "INSERT, SELECT, DELETE",
    "feed_streams": "SELECT, UPDATE",
    "valuation": "SELECT, UPDATE",
    "figures": "INSERT, SELECT, UPDATE",
    "figure_totals": "INSERT, SELECT, UPDATE",
    "regroupings": "INSERT, SELECT, DELETE",
}
READ_MODELS = {
    "requests": "INSERT, SELECT",
    "accounts": "INSERT, SELECT, UPDATE",
    "profiles": "INSERT, SELECT, UPDATE",
    "history": "INSERT, SELECT, UPDATE (reversed_by)",
    "days": "INSERT, SELECT, DELETE",
    "key_usage": "INSERT, SELECT, UPDATE",
    "totals": "INSERT, SELECT, UPDATE, DELETE",
    "totals_added": "INSERT, SELECT, DELETE",
    "daily": "INSERT, SELECT, UPDATE",
    "daily_added": "INSERT, SELECT, DELETE",
    "symbols": "INSERT, SELECT, UPDATE",
    "groups": "INSERT, SELECT, UPDATE",
    "server": "INSERT, SELECT, UPDATE",
    "keys": "INSERT, SELECT, UPDATE (version), UPDATE (revoked_at)",
}
KEPT = LOG_TABLES | {"refusals": "INSERT, SELECT"} | OBSERVATIONS
TABLES = KEPT | READ_MODELS
"""Every table of a ledger, with the writer's rights: what its statements take, and no more."""

KEPT_TABLES = tuple(KEPT)
"""What a rebuild leaves alone."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_VIEW_TABLES = """
SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace
AND c.relkind = 'r' AND c.relname <> ALL(%s) ORDER BY 1
"""
_REPORT_VIEWS = """
SELECT c.relname FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace
AND c.relkind = 'v' AND starts_with(c.relname, 'report_') ORDER BY 1
"""
_LEDGERS = """
SELECT n.nspname FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid
WHERE c.relname = 'ledger_events' AND starts_with(n.nspname, 'ledger_') ORDER BY 1
"""
VIEWS = "views"
REPORTS = "reports"
EVENT = "event "
"""Begins the names, among the migrations, of the event types that the log may hold."""

SETTINGS = {
    "TimeZone": "UTC",
    "jit": "off",
    # Whatever a login or a database prefers: what is booked hangs on it.
    "default_transaction_isolation": "read committed",
}
LOCK_WAIT_MS = 300  # less than it takes PostgreSQL to look for a deadlock: the reader wins
LOCK_TRIES = 40
LOCK_PAUSE_S = 0.1
_READ_FIRST = ("groups", "server")

T = TypeVar("T")


class SchemaOutdated(Exception):
    """The schema is missing or older than this version; `fundledger migrate` brings it up to date."""


class LedgerMissing(SchemaOutdated):
    """The database has no ledger of this name; `others` are those that it has."""

    def __init__(self, ledger: str, others: Sequence[str]) -> None:
        has = f"it has {', '.join(others)}" if others else "it has none"
        super().__init__(f"there is no ledger {ledger} in this database: {has}")
        self.others = others


def schema_of(ledger: str) -> str:
    """Give the schema of a ledger; ValidationError `bad_ledger` for a name that cannot be one."""
    if not _NAME.fullmatch(ledger):
        raise ValidationError(
            "bad_ledger", "a ledger's name is a small letter, then small letters, digits or _", field="ledger"
        )
    return f"ledger_{ledger}"


def writer_of(schema: str) -> str:
    """Name the role that a ledger's service works as."""
    return f"{schema}_writer"


def conninfo_of(database_url: str, ledger: str, *, service: bool = False, **options: str) -> str:
    """Give the conninfo of connections that work in the ledger's schema, as its writer if asked."""
    schema = schema_of(ledger)
    settings = SETTINGS | {"search_path": search_path(schema)} | options
    if service:
        settings["role"] = writer_of(schema)
    given = psycopg.conninfo.conninfo_to_dict(database_url).get("options") or ""
    flags = " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())
    return make_conninfo(database_url, options=f"{given} {flags}".strip(), client_encoding="UTF8")


def search_path(schema: str) -> str:
    """Give the search path that finds a schema's tables, and never a temporary one in their place."""
    return f"{schema},pg_temp"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")


def check_exists(connection: Connection[Any], schema: str) -> None:
    """Raise LedgerMissing unless there is such a schema; every login can ask this."""
    if connection.execute("SELECT to_regnamespace(%s)", [schema]).fetchone() == (None,):
        raise LedgerMissing(_ledger_in(schema), _ledgers(connection))


def check(connection: Connection[Any]) -> None:
    """Raise SchemaOutdated unless the schema on the search path is this version's."""
    if connection.execute("SELECT to_regclass('migrations')").fetchone() == (None,):
        raise SchemaOutdated("the ledger does not exist in this database yet")
    done = dict(connection.execute("SELECT name, digest FROM migrations").fetchall())
    check_known(done)
    missing = [name for name, digest in wanted().items() if done.get(name) != digest]
    if missing:
        raise SchemaOutdated(f"the ledger's schema lacks {', '.join(missing)}")


def check_known(done: Mapping[str, str]) -> None:
    """Raise SchemaForeign where a migration was applied that this version has not, or has otherwise."""
    known, texts = wanted(), dict(numbered())
    foreign = [name for name in done if name not in known or (name in texts and done[name] != known[name])]
    if foreign:
        raise SchemaForeign(
            f"the ledger's schema was made by another version of fundledger: this one does not know"
            f" {', '.join(sorted(foreign))}; install that version or a later one"
        )


def check_schema(connection: Connection[Any], schema: str) -> None:
    """Set the search path to a schema and check it."""
    connection.execute(SQL("SET search_path TO {}, pg_temp").format(Identifier(schema)))
    check(connection)


def ledgers(database_url: str) -> list[str]:
    """Name the ledgers of a database."""
    with psycopg.connect(database_url) as connection:
        return _ledgers(connection)


def _ledgers(connection: Connection[Any]) -> list[str]:
    return [_ledger_in(schema) for (schema,) in connection.execute(_LEDGERS).fetchall()]


def _ledger_in(schema: str) -> str:
    return schema.removeprefix("ledger_")


def create_views(connection: Connection[Any]) -> None:
    """Create the read models, empty, in the schema on the search path."""
    connection.execute(sql("schema").encode())


def view_tables(connection: Connection[Any]) -> list[str]:
    """Name the tables of the read models in the schema on the search path."""
    return [name for (name,) in connection.execute(_VIEW_TABLES, [list(KEPT_TABLES)]).fetchall()]


def report_views(connection: Connection[Any]) -> list[str]:
    """Name the reporting views in the schema on the search path."""
    return [name for (name,) in connection.execute(_REPORT_VIEWS).fetchall()]


def lock_views(connection: Connection[Any]) -> None:
    """Shut readers out of the read models until the transaction ends, or give up soon.

    Reports come first, then the definitions, as readers take them; but readers take tables in many orders,
    so whoever comes into their way must be able to let go and try again: see `insisting`.
    """
    tables = sorted(view_tables(connection), key=lambda table: (table not in _READ_FIRST, table))
    tables = [*report_views(connection), *tables]
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


def numbered() -> list[tuple[str, str]]:
    """Give name and text of every migration of what cannot be rebuilt, in order."""
    return [*migrations(), *kept.migrations()]


def wanted() -> dict[str, str]:
    """Give what the table `migrations` must hold, by name: digests, and the event types known."""
    digests = {name: digest_of(text) for name, text in numbered()}
    made_anew = {VIEWS: digest_of(sql("schema")), REPORTS: digest_of(sql("reports"))}
    return digests | made_anew | {f"{EVENT}{topic}": "" for topic in topics()}


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
