"""Connections: the writer's own and a pool for each kind of read, all in the ledger's schema and role."""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

import msgspec
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from api import startup
from api.startup import STANDBY, UnsafeServer
from ledger.application import Ledger
from ledger.events import Event
from ledger.packing import Packed, PackedDumper
from ledger.silence import BoundedConnection, BoundedThreadConnection, Listening, Silence, within
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
READ_SILENCE_MAX_S: Final = 35.0
"""How long a read may say nothing; a little longer than the server lets its statement run."""
FEED_SILENCE_MAX_S: Final = 60.0
STREAM_MAX_S: Final = 60.0  # the library asks again and again
EXPORT_SILENCE_MAX_S: Final = 300.0  # by effective time the server sorts all before it says a word
CONNECT_TIMEOUT_S: Final = 5
RESTED_S: Final = 1.0
CHECK_S: Final = 2.0
"""How long a connection that has rested may take for a sign of life, before another is made."""

WRITER_OPTIONS: Final = {
    # Plans are made once, when tables may still be small: the writer must always go by its indexes.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "lock_timeout": "5s",  # another process that stands still with the gate must not hang the callers
    "idle_in_transaction_session_timeout": "10s",  # nor must this one, should it be stopped with the gate
    # That no standby has confirmed a commit is said by a warning alone: it must get through.
    "client_min_messages": "warning",
}

READER_OPTIONS: Final = {
    "default_transaction_read_only": "on",
    "client_connection_check_interval": "10s",
    "statement_timeout": "30s",  # longer than a caller waits: a read that nobody reads must not go on
}

SEALER_OPTIONS: Final = {
    # A seal that a standby lacks is made anew from the log: none of them waits for a standby.
    "synchronous_commit": "local",
    "statement_timeout": "30s",
    "enable_seqscan": "off",  # its plans too are made while tables may be small
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

Connection = BoundedConnection


class PoolFull(PoolTimeout):
    """All connections of a pool were lent for as long as a caller waits."""


class PoolUse(msgspec.Struct, frozen=True):
    """How a pool stands: connections that there are, may be and are lent, and callers that wait for one."""

    size: int
    size_max: int
    in_use: int
    waiting: int


class Pool:
    """The connections for one purpose."""

    def __init__(
        self,
        conninfo: str,
        *,
        max_size: int,
        min_size: int = 0,
        timeout_s: float = READ_TIMEOUT_S,
        silence_max_s: float | None = None,
    ) -> None:
        self._max_size = max_size
        self._silence_max_s = silence_max_s
        self._lent = 0
        self._waiting = 0
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            conninfo,
            connection_class=BoundedConnection,
            configure=self._configure,
            min_size=min_size,
            max_size=max_size,
            open=False,
            timeout=timeout_s,
            check=self._check,
            kwargs={"autocommit": True, "connect_timeout": CONNECT_TIMEOUT_S, **ALIVE},
            reconnect_timeout=1,
        )

    async def open(self, *, wait: bool = False) -> None:
        """Open the pool, and wait for its first connections if asked."""
        await self._pool.open(wait=wait)

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    @property
    def use(self) -> PoolUse:
        """How it stands."""
        return PoolUse(self._pool.get_stats()["pool_size"], self._max_size, self._lent, self._waiting)

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """Lend a connection; PoolFull where all are in use, PoolTimeout where none can be made."""
        async with AsyncExitStack() as stack:
            self._waiting += 1  # the pool's own count holds those who gave up, until a connection is free
            try:
                connection = await self._pool.getconn()
            except PoolTimeout as error:
                if self._lent < self._max_size:
                    raise
                raise PoolFull(str(error)) from error
            finally:
                self._waiting -= 1
            self._lent += 1
            stack.push_async_callback(self._take_back, connection)
            await stack.enter_async_context(connection)
            try:
                yield connection
            except Silence:
                await self._pool.drain()  # the others lead to the same server
                raise

    async def _configure(self, connection: Connection) -> None:
        connection.heard_at = time.monotonic()
        if self._silence_max_s is not None:
            connection.silence_max_s = self._silence_max_s

    async def _check(self, connection: Connection) -> None:
        """Ask a connection that has rested, or whose server said something: it may lead nowhere by now."""
        if time.monotonic() - connection.heard_at < RESTED_S and not _said_something(connection):
            return
        try:
            with Listening(connection.pgconn, CHECK_S):
                await AsyncConnectionPool.check_connection(connection)
        except Silence:
            await self._pool.drain()
            raise

    async def _take_back(self, connection: Connection) -> None:
        """Take a connection back; whoever is cancelled meanwhile must not take it along."""
        self._lent -= 1
        await asyncio.shield(asyncio.create_task(self._pool.putconn(connection)))


class Database:
    """The ledger's database as the service uses it."""

    def __init__(self, url: str, ledger: str) -> None:
        def conninfo(**options: str) -> str:
            return schema.conninfo_of(url, ledger, service=True, **options)

        self._ledger = ledger
        self._login = schema.conninfo_of(url, ledger)
        self._writer = conninfo(**WRITER_OPTIONS)
        # A read that nobody waits for any more ends by itself, whatever the server was started with.
        self._reader = conninfo(default_transaction_read_only="on", client_connection_check_interval="10s")
        self._schema = schema.schema_of(ledger)
        self._log: Ledger | None = None
        bounded = conninfo(**READER_OPTIONS)
        self._readers = Pool(bounded, min_size=1, max_size=READERS_MAX, silence_max_s=READ_SILENCE_MAX_S)
        self._reporters = Pool(bounded, max_size=REPORTERS_MAX, silence_max_s=READ_SILENCE_MAX_S)
        self._answerers = Pool(bounded, min_size=1, max_size=ANSWERERS_MAX)
        self._checkers = Pool(bounded, min_size=1, max_size=CHECKERS_MAX)
        self._exporters = Pool(
            self._reader,
            max_size=EXPORTERS_MAX,
            timeout_s=EXPORT_TIMEOUT_S,
            silence_max_s=EXPORT_SILENCE_MAX_S,
        )
        self._followers = Pool(self._reader, max_size=FOLLOWERS_MAX)
        self._keepers = Pool(conninfo(), max_size=1)
        self._feeders = Pool(conninfo(**FEEDER_OPTIONS), max_size=1, silence_max_s=FEED_SILENCE_MAX_S)
        self._sealers = Pool(conninfo(**SEALER_OPTIONS), max_size=1, silence_max_s=READ_SILENCE_MAX_S)
        self._pools = {
            "readers": self._readers,
            "reporters": self._reporters,
            "answerers": self._answerers,
            "checkers": self._checkers,
            "exporters": self._exporters,
            "followers": self._followers,
            "keepers": self._keepers,
            "feeders": self._feeders,
            "sealers": self._sealers,
        }

    async def open(self) -> None:
        """Open the pools, after everything has been checked that must be so before."""
        with BoundedThreadConnection.connect(self._login, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            startup.check(connection, self._ledger)
        for pool in self._pools.values():
            await pool.open(wait=pool is self._readers)

    async def close(self) -> None:
        """Close the pools and the log."""
        for pool in self._pools.values():
            await pool.close()
        if self._log is not None:
            await asyncio.to_thread(self._log.close)

    def pools_in_use(self) -> dict[str, PoolUse]:
        """Say how each pool stands."""
        return {name: pool.use for name, pool in self._pools.items()}

    async def stream(self, name: str, *, until: int) -> list[Event]:
        """Read a stream up to a version: time travel, through the event store library."""
        try:
            return await within(STREAM_MAX_S, asyncio.to_thread(self._stream, name, until))
        except TimeoutError as error:
            raise Silence(f"the stream {name} could not be read in time") from error

    def _stream(self, name: str, until: int) -> list[Event]:
        if self._log is None:
            self._log = Ledger.at(self._reader, schema=self._schema)
        return self._log.stream(name, until=until)

    async def connect_writer(self) -> tuple[Connection, dict[str, int]]:
        """Open the writer's connection; gives the oids of the row types with it."""
        connection = await BoundedConnection.connect(
            self._writer, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, **ALIVE
        )
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

    def sealing(self) -> AbstractAsyncContextManager[Connection]:
        """Lend the connection that seals."""
        return self._sealers.lend()

    def exporting(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection that reads for as long as its caller likes."""
        return self._exporters.lend()


def _said_something(connection: Connection) -> bool:
    """Tell whether the server said something unasked, such as goodbye."""
    listening = select.poll()
    listening.register(connection.fileno(), select.POLLIN)
    return bool(listening.poll(0))


async def _check_commits(connection: Connection) -> None:
    """Refuse a connection whose COMMIT would be answered before it is safe, or that leads to a standby."""
    [(commit, standbys, standby)] = await (await connection.execute(_COMMITS)).fetchall()
    if commit == "off" or (commit == "local" and standbys):
        await connection.close()
        raise UnsafeServer(
            f"PostgreSQL runs with synchronous_commit = {commit}: commits must be safe,"
            f" so set it to on, where it stands for the server, the database or the login"
        )
    if standby:
        await connection.close()
        raise UnsafeServer(STANDBY)


_COMMITS = """
SELECT current_setting('synchronous_commit'), current_setting('synchronous_standby_names'),
    pg_is_in_recovery()
"""
