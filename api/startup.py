"""What must be so before a ledger is opened: each check refuses, and says what to put right."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import psycopg

from ledger.codec import UnknownEvent
from ledger.events import topics
from projections import rights, roles, schema
from projections.obstacles import Obstacle

VERSIONS: Final = range(15, 19)
SETTINGS_NEEDED: Final = {"fsync": "on", "full_page_writes": "on", "data_checksums": "on"}
REMEDIES: Final = {"data_checksums": "stop it and run `pg_checksums --enable`"}
CLOCK_BEHIND_MAX: Final = timedelta(seconds=60)
"""How far the clock may be behind the last event: so far, recorded time stands still."""

STANDBY: Final = "PostgreSQL is a standby: give the address of its primary"
LAST_EVENTS: Final = 1_000
_UNREADABLE = """
SELECT last.notification_id, last.topic FROM (
    SELECT notification_id, topic FROM ledger_events ORDER BY notification_id DESC LIMIT %s
) AS last WHERE last.topic <> ALL(%s) ORDER BY 1 LIMIT 1
"""


class UnsafeServer(Obstacle):
    """The PostgreSQL server would lose what it acknowledged, or cannot be written to."""


class ClockBehind(Obstacle):
    """The machine's clock is behind the ledger's last event."""


def check(connection: psycopg.Connection[Any], ledger: str) -> None:
    """Check the server, the login, the roles, the schema and the end of the log; works as the writer then."""
    here = schema.schema_of(ledger)
    check_server(connection)
    check_settings(connection)
    schema.check_exists(connection, here)
    roles.become_writer(connection, here)
    schema.check_schema(connection, here)
    rights.check(connection, here)
    check_events(connection)


def check_database(url: str) -> None:
    """Refuse a database in which no ledger can be."""
    with psycopg.connect(url) as connection:
        check_server(connection)


def check_server(connection: psycopg.Connection[Any]) -> None:
    """Refuse a server of another version, in another encoding, or that takes no writes."""
    version = connection.info.server_version // 10_000
    if version not in VERSIONS:
        raise UnsafeServer(f"PostgreSQL is of version {version}; it must be {VERSIONS[0]} to {VERSIONS[-1]}")
    [(encoding, standby, read_only)] = connection.execute(_STATE).fetchall()
    if encoding != "UTF8":
        raise UnsafeServer(f"the database is in {encoding}: make one with ENCODING UTF8, and restore into it")
    if standby:
        raise UnsafeServer(STANDBY)
    if read_only == "on":
        raise UnsafeServer("the database takes no writes: default_transaction_read_only must be off")


def check_settings(connection: psycopg.Connection[Any]) -> None:
    """Refuse a server that does not write through to the disk."""
    for name, needed in SETTINGS_NEEDED.items():
        found = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
        if found != (needed,):
            remedy = REMEDIES.get(name, f"ALTER SYSTEM SET {name} = {needed}, and reload it")
            raise UnsafeServer(f"PostgreSQL runs with {name} = {found and found[0]}: {remedy}")


def check_events(connection: psycopg.Connection[Any]) -> None:
    """Refuse a log whose last events this version cannot read; those further back a rebuild finds."""
    found = connection.execute(_UNREADABLE, [LAST_EVENTS, topics()]).fetchone()
    if found is not None:
        position, topic = found
        raise UnknownEvent(position=position, topic=topic, reason="install the version that wrote it")


def check_clock(now: datetime, last_recorded: datetime | None, behind_max: timedelta) -> None:
    """Refuse a clock that is too far behind the last event: it is wrong, or the one of that event was."""
    if last_recorded is not None and last_recorded - now > behind_max:
        raise ClockBehind(
            f"the machine's clock says {now.isoformat(timespec='seconds')}, and the last event is of"
            f" {last_recorded.isoformat(timespec='seconds')}: put the clock right, or wait for it to catch up"
        )


_STATE = """
SELECT current_setting('server_encoding'), pg_is_in_recovery(), current_setting('transaction_read_only')
"""
