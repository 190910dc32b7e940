"""The group commit: whatever arrived while the last commit ran becomes the next transaction.

One task per ledger with a connection of its own. No timer: a batch is what has queued up. While one is
under way, the next is decided ahead if a whole one waits. Callers are answered after its commit, and no
disconnect and no time-out of a caller cancels one. An outcome that is not known is ManagerOffline: the
caller repeats with the same request id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import psycopg

from ledger.commands import Request
from ledger.definitions import Definitions
from ledger.events import Event
from ledger.refusals import ManagerOffline, Refusal
from ledger.silence import BoundedConnection, Silence
from ledger.tickets import Outcome, Ticket
from ledger.transaction import MOVED, Draft, Transaction, UnknownOutcome, Views

log = logging.getLogger("fundledger.writer")

SINGLES_MAX = 32
BULK_MAX = 1_000
BULK_AHEAD = 200
"""A bulk call of so many requests is decided ahead, while the batch before it is under way."""

QUEUE_MAX = 20_000
RETRY_AFTER_S = 1
RECONNECT_S = 1.0
"""How often a writer without a connection tries to have one, when nobody asks for anything."""

AWAY = (psycopg.OperationalError, psycopg.InterfaceError, OSError)
POISON = (UnicodeError, OverflowError, struct.error)
"""What a value raises that the database cannot hold: it slipped through the edge's checks."""


class Unreachable(Exception):
    """No connection to the database can be had."""


class CannotBeBooked(Exception):
    """One ticket alone still meets a conflict, or holds what the database cannot."""


class Ahead(NamedTuple):
    """The batch that is next, and what was decided of it before its time, if anything."""

    batch: list[Ticket]
    draft: Draft | None


class Committed(msgspec.Struct, frozen=True):
    """A batch that was carried out: how many requests, what they booked, what it took."""

    requests: int
    booked: Sequence[Event]
    seconds: float


class GroupCommit:
    """Collects requests, commits them in batches, answers each with its events or its refusal."""

    def __init__(
        self,
        *,
        connect: Callable[[], Awaitable[tuple[BoundedConnection, dict[str, int]]]],
        views: Views,
        now: Callable[[], datetime],
        queue_max: int = QUEUE_MAX,
        tell: Callable[[Committed], None] | None = None,
        behind_max: timedelta = timedelta.max,
    ) -> None:
        self._connect = connect
        self._transaction = Transaction(views, now, behind_max=behind_max, meanwhile=self._look_ahead)
        self._queue_max = queue_max
        self._tell = tell
        self._singles: deque[Ticket] = deque()
        self._bulk: deque[Ticket] = deque()
        self._waiting = 0
        self._arrived = asyncio.Event()
        self._connection: BoundedConnection | None = None
        self._closing = False
        self._was_alone = False
        self._ahead: Ahead | None = None
        self._busy_since: float | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def queue_depth(self) -> int:
        """The number of requests that wait or are being committed."""
        return self._waiting

    @property
    def busy_s(self) -> float:
        """How long the present batch has taken so far, in seconds; 0 when none is under way."""
        return 0.0 if self._busy_since is None else time.monotonic() - self._busy_since

    @property
    def connected(self) -> bool:
        """Whether it has a connection, as far as it knows."""
        return self._connection is not None and not self._connection.closed

    @property
    def clock_behind(self) -> timedelta:
        """How far the clock is behind the last event that a batch has seen; zero or less where it is not."""
        return self._transaction.behind

    @property
    def too_early(self) -> bool:
        """Whether the clock is so far behind that nothing is booked until it has caught up."""
        return self._transaction.too_early

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
            part = requests[start : start + BULK_MAX]
            try:
                outcomes += await self._enqueue(self._bulk, Ticket(part))
            except ManagerOffline as refusal:
                if not outcomes:
                    raise
                outcomes += [refusal] * len(part)  # the parts before have been booked, and say so
        return outcomes

    async def submit_atomic(self, requests: Sequence[Request], *, dry_run: bool = False) -> list[Outcome]:
        """Have requests carried out in one transaction: all, or none where one is refused.

        The outcomes end at the first refusal that is not AlreadyApplied.
        """
        return await self._enqueue(self._bulk, Ticket(requests, atomic=True, rehearsal=dry_run))

    async def confirm(self, position: int) -> None:
        """See that what is booked up to a position is safe, also on a standby that commits wait for."""
        if position > self._transaction.confirmed:
            await self._enqueue(self._singles, Ticket([]))
        if position > self._transaction.confirmed:
            raise _unknown()

    async def _enqueue(self, queue: deque[Ticket], ticket: Ticket) -> list[Outcome]:
        if self._closing:
            raise offline("closing", "the service is shutting down")
        if self._waiting and self._waiting + len(ticket.requests) > self._queue_max:
            raise offline("queue_full", "more requests wait than the ledger takes")
        self._waiting += len(ticket.requests)
        queue.append(ticket)
        self._arrived.set()
        self._look_ahead()
        return await ticket.future

    async def _run(self) -> None:
        while True:
            if not self._ahead and not self._singles and not self._bulk:
                if self._closing:
                    return
                await self._idle()
                continue
            batch, draft = self._next()
            self._busy_since = time.monotonic()
            await self._commit(batch, draft)
            self._busy_since = None
            self._waiting -= sum(len(ticket.requests) for ticket in batch)
            if self._closing and self._connection is None:
                self._turn_away(offline("closing", "the service is shutting down"))

    async def _idle(self) -> None:
        """Wait for a request; without a connection try meanwhile to have one, so that readiness is true."""
        self._arrived.clear()
        if self.connected:
            await self._arrived.wait()
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._arrived.wait(), RECONNECT_S)
            return
        try:
            await self._ensure_connected()
        except Unreachable:
            self._turn_away(_away())
        except Exception as error:  # noqa: BLE001 - such as a server that is not safe to write to
            log.warning("the writer cannot connect: %s", error)
            await self._abandon()

    def _turn_away(self, refusal: Refusal) -> None:
        """Answer all that waits; nothing of it was begun."""
        ahead = [] if self._ahead is None else self._ahead.batch
        left = [*ahead, *self._singles, *self._bulk]
        self._ahead = None
        self._singles.clear()
        self._bulk.clear()
        self._waiting -= sum(len(ticket.requests) for ticket in left)
        _answer_all(left, refusal)

    def _look_ahead(self) -> None:
        """While a batch is under way, decide the next one, if so many wait that it will hardly grow."""
        if self._ahead is None and self._transaction.under_way and self._many():
            batch = self._take()
            draft = None
            with contextlib.suppress(Exception):  # met again, and dealt with, when the batch's time comes
                draft = self._transaction.draft(batch)
            self._ahead = Ahead(batch, draft)

    def _many(self) -> bool:
        if len(self._singles) >= SINGLES_MAX:
            return True
        first = self._bulk[0].requests if self._bulk else []
        return len(first) >= BULK_AHEAD and self._transaction.may_know(first)

    def _next(self) -> Ahead:
        ahead, self._ahead = self._ahead, None
        return ahead or Ahead(self._take(), None)

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

    async def _commit(self, batch: list[Ticket], draft: Draft | None = None) -> None:
        try:
            await self._commit_or_reconnect(batch, draft)
        except Unreachable as error:
            log.warning("the database is away: %s", type(error.__cause__).__name__)
            _answer_all(batch, _away())
            self._turn_away(_away())  # or each batch would wait as long, one after the other
        except AWAY as error:
            log.warning("the database is away: %s", type(error).__name__)
            await self._abandon()
            _answer_all(batch, _away())
        except UnknownOutcome:
            await self._abandon()
            _answer_all(batch, _unknown())
        except Exception:
            log.exception("a batch of %d tickets failed", len(batch))
            await self._abandon()
            _answer_all(batch, offline("batch_failed", "the ledger could not book this"))

    async def _commit_or_reconnect(self, batch: list[Ticket], draft: Draft | None) -> None:
        """Commit; a connection that was lost before anything could be booked is replaced, once."""
        await self._ensure_connected()
        try:
            await self._commit_or_split(batch, draft)
        except AWAY as error:
            if self._transaction.booking or isinstance(error, Silence) or not self._open.closed:
                raise
            await self._abandon()
            await self._ensure_connected()
            await self._commit_or_split(batch)

    async def _commit_or_split(self, batch: list[Ticket], draft: Draft | None = None) -> None:
        """Commit; on an unexpected conflict decide again on a fresh read, then halve the batch."""
        for attempt in (1, 2):
            began = time.monotonic()
            try:
                outcomes = await self._transaction.run(self._open, batch, draft)
            except (psycopg.DatabaseError, *POISON) as error:
                if not _is_of_one(error):
                    raise
                log.warning("a batch met %s, attempt %d", type(error).__name__, attempt)
                await self._open.rollback()
                draft = None
            else:
                for ticket, outcome in zip(batch, outcomes, strict=True):
                    ticket.answer(outcome)
                self._told(batch, time.monotonic() - began)
                return
        await self._split(batch)

    def _told(self, batch: list[Ticket], seconds: float) -> None:
        """Tell whoever counts commits or follows the log."""
        if self._tell is not None:
            requests = sum(len(ticket.requests) for ticket in batch)
            self._tell(Committed(requests, self._transaction.booked, seconds))

    async def _split(self, batch: list[Ticket]) -> None:
        if len(batch) > 1:
            await self._commit(batch[: len(batch) // 2])
            await self._commit(batch[len(batch) // 2 :])
            return
        [ticket] = batch
        middle = len(ticket.requests) // 2
        if ticket.alone or not middle:
            raise CannotBeBooked
        halves = [Ticket(ticket.requests[:middle]), Ticket(ticket.requests[middle:])]
        for half in halves:
            await self._commit([half])
        ticket.answer([outcome for half in halves for outcome in half.future.result()])

    @property
    def _open(self) -> BoundedConnection:
        assert self._connection is not None
        return self._connection

    async def _ensure_connected(self) -> None:
        if self.connected:
            return
        try:
            await self._reconnect()
        except AWAY as error:
            await self._abandon()
            raise Unreachable from error

    async def _reconnect(self) -> None:
        self._connection, row_types = await self._connect()
        await self._transaction.prepare(self._connection, row_types)

    async def _abandon(self) -> None:
        """Drop the connection, so that nothing can be left open in it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                await connection.close()


def offline(code: str, detail: str) -> ManagerOffline:
    """Build the refusal of a ledger that cannot answer now."""
    return ManagerOffline(code, detail, retry_after=RETRY_AFTER_S)


def _away() -> ManagerOffline:
    return offline("database_away", "the ledger's database cannot be reached")


def _unknown() -> ManagerOffline:
    return offline("outcome_unknown", "it is not known whether this was booked")


def _is_of_one(error: Exception) -> bool:
    """Tell whether some request alone may be to blame: a key was taken, an account moved, bad data."""
    if not isinstance(error, psycopg.DatabaseError):
        return True
    of_one = (
        psycopg.IntegrityError,
        psycopg.DataError,
        psycopg.errors.SerializationFailure,
        psycopg.errors.DeadlockDetected,
    )
    return isinstance(error, of_one) or error.sqlstate == MOVED


def _answer_all(batch: Iterable[Ticket], refusal: Refusal) -> None:
    for ticket in batch:
        ticket.answer([refusal] * len(ticket.requests))
