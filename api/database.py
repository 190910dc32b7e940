"""Connections: the writer's own and a pool for each kind of read, all in the ledger's schema and role."""

from __future__ import annotations

import asyncio
import select
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from ledger.application import Ledger
from ledger.events import Event
from ledger.packing import Packed, PackedDumper
from projections import schema
from projections.batch import ROW_TYPE_NAMES, ROW_TYPES

READERS_MAX: Final = 4
REPORTERS_MAX: Final = 2
ANSWERERS_MAX: Final = 2
CHECKERS_MAX: Final = 2
READ_TIMEOUT_S: Final = 5.0
"""How long a read waits for a connection."""
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

READER_OPTIONS: Final = {
    "default_transaction_read_only": "on",
    "statement_timeout": "30s",  # longer than a caller waits: a read that nobody reads must not go on
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


class PoolFull(PoolTimeout):
    """All connections of a pool were lent for as long as a caller waits."""


class Pool:
    """The connections for one purpose."""

    def __init__(
        self, conninfo: str, *, max_size: int, min_size: int = 0, timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        self._max_size = max_size
        self._lent = 0
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            conninfo,
            min_size=min_size,
            max_size=max_size,
            open=False,
            timeout=timeout_s,
            check=_check_alive,
            kwargs={"autocommit": True, "connect_timeout": 5},
            reconnect_timeout=1,
        )

    async def open(self, *, wait: bool = False) -> None:
        """Open the pool, and wait for its first connections if asked."""
        await self._pool.open(wait=wait)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """Lend a connection; PoolFull where all are in use, PoolTimeout where none can be made."""
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(self._pool.connection())
            except PoolTimeout as error:
                if self._lent < self._max_size:
                    raise
                raise PoolFull(str(error)) from error
            self._lent += 1
            stack.callback(self._returned)
            yield connection

    def _returned(self) -> None:
        self._lent -= 1


class Database:
    """The ledger's database as the service uses it."""

    def __init__(self, url: str, ledger: str) -> None:
        def conninfo(**options: str) -> str:
            return schema.conninfo_of(url, ledger, service=True, **options)

        self._writer = conninfo(**WRITER_OPTIONS)
        self._reader = conninfo(default_transaction_read_only="on")
        self._schema = schema.schema_of(ledger)
        self._log: Ledger | None = None
        bounded = conninfo(**READER_OPTIONS)
        self._readers = Pool(bounded, min_size=1, max_size=READERS_MAX)
        self._reporters = Pool(bounded, max_size=REPORTERS_MAX)
        self._answerers = Pool(bounded, min_size=1, max_size=ANSWERERS_MAX)
        self._checkers = Pool(bounded, min_size=1, max_size=CHECKERS_MAX)
        self._exporters = Pool(self._reader, max_size=EXPORTERS_MAX, timeout_s=EXPORT_TIMEOUT_S)
        self._followers = Pool(self._reader, max_size=FOLLOWERS_MAX)
        self._keepers = Pool(conninfo(), max_size=1)
        self._feeders = Pool(conninfo(**FEEDER_OPTIONS), max_size=1)
        self._pools = (
            *(self._readers, self._reporters, self._answerers, self._checkers),
            *(self._exporters, self._followers, self._keepers, self._feeders),
        )

    async def open(self) -> None:
        """Open the pools; checks that the schema is this version's and the server safe."""
        with psycopg.connect(self._reader) as connection:
            schema.check(connection)
            check_settings(connection)
        for pool in self._pools:
            await pool.open(wait=pool is self._readers)

    async def close(self) -> None:
        """Close the pools and the log."""
        for pool in self._pools:
            await pool.close()
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

    def reading(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection that reads."""
        return self._readers.lend()

    def reporting(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection that adds up much."""
        return self._reporters.lend()

    def answering(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection that looks up what a write is answered with: no long read delays that."""
        return self._answerers.lend()

    def checking(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection that looks one thing up: no report delays a key or an expiry."""
        return self._checkers.lend()

    def following(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection that reads the log on, for one step at a time."""
        return self._followers.lend()

    def keeping(self) -> AbstractAsyncContextManager[Connection]:
        """Lend the connection that stores what was refused."""
        return self._keepers.lend()

    def feeding(self) -> AbstractAsyncContextManager[Connection]:
        """Lend the connection that writes observations and figures."""
        return self._feeders.lend()

    def exporting(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection that reads for as long as its caller likes."""
        return self._exporters.lend()


async def _check_alive(connection: Connection) -> None:
    """Ask a connection only where the server said something unasked, such as goodbye."""
    listening = select.poll()
    listening.register(connection.fileno(), select.POLLIN)
    if listening.poll(0):
        await AsyncConnectionPool.check_connection(connection)


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
