"""Connections: the writer's own, pools for reads and for exports, all in the ledger's schema and role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from ledger.application import Ledger
from ledger.events import Event
from ledger.packing import Packed, PackedDumper
from projections import schema
from projections.batch import ROW_TYPE_NAMES, ROW_TYPES

READERS_MAX: Final = 4
READ_TIMEOUT_S: Final = 5.0
CHECKERS_MAX: Final = 2
FOLLOWERS_MAX: Final = 2
EXPORTERS_MAX: Final = 2
EXPORT_TIMEOUT_S: Final = 30.0
SETTINGS_NEEDED: Final = {"fsync": "on", "full_page_writes": "on", "data_checksums": "on"}

WRITER_OPTIONS: Final = {
    # Plans are made once, when tables may still be small: the writer must always go by its indexes.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "lock_timeout": "5s",  # another process that stands still with the gate must not hang the callers
    "idle_in_transaction_session_timeout": "10s",  # nor must this one, should it be stopped with the gate
}

FEEDER_OPTIONS: Final = {
    "work_mem": "128MB",  # a valuation of everything sorts and hashes a hundred thousand accounts
    "lock_timeout": "10s",  # another process that stands still with the streams must not hang the callers
    "idle_in_transaction_session_timeout": "10s",
}

ALIVE: Final[dict[str, Any]] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A peer that has gone without a word is noticed."""

Connection = AsyncConnection[Any]


class UnsafeServer(Exception):
    """The PostgreSQL server would lose what it acknowledged."""


class Database:
    """The ledger's database as the service uses it."""

    def __init__(self, url: str, ledger: str) -> None:
        self._writer = schema.conninfo_of(url, ledger, service=True, **WRITER_OPTIONS)
        self._reader = schema.conninfo_of(url, ledger, service=True, default_transaction_read_only="on")
        self._schema = schema.schema_of(ledger)
        self._log: Ledger | None = None
        self._readers = _pool(self._reader, min_size=1, max_size=READERS_MAX, timeout_s=READ_TIMEOUT_S)
        self._checkers = _pool(self._reader, min_size=1, max_size=CHECKERS_MAX, timeout_s=READ_TIMEOUT_S)
        self._exporters = _pool(self._reader, min_size=0, max_size=EXPORTERS_MAX, timeout_s=EXPORT_TIMEOUT_S)
        self._followers = _pool(self._reader, min_size=0, max_size=FOLLOWERS_MAX, timeout_s=READ_TIMEOUT_S)
        keeper = schema.conninfo_of(url, ledger, service=True)
        self._keepers = _pool(keeper, min_size=0, max_size=1, timeout_s=READ_TIMEOUT_S)

        feeder = schema.conninfo_of(url, ledger, service=True, **FEEDER_OPTIONS)
        self._feeders = _pool(feeder, min_size=0, max_size=1, timeout_s=READ_TIMEOUT_S)

    async def open(self) -> None:
        """Open the pool; checks that the schema is this version's and the server safe."""
        with psycopg.connect(self._reader) as connection:
            schema.check(connection)
            check_settings(connection)
        await self._readers.open(wait=True)
        await self._checkers.open()
        await self._exporters.open()
        await self._feeders.open()
        await self._followers.open()
        await self._keepers.open()

    async def close(self) -> None:
        """Close the pools and the log."""
        await self._readers.close()
        await self._checkers.close()
        await self._exporters.close()
        await self._feeders.close()
        await self._followers.close()
        await self._keepers.close()
        if self._log is not None:
            await asyncio.to_thread(self._log.close)

    async def stream(self, name: str, *, until: int) -> list[Event]:
        """Read a stream up to a version: time travel, through the event store library."""
        return await asyncio.to_thread(self._stream, name, until)

    def _stream(self, name: str, until: int) -> list[Event]:
        if self._log is None:
            self._log = Ledger.at(self._reader, schema=self._schema)
        return self._log.stream(name, until=until)

    async def connect_writer(self) -> tuple[Connection, dict[str, int]]:
        """Open the writer's connection; gives the oids of the row types with it."""
        connection = await AsyncConnection.connect(self._writer, autocommit=True, connect_timeout=5, **ALIVE)
        await _check_commits(connection)
        connection.prepare_threshold = None  # or a rollback drops its statements, and ours with them
        connection.adapters.register_dumper(Packed, PackedDumper)
        rows = await connection.execute(ROW_TYPES, [list(ROW_TYPE_NAMES)])
        return connection, dict(await rows.fetchall())

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Lend a connection that reads."""
        async with self._readers.connection() as connection:
            yield connection

    @asynccontextmanager
    async def checking(self) -> AsyncIterator[Connection]:
        """Lend a connection that looks one thing up: no report delays a key or an expiry."""
        async with self._checkers.connection() as connection:
            yield connection

    @asynccontextmanager
    async def following(self) -> AsyncIterator[Connection]:
        """Lend a connection that reads the log on, for one step at a time."""
        async with self._followers.connection() as connection:
            yield connection

    @asynccontextmanager
    async def keeping(self) -> AsyncIterator[Connection]:
        """Lend the connection that stores what was refused."""
        async with self._keepers.connection() as connection:
            yield connection

    @asynccontextmanager
    async def feeding(self) -> AsyncIterator[Connection]:
        """Lend the connection that writes observations and figures."""
        async with self._feeders.connection() as connection:
            yield connection

    @asynccontextmanager
    async def exporting(self) -> AsyncIterator[Connection]:
        """Lend a connection that reads for as long as its caller likes."""
        async with self._exporters.connection() as connection:
            yield connection


def _pool(
    conninfo: str, *, min_size: int, max_size: int, timeout_s: float
) -> AsyncConnectionPool[Connection]:
    return AsyncConnectionPool(
        conninfo,
        min_size=min_size,
        max_size=max_size,
        open=False,
        timeout=timeout_s,
        check=AsyncConnectionPool.check_connection,
        kwargs={"autocommit": True, "connect_timeout": 5},
        reconnect_timeout=1,
    )


async def _check_commits(connection: Connection) -> None:
    """Refuse a connection whose COMMIT would be answered before it is safe."""
    query = "SELECT current_setting('synchronous_commit'), current_setting('synchronous_standby_names')"
    found = await (await connection.execute(query)).fetchone()
    assert found is not None
    commit, standbys = found
    if commit == "off" or (commit == "local" and standbys):
        await connection.close()
        raise UnsafeServer(f"PostgreSQL runs with synchronous_commit = {commit}; commits must be safe")


def check_settings(connection: psycopg.Connection[Any]) -> None:
    """Refuse a server that does not write through to the disk."""
    for name, needed in SETTINGS_NEEDED.items():
        found = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
        if found != (needed,):
            raise UnsafeServer(f"PostgreSQL runs with {name} = {found and found[0]}; it must be {needed}")
