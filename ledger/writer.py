"""The group commit: whatever arrived while the last commit ran becomes the next transaction.

One task per ledger with a connection of its own. Each batch takes two round trips: BEGIN, the gate and
one read; then, after the decisions in Python, one statement that books everything, and COMMIT. Only
then are the callers answered. No disconnect and no time-out of a caller cancels a commit. An outcome
that is not known is ManagerOffline: the caller repeats with the same request id.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Any, Protocol

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.errors import Diagnostic

from ledger import recorder
from ledger.account import Account
from ledger.book import Book, Head, Moment, Operation, ReferenceKey, moment_after
from ledger.clock import DayWindow
from ledger.codec import read_event
from ledger.commands import Request, StartSimulation
from ledger.decide import decide
from ledger.definitions import Definitions
from ledger.events import Event
from ledger.packing import RowPacker
from ledger.refusals import AlreadyApplied, Fault, ManagerOffline, Refusal

log = logging.getLogger("fundledger.writer")

SINGLES_MAX = 32
BULK_MAX = 1_000
QUEUE_MAX = 20_000
RETRY_AFTER_S = 1

Outcome = list[Event] | Refusal


class BatchRead(msgspec.Struct):
    """What one read brought: the head of the log and everything that the requests touch."""

    position: int = 0
    definitions_position: int = 0
    login_max: int = 0
    head: bytes | None = None
    accounts: dict[int, Account] = {}
    requests: dict[str, Operation] = {}
    references: dict[ReferenceKey, Operation] = {}
    operations: dict[int, Operation] = {}
    reversals: dict[int, int] = {}
    used: dict[tuple[str, str, date], int] = {}
    keys: dict[str, int] = {}


class Reads(Protocol):
    """What the writer needs of the read side before it decides."""

    read_sql: str

    def read_params(self, requests: Sequence[Request]) -> dict[str, Any]:
        """Name what the decisions of these requests will look at."""
        ...

    def load(self, rows: Iterable[tuple[Any, ...]]) -> BatchRead:
        """Sort the rows of the read."""
        ...

    async def load_definitions(self, connection: AsyncConnection[Any]) -> Definitions:
        """Read all definitions again."""
        ...


class Appends(Protocol):
    """What the writer needs of the read side after it decided."""

    append_sql: str

    def prepare(self, row_types: dict[str, int]) -> None:
        """Take the oids that the row types have in this database."""
        ...

    def append_params(self, book: Book, before: dict[int, Account]) -> dict[str, Any]:
        """Pack what the batch changes."""
        ...

    def rare(self, book: Book) -> list[tuple[str, dict[str, Any]]]:
        """Give the statements beside the one that books the batch."""
        ...


class Views(Reads, Appends, Protocol):
    """Both sides of a batch."""


class Ticket:
    """Requests that came together, and the future of their outcomes.

    An `atomic` ticket books all of its requests or none; a `rehearsal` decides them one on top of the
    other and books none. Both have a transaction to themselves.
    """

    __slots__ = ("atomic", "future", "rehearsal", "requests")

    def __init__(self, requests: Sequence[Request], *, atomic: bool = False, rehearsal: bool = False) -> None:
        self.requests = requests
        self.atomic = atomic
        self.rehearsal = rehearsal
        self.future: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()

    @property
    def alone(self) -> bool:
        """Whether the ticket has a transaction to itself."""
        return self.atomic or self.rehearsal

    def answer(self, outcomes: list[Outcome]) -> None:
        """Wake the caller, if it still waits."""
        if not self.future.done():
            self.future.set_result(outcomes)


class GroupCommit:
    """Collects requests, commits them in batches, answers each with its events or its refusal."""

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[tuple[AsyncConnection[Any], dict[str, int]]]],
        views: Views,
        now: Callable[[], datetime],
        queue_max: int = QUEUE_MAX,
    ) -> None:
        self._connect = connect
        self._transaction = Transaction(views, now)
        self._queue_max = queue_max
        self._singles: deque[Ticket] = deque()
        self._bulk: deque[Ticket] = deque()
        self._waiting = 0
        self._arrived = asyncio.Event()
        self._connection: AsyncConnection[Any] | None = None
        self._closing = False
        self._was_alone = False
        self._task: asyncio.Task[None] | None = None

    @property
    def queue_depth(self) -> int:
        """The number of requests that wait or are being committed."""
        return self._waiting

    @property
    def definitions(self) -> Definitions:
        """The definitions as of the last batch."""
        return self._transaction.definitions

    async def start(self) -> None:
        """Connect and begin to serve."""
        await self._reconnect()
        self._task = asyncio.create_task(self._run(), name="group-commit")

    async def stop(self) -> None:
        """Drain what was accepted, then let the connection go."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task
        if self._connection is not None:
            await self._connection.close()

    async def submit(self, request: Request) -> list[Event]:
        """Have one request carried out; give its events or raise its refusal."""
        [outcome] = await self._enqueue(self._singles, Ticket([request]))
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    async def submit_bulk(self, requests: Sequence[Request], *, dry_run: bool = False) -> list[Outcome]:
        """Have independent requests carried out in order, in as few transactions as the cap allows."""
        if dry_run:
            return await self._enqueue(self._bulk, Ticket(requests, rehearsal=True))
        outcomes: list[Outcome] = []
        for start in range(0, len(requests), BULK_MAX):
            outcomes += await self._enqueue(self._bulk, Ticket(requests[start : start + BULK_MAX]))
        return outcomes

    async def submit_atomic(self, requests: Sequence[Request], *, dry_run: bool = False) -> list[Outcome]:
        """Have requests carried out in one transaction: all, or none where one is refused.

        The outcomes end at the first refusal that is not AlreadyApplied.
        """
        return await self._enqueue(self._bulk, Ticket(requests, atomic=True, rehearsal=dry_run))

    async def _enqueue(self, queue: deque[Ticket], ticket: Ticket) -> list[Outcome]:
        if self._closing:
            raise offline("closing", "the service is shutting down")
        if self._waiting and self._waiting + len(ticket.requests) > self._queue_max:
            raise offline("queue_full", "more requests wait than the ledger takes")
        self._waiting += len(ticket.requests)
        queue.append(ticket)
        self._arrived.set()
        return await ticket.future

    async def _run(self) -> None:
        while True:
            if not self._singles and not self._bulk:
                if self._closing:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            batch = self._take()
            await self._commit(batch)
            self._waiting -= sum(len(ticket.requests) for ticket in batch)

    def _take(self) -> list[Ticket]:
        """Take the next batch: singles and bulk calls up to their caps, or one that wants to be alone.

        Singles go first after a lonely one, so that neither kind can starve the other.
        """
        if self._bulk and self._bulk[0].alone and not (self._singles and self._was_alone):
            self._was_alone = True
            return [self._bulk.popleft()]
        self._was_alone = False
        batch = [self._singles.popleft() for _ in range(min(len(self._singles), SINGLES_MAX))]
        room = BULK_MAX
        while self._bulk and not self._bulk[0].alone and len(self._bulk[0].requests) <= room:
            ticket = self._bulk.popleft()
            room -= len(ticket.requests)
            batch.append(ticket)
        return batch

    async def _commit(self, batch: list[Ticket]) -> None:
        try:
            if self._connection is None or self._connection.closed:
                await self._reconnect()
            await self._commit_or_split(batch)
        except (psycopg.OperationalError, psycopg.InterfaceError, OSError) as error:
            log.warning("the database is away: %s", type(error).__name__)
            await self._abandon()
            _answer_all(batch, offline("database_away", "the ledger's database cannot be reached"))
        except UnknownOutcome:
            await self._abandon()
            _answer_all(batch, offline("outcome_unknown", "it is not known whether this was booked"))
        except Exception:
            log.exception("a batch of %d tickets failed", len(batch))
            await self._abandon()
            _answer_all(batch, offline("batch_failed", "the ledger could not book this"))

    async def _commit_or_split(self, batch: list[Ticket]) -> None:
        """Commit; on an unexpected conflict decide again on a fresh read, then halve the batch."""
        for attempt in (1, 2):
            try:
                outcomes = await self._transaction.run(self._open, batch)
            except psycopg.DatabaseError as error:
                if not _is_conflict(error):
                    raise
                log.warning("a batch met a conflict, attempt %d: %s", attempt, error.sqlstate)
                await self._open.rollback()
            else:
                for ticket, outcome in zip(batch, outcomes, strict=True):
                    ticket.answer(outcome)
                return
        await self._split(batch)

    async def _split(self, batch: list[Ticket]) -> None:
        if len(batch) > 1:
            await self._commit(batch[: len(batch) // 2])
            await self._commit(batch[len(batch) // 2 :])
            return
        [ticket] = batch
        middle = len(ticket.requests) // 2
        if ticket.alone or not middle:
            raise ConflictPersists
        halves = [Ticket(ticket.requests[:middle]), Ticket(ticket.requests[middle:])]
        for half in halves:
            await self._commit([half])
        ticket.answer([outcome for half in halves for outcome in half.future.result()])

    @property
    def _open(self) -> AsyncConnection[Any]:
        assert self._connection is not None
        return self._connection

    async def _reconnect(self) -> None:
        self._connection, row_types = await self._connect()
        await self._transaction.prepare(self._connection, row_types)

    async def _abandon(self) -> None:
        """Drop the connection, so that nothing can be left open in it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class UnknownOutcome(Exception):
    """COMMIT was sent, and whether it took hold everywhere is not known."""


class ConflictPersists(Exception):
    """One ticket alone keeps meeting a conflict."""


MOVED = "FL001"


class Transaction:
    """One batch's way through the database, on the writer's connection."""

    def __init__(self, views: Views, now: Callable[[], datetime]) -> None:
        self._views = views
        self._now = now
        self._packer: RowPacker | None = None
        self._window: DayWindow | None = None
        self._head = Head()
        self.definitions = Definitions()
        self._append_sql = f"WITH {recorder.APPEND_LOG.strip()},\n{views.append_sql}".encode()
        self._read_sql = views.read_sql.encode()

    async def prepare(self, connection: AsyncConnection[Any], row_types: dict[str, int]) -> None:
        """Forget what another connection knew; take this one's row types, and the definitions."""
        self._packer = recorder.entry_packer(row_types)
        self._views.prepare(row_types)
        self._head = Head()
        self.definitions = await self._views.load_definitions(connection)

    async def run(self, connection: AsyncConnection[Any], batch: Sequence[Ticket]) -> list[list[Outcome]]:
        """Read, decide, book, commit; give the outcomes of each ticket."""
        requests = [request for ticket in batch for request in ticket.requests]
        read = await self._read(connection, requests)
        if read.definitions_position != self.definitions.position:
            self.definitions = await self._views.load_definitions(connection)
        if any(isinstance(request.command, StartSimulation) for request in requests):
            self._head = Head(read.position)
        book = self._book(read, requests)
        outcomes = [_decide_ticket(book, ticket) for ticket in batch]
        if book.booked:
            await self._append(connection, book, read.accounts)
            self.definitions = book.definitions
        else:
            await connection.execute(b"ROLLBACK")
        return outcomes

    async def _read(self, connection: AsyncConnection[Any], requests: Sequence[Request]) -> BatchRead:
        params = self._views.read_params(requests)
        cursor = connection.cursor(binary=True)
        async with connection.pipeline():
            await connection.execute(b"BEGIN", prepare=True)
            await connection.execute(recorder.LOCK_GATE, prepare=True)
            await cursor.execute(self._read_sql, params, prepare=True)
        return self._views.load(await cursor.fetchall())

    def _book(self, read: BatchRead, requests: Sequence[Request]) -> Book:
        moment = self._moment(read)
        return Book(
            moment=moment,
            head=read.position,
            definitions=self.definitions,
            accounts=dict(read.accounts),
            requests=read.requests,
            references=read.references,
            operations=read.operations,
            reversals=read.reversals,
            used={
                (key, name): used for (key, name, day), used in read.used.items() if day == moment.server_day
            },
            limited={key for key in map(_limited_key, requests) if key is not None},
            keys=read.keys,
            login_max=read.login_max,
        )

    def _moment(self, read: BatchRead) -> Moment:
        if read.position != self._head.position:
            assert read.head is not None
            last = read_event(read.head, topic="", position=read.position)
            self._head = Head(read.position, Moment(last.recorded_at, last.server_day, last.trading_day))
        now = self._now()
        clock = self.definitions.clock
        if self._window is None or self._window.clock != clock or not self._window.contains(now):
            self._window = DayWindow.of(clock, now)
        return moment_after(self._head, now, self._window)

    async def _append(self, connection: AsyncConnection[Any], book: Book, before: dict[int, Account]) -> None:
        assert self._packer is not None
        params = self._views.append_params(book, before)
        params["entries"] = recorder.entries(self._packer, book.booked)
        rare = self._views.rare(book)
        await self._book_and_commit(connection, params, rare)
        self._head = Head(book.head + len(book.booked), book.moment)

    async def _book_and_commit(
        self,
        connection: AsyncConnection[Any],
        params: dict[str, Any],
        rare: list[tuple[str, dict[str, Any]]],
    ) -> None:
        cursor = connection.cursor()
        warned: list[str | None] = []

        def warn(notice: Diagnostic) -> None:
            warned.append(notice.sqlstate)  # a notice is empty once its handler has returned

        connection.add_notice_handler(warn)
        try:
            async with connection.pipeline():
                for statement, values in rare:
                    await connection.execute(statement.encode(), values)
                await cursor.execute(self._append_sql, params, prepare=True)
                await connection.execute(b"COMMIT", prepare=True)
        finally:
            connection.remove_notice_handler(warn)
        if "01000" in warned:
            raise UnknownOutcome


def offline(code: str, detail: str) -> ManagerOffline:
    """Build the refusal of a ledger that cannot answer now."""
    return ManagerOffline(code, detail, retry_after=RETRY_AFTER_S)


def _limited_key(request: Request) -> str | None:
    return request.caller.key_id if request.caller.access.amount_day_max is not None else None


def _is_conflict(error: psycopg.DatabaseError) -> bool:
    """Tell whether deciding again on a fresh read may help: a key was taken, an account moved."""
    retryable = (psycopg.IntegrityError, psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
    return isinstance(error, retryable) or error.sqlstate == MOVED


def _decide_ticket(book: Book, ticket: Ticket) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for request in ticket.requests:
        outcome = _decide_one(book, request, ticket)
        outcomes.append(outcome)
        if ticket.atomic and isinstance(outcome, Refusal) and not isinstance(outcome, AlreadyApplied):
            break
    if ticket.rehearsal or (ticket.atomic and any(isinstance(outcome, Refusal) for outcome in outcomes)):
        book.booked.clear()
    return outcomes


def _decide_one(book: Book, request: Request, ticket: Ticket) -> Outcome:
    try:
        events = decide(book, request)
    except Refusal as refusal:
        return refusal
    except Exception:
        log.exception("a %s could not be decided", type(request.command).__name__)
        return Fault("fault", "the service met a fault of its own; nothing was booked")
    if ticket.rehearsal or not request.dry_run:
        book.apply(events)
    return events


def _answer_all(batch: Iterable[Ticket], refusal: Refusal) -> None:
    for ticket in batch:
        ticket.answer([refusal] * len(ticket.requests))
