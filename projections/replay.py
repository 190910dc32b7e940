"""Replay the log: fold its events into empty read models, by the code that the live writes use.

What an event means is told by the same functions as when it was booked (`evolve`, the rows of a batch, its
sums). Only the way of the rows into the tables is another: history and requests are copied, and an account is
written when it is not at hand any more, not after each event.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, TypeVar

from psycopg import Connection

from ledger.account import Account
from ledger.book import Book, moment_of
from ledger.continuity import missing, read_stored
from ledger.definitions import Definitions
from ledger.events import AccountOpened, Event, KeyCreated
from ledger.packing import Packed, PackedDumper
from ledger.transaction import BatchRead
from projections.batch import BatchViews, applied, changed, legs, row_types, states
from projections.copying import Copying, csv_of
from projections.sql import sql
from projections.statements import Statement
from projections.unindexed import Unindexed

CHUNK = 5_000
KNOWN_MAX = 50_000
SWITCH_S = 0.0001
"""For how long the thread that keeps the server busy waits for the one that folds: by default it is 5 ms."""

_CHUNK = (
    "SELECT notification_id, originator_id, originator_version, topic, state, leaf_hash FROM ledger_events"
    " WHERE notification_id > %s ORDER BY notification_id LIMIT %s"
)
_ACCOUNTS = sql("read_accounts").encode()

Progress = Callable[[int], None]
Found = TypeVar("Found")


class Replay:
    """Folds the log into the read models that the connection's search path finds, chunk by chunk."""

    def __init__(self, connection: Connection[Any]) -> None:
        connection.adapters.register_dumper(Packed, PackedDumper)
        self._connection = connection
        self._views = BatchViews(live=False)
        self._views.prepare(row_types(connection))
        self._append = f"WITH {self._views.append_sql}".encode()
        self._history = Copying(connection, "history", "history_leg")
        self._requests = Copying(connection, "requests", "applied_request")
        self._definitions = Definitions()
        self._limited: set[str] = set()
        self._used: dict[tuple[str, str], int] = {}
        self._last: Event | None = None
        self._known: dict[int, Account] = {}
        self._stored: dict[int, Account | None] = {}
        """The accounts that are known otherwise than the database has them, as it has them."""
        self._unwritten: Callable[[], None] | None = None
        self._strangers = False
        """Whether accounts had to be read: then a write waits for the next read, which it would hold up."""
        self._written: Future[None] = _done(None)
        self._over = False
        self.position = 0

    def catch_up(self, progress: Progress | None = None, *, last: bool = False) -> None:
        """Replay to the end of the log, as the connection sees it; for the last time, if it may be undone.

        The server reads and writes in a thread, in the order of these words, while this one folds on.
        A replay that broke off cannot go on: it would leave out what it had read and not written.
        """
        if self._over:
            raise RuntimeError("the replay broke off, and nothing was replaced: begin it again")
        self._over = True
        self._catch_up(progress)
        self._over = last

    def _catch_up(self, progress: Progress | None) -> None:
        with _at_full_speed(), ThreadPoolExecutor(max_workers=1) as server:
            found = server.submit(self._read)
            while rows := found.result():
                chunk = _whole(list(_checked(rows, self.position)))
                self.position = chunk[-1].position
                # What is booked meanwhile is for the next time: there may be no end to it.
                found = server.submit(self._read) if len(rows) == CHUNK else _done([])
                for _, events in groupby(chunk, key=attrgetter("server_day", "trading_day")):
                    self._book(list(events), server)
                if progress is not None:
                    progress(self.position)
            self._forget(server)
            self._written.result()

    def _read(self) -> list[tuple[Any, ...]]:
        return stored_after(self._connection, self.position)

    def _book(self, events: list[Event], server: Executor) -> None:
        before = self._accounts(events, server)
        book = self._folded(events, before)
        after = changed(book, before)
        self._unwritten = self._writing(book, before, after)
        if not self._strangers:
            self._begin_to_write(server)
        self._definitions, self._last = book.definitions, events[-1]
        self._know(after, before)
        if len(self._known) > KNOWN_MAX:
            self._forget(server)

    def _folded(self, events: list[Event], before: dict[int, Account]) -> Book:
        """Take the events of one day into a book that stands on those before them."""
        first, last = events[0], self._last
        if last is None or first.server_day != last.server_day:
            self._used = {}
        book = Book(
            moment=moment_of(first),
            head=first.position - 1,
            definitions=self._definitions,
            accounts=dict(before),
            limited=self._limited_after(events),
            used=self._used,
            previous=None if last is None else moment_of(last),
        )
        book.recall(events)
        return book

    def _writing(self, book: Book, before: dict[int, Account], after: list[Account]) -> Callable[[], None]:
        """Make what is to be written of a book, but for its accounts; give the work that writes it."""
        rare = self._views.rare(book)
        totals, daily = self._views.sums_changed(book, before, after)
        params = self._views.packed(totals=totals, daily=daily)
        return partial(self._write, rare, params, csv_of(legs(book)), csv_of(applied(book)))

    def _begin_to_write(self, server: Executor) -> None:
        """Begin to write what was folded last."""
        if self._unwritten is not None:
            self._submit(server, self._unwritten)
            self._unwritten = None

    def _submit(self, server: Executor, write: Callable[[], None]) -> None:
        self._written.result()  # one write waits at most, and none is begun after one that failed
        self._written = server.submit(write)

    def _write(
        self, rare: list[Statement], params: dict[str, Packed], legs: bytes = b"", requests: bytes = b""
    ) -> None:
        for statement, values in rare:
            self._connection.execute(statement.encode(), values)
        self._history.add(legs)
        self._requests.add(requests)
        self._connection.execute(self._append, params)

    def _limited_after(self, events: list[Event]) -> set[str]:
        """Name the keys with a daily limit; nothing is booked by one before it is there."""
        created = (event for event in events if isinstance(event, KeyCreated))
        self._limited |= {event.key for event in created if event.amount_day_max is not None}
        return self._limited

    def _accounts(self, events: list[Event], server: Executor) -> dict[int, Account]:
        """Give the accounts as they are before these events, whatever is still being written."""
        logins = {login for event in events if (login := getattr(event, "login", None)) is not None}
        known = {login: self._known[login] for login in logins if login in self._known}
        opened = {event.login for event in events if isinstance(event, AccountOpened)}
        unknown = list(logins - known.keys() - opened)
        self._strangers = bool(unknown)
        read = server.submit(self._read_accounts, unknown) if unknown else _done({})
        self._begin_to_write(server)
        return known | read.result()

    def _read_accounts(self, logins: list[int]) -> dict[int, Account]:
        params = self._views.reading_accounts(logins)
        read: BatchRead = self._views.load(self._connection.execute(_ACCOUNTS, params, binary=True))
        return read.accounts

    def _know(self, after: list[Account], before: dict[int, Account]) -> None:
        for account in after:
            self._stored.setdefault(account.login, before.get(account.login))
            self._known[account.login] = account

    def _forget(self, server: Executor) -> None:
        """Write what the database does not know yet, and keep no account at hand: there may be very many."""
        self._begin_to_write(server)
        logins = list(self._stored)
        for start in range(0, len(logins), CHUNK):
            accounts = [self._known[login] for login in logins[start : start + CHUNK]]
            params = self._views.packed(accounts=states(accounts, self._stored))
            self._submit(server, partial(self._write, [], params))
        self._known, self._stored = {}, {}


def replayed(connection: Connection[Any], progress: Progress | None = None) -> Replay:
    """Fill empty read models from the whole log; give the run, which can catch up."""
    tables = Unindexed(connection)
    run = Replay(connection)
    run.catch_up(progress)
    tables.index()
    return run


def stored_after(connection: Connection[Any], position: int) -> list[tuple[Any, ...]]:
    """Read the events of the log after a position, as `Stored` has them; CHUNK of them at most."""
    return connection.execute(_CHUNK, [position, CHUNK], binary=True).fetchall()


@contextmanager
def _at_full_speed() -> Iterator[None]:
    """Look for no garbage, as a fold makes none in circles, and have threads take turns sooner.

    That is of the whole process, in which one replay runs at a time.
    """
    collecting, switching = gc.isenabled(), sys.getswitchinterval()
    gc.disable()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(switching)
        if collecting:
            gc.enable()


def _done(result: Found) -> Future[Found]:
    future: Future[Found] = Future()
    future.set_result(result)
    return future


def _whole(chunk: list[Event]) -> list[Event]:
    """Leave out an operation that may not have come to its end."""
    if len(chunk) < CHUNK:
        return chunk
    last = chunk[-1].operation
    return [event for event in chunk if event.operation != last] or chunk


def _checked(rows: list[tuple[Any, ...]], before: int) -> Iterator[Event]:
    for position, row in enumerate(rows, start=before + 1):
        if row[0] != position:
            raise missing(position, row[0])
        yield read_stored(row)
