"""Rebuild the read models from the log, and verify that the live ones are what a rebuild gives.

Both replay the log through the code that the live writes use. A rebuild fills tables in a shadow
schema while the service goes on, then catches up under the gate and swaps them in. A verification does
everything in one snapshot and leaves nothing behind.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import groupby
from operator import attrgetter
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from ledger import merkle
from ledger.account import Account
from ledger.book import Book, moment_of
from ledger.checkpoint import VerificationKey
from ledger.codec import UnknownEvent, read_event
from ledger.definitions import Definitions
from ledger.events import Event, KeyCreated
from ledger.evidence import Kept
from ledger.packing import Packed, PackedDumper
from ledger.recorder import LOCK_GATE
from ledger.transaction import BatchRead
from projections.batch import BatchViews, row_types
from projections.reports import point_reports
from projections.rights import grant
from projections.roles import become_owner
from projections.schema import (
    check_schema,
    create_views,
    insisting,
    lock_views,
    schema_of,
    view_tables,
)
from projections.sql import sql
from projections.statements import Statement
from projections.verifying import LogVerification

CHUNK = 5_000
KNOWN_MAX = 50_000
DIFFERENCES_MAX = 20
COMPARED: dict[str, LiteralString] = {
    "totals": (
        "SELECT group_name, enable, balance_day, balance_month, sum(accounts) AS accounts,"
        " sum(balance) AS balance, sum(credit) AS credit, sum(balance_before_day) AS balance_before_day,"
        " sum(balance_before_month) AS balance_before_month"
        " FROM (TABLE {schema}.totals UNION ALL TABLE {schema}.totals_added) AS kept GROUP BY 1, 2, 3, 4"
        " HAVING (sum(accounts), sum(balance), sum(credit), sum(balance_before_day),"
        " sum(balance_before_month)) <> (0, 0, 0, 0, 0)"
    ),
    "daily": (
        "SELECT server_day, group_name, kind, sum(operations) AS operations,"
        " sum(balance_change) AS balance_change, sum(credit_change) AS credit_change"
        " FROM (TABLE {schema}.daily UNION ALL TABLE {schema}.daily_added) AS kept GROUP BY 1, 2, 3"
    ),
}
"""What of a table is compared: sums with what was added since, but for those over nobody."""

PARTS = ("totals_added", "daily_added")
"""Tables that are compared with another one."""

_CHUNK = (
    "SELECT notification_id, originator_id, originator_version, topic, state, leaf_hash FROM ledger_events"
    " WHERE notification_id > %s ORDER BY notification_id LIMIT %s"
)
_ACCOUNTS = sql("read_accounts").encode()
_SHADOWS = """
SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s) AND pg_has_role(nspowner, 'USAGE')
"""

Progress = Callable[[int], None]
Found = TypeVar("Found")


class LogBroken(Exception):
    """The log itself does not hold together at a position."""

    def __init__(self, *, position: int, reason: str) -> None:
        super().__init__(f"the log is broken at position {position}: {reason}")
        self.position = position


class Replay:
    """Folds the log into the read models that the connection's search path finds, chunk by chunk."""

    def __init__(self, connection: Connection[Any]) -> None:
        connection.adapters.register_dumper(Packed, PackedDumper)
        self._connection = connection
        self._views = BatchViews(live=False)
        self._views.prepare(row_types(connection))
        self._append = f"WITH {self._views.append_sql}".encode()
        self._definitions = Definitions()
        self._limited: set[str] = set()
        self._used: dict[tuple[str, str], int] = {}
        self._last: Event | None = None
        self._known: dict[int, Account] = {}
        self._written: Future[None] = _done(None)
        self.position = 0

    def catch_up(self, progress: Progress | None = None) -> None:
        """Replay to the end of the log, as the connection sees it.

        The server reads and writes in a thread, in the order of these words, while this one folds on.
        """
        with ThreadPoolExecutor(max_workers=1) as server:
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
            self._written.result()

    def _read(self) -> list[tuple[Any, ...]]:
        return self._connection.execute(_CHUNK, [self.position, CHUNK], binary=True).fetchall()

    def _book(self, events: list[Event], server: Executor) -> None:
        first = events[0]
        if self._last is None or first.server_day != self._last.server_day:
            self._used = {}
        before = self._accounts(events, server)
        book = Book(
            moment=moment_of(first),
            head=first.position - 1,
            definitions=self._definitions,
            accounts=dict(before),
            limited=self._limited,
            used=self._used,
            previous=None if self._last is None else moment_of(self._last),
        )
        for _, operation in groupby(events, key=attrgetter("operation")):
            self._apply(book, list(operation))
        rare, params = self._views.rare(book), self._views.append_params(book, before)
        self._written.result()  # one write waits at most, and none is begun after one that failed
        self._written = server.submit(self._write, rare, params)
        self._definitions, self._last = book.definitions, events[-1]
        self._know(book.accounts)

    def _write(self, rare: list[Statement], params: dict[str, Packed]) -> None:
        for statement, values in rare:
            self._connection.execute(statement.encode(), values)
        self._connection.execute(self._append, params)

    def _apply(self, book: Book, operation: list[Event]) -> None:
        for event in operation:
            if isinstance(event, KeyCreated) and event.amount_day_max is not None:
                self._limited.add(event.key)
        book.apply(operation)

    def _accounts(self, events: list[Event], server: Executor) -> dict[int, Account]:
        """Give the accounts as they are before these events, whatever is still being written."""
        logins = {login for event in events if (login := getattr(event, "login", None)) is not None}
        known = {login: self._known[login] for login in logins if login in self._known}
        unknown = list(logins - known.keys())
        return known | server.submit(self._read_accounts, unknown).result() if unknown else known

    def _read_accounts(self, logins: list[int]) -> dict[int, Account]:
        params = self._views.reading_accounts(logins)
        read: BatchRead = self._views.load(self._connection.execute(_ACCOUNTS, params, binary=True))
        return read.accounts

    def _know(self, accounts: dict[int, Account]) -> None:
        """Keep accounts at hand; now and then begin anew, for there may be very many."""
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        self._known |= accounts


def replay(connection: Connection[Any], progress: Progress | None = None) -> int:
    """Fill empty read models from the whole log; give the position reached."""
    run = Replay(connection)
    run.catch_up(progress)
    return run.position


def rebuild(database_url: str, ledger: str, progress: Progress | None = None) -> int:
    """Replace the read models by ones made from the log, while the service goes on."""
    schema, shadow = _schemas(ledger)
    with psycopg.connect(database_url, autocommit=True) as connection:
        become_owner(connection)
        check_schema(connection, schema)
        _drop_leftovers(connection, schema)
        _create_shadow(connection, schema, shadow)
        try:
            return _replace(connection, schema, shadow, progress)
        finally:
            connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(shadow)))


def verify(
    database_url: str,
    ledger: str,
    progress: Progress | None = None,
    *,
    keys: Sequence[VerificationKey] = (),
    kept: Sequence[Kept] = (),
) -> Iterator[str]:
    """Check the log, then the live rows against a rebuild, in one snapshot; tell each thing that differs."""
    schema, shadow = _schemas(ledger)
    with psycopg.connect(database_url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        become_owner(connection)
        check_schema(connection, schema)
        log = LogVerification(connection, keys=keys, kept=kept)
        yield from log.run(progress)
        if log.broken:
            return
        _create_shadow(connection, schema, shadow)
        try:
            replay(connection, progress)
        except (LogBroken, UnknownEvent) as error:
            connection.rollback()
            yield str(error)
            return
        for table in view_tables(connection):
            if table not in PARTS:
                yield from _differences(connection, table, schema, shadow)
        connection.rollback()


def _replace(connection: Connection[Any], schema: str, shadow: str, progress: Progress | None) -> int:
    run = Replay(connection)
    run.catch_up(progress)
    for table in view_tables(connection):
        connection.execute(SQL("ANALYZE {}").format(Identifier(shadow, table)))
    insisting(lambda: _swap(connection, run, schema, shadow, progress))
    return run.position


def _schemas(ledger: str) -> tuple[str, str]:
    """Give the ledger's schema, and the name of a shadow of this run's own."""
    schema = schema_of(ledger)
    return schema, f"shadow_{schema}_{secrets.token_hex(4)}"


def _create_shadow(connection: Connection[Any], schema: str, shadow: str) -> None:
    connection.execute("SELECT pg_advisory_lock(hashtext(%s))", [shadow])  # says that its owner lives
    connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(shadow)))
    path = SQL("SET search_path TO {}, {}").format(Identifier(shadow), Identifier(schema))
    connection.execute(path)
    create_views(connection)


def _drop_leftovers(connection: Connection[Any], schema: str) -> None:
    """Drop the shadows of runs that were killed: nobody holds their locks."""
    for (shadow,) in connection.execute(_SHADOWS, [f"shadow_{schema}_"]).fetchall():
        if connection.execute("SELECT pg_try_advisory_lock(hashtext(%s))", [shadow]).fetchone() == (True,):
            connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(shadow)))
            connection.execute("SELECT pg_advisory_unlock(hashtext(%s))", [shadow])


def _swap(
    connection: Connection[Any], run: Replay, schema: str, shadow: str, progress: Progress | None
) -> None:
    """Catch up under the gate, then put the shadow's tables in the place of the live ones."""
    run.catch_up(progress)
    with connection.transaction():
        connection.execute(LOCK_GATE)
        _search(connection, schema)
        lock_views(connection)  # what may fail comes before the last catching up: it would be undone
        _search(connection, shadow, schema)
        run.catch_up(progress)
        point_reports(connection, schema)  # at the shadow's tables, which they follow: they are never gone
        for table in view_tables(connection):
            live, rebuilt = Identifier(schema, table), Identifier(shadow, table)
            connection.execute(SQL("DROP TABLE {}").format(live))
            connection.execute(SQL("ALTER TABLE {} SET SCHEMA {}").format(rebuilt, Identifier(schema)))
        _search(connection, schema)
        grant(connection, schema)


def _search(connection: Connection[Any], *schemas: str) -> None:
    path = SQL(", ").join(map(Identifier, schemas))
    connection.execute(SQL("SET LOCAL search_path TO {}").format(path))


def _differences(connection: Connection[Any], table: str, schema: str, shadow: str) -> Iterator[str]:
    live, rebuilt = compared(table, schema), compared(table, shadow)
    for one, other, word in ((live, rebuilt, "live only"), (rebuilt, live, "rebuilt only")):
        query = SQL("SELECT to_jsonb(d)::text FROM ({} EXCEPT ALL {}) AS d LIMIT {}")
        for (row,) in connection.execute(query.format(one, other, DIFFERENCES_MAX)).fetchall():
            yield f"{table}, {word}: {row}"


def compared(table: str, schema: str) -> Composed:
    """Give the rows of a table that must be the same after a rebuild."""
    rows = SQL(COMPARED.get(table, "TABLE {schema}.{table}"))
    return rows.format(schema=Identifier(schema), table=Identifier(table))


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
    for number, (position, stream, version, topic, state, leaf_hash) in enumerate(rows, start=before + 1):
        if position != number:
            raise LogBroken(position=number, reason="the event is missing")
        if merkle.leaf_hash(state) != leaf_hash:
            raise LogBroken(position=position, reason="the leaf hash is not that of the event's bytes")
        event = read_event(state, topic=topic, position=position)
        if (event.position, event.stream, event.version, event.TOPIC) != (position, stream, version, topic):
            raise LogBroken(position=position, reason="the event's bytes belong to another place")
        yield event
