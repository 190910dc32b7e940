"""Drive a real ledger: its group commit on PostgreSQL, with a clock that stands where it is put."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import AsyncConnection, Connection

from api.database import Database
from ledger.account import Account, evolve
from ledger.application import Ledger
from ledger.commands import Command, Request
from ledger.events import Event, decode
from ledger.refusals import Refusal
from ledger.writer import GroupCommit
from projections import schema
from projections.batch import BatchViews
from tests.make import NOW, deposit, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from ledger.commands import Caller
    from ledger.silence import BoundedConnection
    from ledger.tickets import Outcome

HANG_S = 60
"""A test that waits this long waits for something that does not come."""


class Clock:
    """Tells the time that it was last given."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **delta: float) -> datetime:
        """Go on by a time span."""
        self.now += timedelta(**delta)
        return self.now


class LedgerUnderTest:
    """An empty ledger of a test's own, as the superuser and the service see it."""

    def __init__(self, database_url: str, name: str) -> None:
        self.database_url = database_url
        self.name = name
        self.schema = schema.schema_of(name)
        self.superuser = schema.conninfo_of(database_url, name)
        self.service = schema.conninfo_of(database_url, name, service=True)

    @contextmanager
    def connect(self) -> Iterator[Connection[Any]]:
        """Open a superuser's connection in the ledger's schema."""
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            yield connection

    def rows(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """Run a statement as superuser; give its rows."""
        with self.connect() as connection:
            cursor = connection.execute(query.encode(), params)
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *params: object) -> Any:
        """Run a query as superuser; give its one value."""
        [[value]] = self.rows(query, *params)
        return value

    def positions(self) -> list[int]:
        """Give the positions of the whole log, in order."""
        return [p for (p,) in self.rows("SELECT notification_id FROM ledger_events ORDER BY 1")]

    def log(self) -> list[Event]:
        """Give the whole log, checked to be at positions 1..N without a gap."""
        rows = self.rows("SELECT notification_id, state FROM ledger_events ORDER BY 1")
        assert [position for position, _ in rows] == list(range(1, len(rows) + 1))
        return [decode(state) for _, state in rows]

    def balance(self, login: int = 1001) -> int:
        """Give the balance of the accounts row, in minor units."""
        return int(self.value("SELECT balance FROM accounts WHERE login = %s", login))

    def library(self) -> Ledger:
        """Open the ledger through the event store library."""
        return Ledger.at(self.superuser, schema=self.schema)

    @contextmanager
    def gate_held(self) -> Iterator[Connection[Any]]:
        """Keep every batch waiting at the gate."""
        with psycopg.connect(self.superuser) as holder:
            holder.execute("LOCK TABLE gate IN EXCLUSIVE MODE")
            yield holder
            holder.rollback()

    @asynccontextmanager
    async def desk(
        self, *, clock: Callable[[], datetime] | None = None, **options: Any
    ) -> AsyncIterator[Desk]:
        """Serve the ledger through a group commit of the desk's own."""
        desk = Desk(self, clock or Clock(), options)
        await desk.writer.start()
        try:
            yield desk
        finally:
            await desk.writer.stop()


class Desk:
    """A group commit and the words to use it by."""

    def __init__(
        self, ledger: LedgerUnderTest, clock: Callable[[], datetime], options: dict[str, Any]
    ) -> None:
        self.ledger = ledger
        self.clock = clock
        self._database = Database(ledger.database_url, ledger.name)
        self.connections: list[BoundedConnection] = []
        self.writer = GroupCommit(connect=self._connect, views=BatchViews(), now=clock, **options)

    @property
    def pid(self) -> int:
        """The server process of the present connection."""
        return self.connections[-1].info.backend_pid

    async def book(
        self, command: Command, request_id: str | None = None, *, caller: Caller | None = None
    ) -> list[Event]:
        """Have one command carried out."""
        return await self.writer.submit(request(command, request_id, caller=caller))

    async def outcome(
        self, command: Command, request_id: str | None = None, *, caller: Caller | None = None
    ) -> Outcome:
        """Have one command carried out; give its events or its refusal."""
        try:
            return await self.book(command, request_id, caller=caller)
        except Refusal as refusal:
            return refusal

    async def code(
        self, command: Command, request_id: str | None = None, *, caller: Caller | None = None
    ) -> str:
        """Have one command carried out; give `booked` or the code of its refusal."""
        return code_of(await self.outcome(command, request_id, caller=caller))

    def start(self, *requests: Request) -> list[asyncio.Task[Outcome]]:
        """Put requests into the queue, in order, without waiting for their outcomes."""
        return [asyncio.create_task(self.outcome(r.command, r.request_id, caller=r.caller)) for r in requests]

    async def together(self, *requests: Request) -> list[Outcome]:
        """Have requests carried out in one batch: they arrive while the batch before waits at the gate.

        A batch that books nothing goes first, so that all of them are in the queue when it ends.
        """
        with self.ledger.gate_held():
            first = asyncio.create_task(self.outcome(deposit(login=404)))
            await self.until_waiting()
            rest = self.start(*requests)
            await settled(lambda: self.writer.queue_depth == 1 + len(requests))
        await first
        return list(await asyncio.gather(*rest))

    async def until_waiting(self) -> None:
        """Wait until a batch of this desk waits for a lock."""
        async with await AsyncConnection.connect(self.ledger.superuser, autocommit=True) as watcher:
            async with asyncio.timeout(HANG_S):
                while True:
                    cursor = await watcher.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", [self.pid])
                    if await cursor.fetchone() == (True,):
                        return

    async def _connect(self) -> tuple[BoundedConnection, dict[str, int]]:
        connection, row_types = await self._database.connect_writer()
        self.connections.append(connection)
        return connection, row_types


async def settled(condition: Callable[[], bool]) -> None:
    """Let other tasks run until a condition holds."""
    async with asyncio.timeout(HANG_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)


def code_of(outcome: Outcome) -> str:
    """Say `booked`, or the code of the refusal."""
    return outcome.code if isinstance(outcome, Refusal) else "booked"


def codes_of(outcomes: Sequence[Outcome]) -> list[str]:
    """Say `booked`, or the code of the refusal, of each."""
    return [code_of(outcome) for outcome in outcomes]


def folded(log: Sequence[Event]) -> dict[int, Account]:
    """Add the log up to accounts, without any code of the write path but `evolve`."""
    accounts: dict[int, Account] = {}
    for event in log:
        login = getattr(event, "login", None)
        if login is not None:
            accounts[login] = evolve(accounts.get(login), event)
    return accounts
