"""What is measured on: an embedded PostgreSQL of the bench's own, and ledgers in it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Final

import psycopg
import uvloop

from api.clocks import real_now
from api.database import Database
from api.embedded import EmbeddedPostgres
from api.keys import make_key
from api.scopes import ROLES
from bench.process import end_when_told, family
from ledger.commands import Command, CreateKey, DefineGroup, Deposit, OpenAccount, Request
from ledger.money import Amount, parse_amount
from ledger.writer import BULK_MAX, GroupCommit
from projections import install, schema
from projections.batch import BatchViews

GROUP: Final = "standard"
CURRENCY: Final = "USD"
DIGITS: Final = 2
LOGIN_FIRST: Final = 1001
LOGINS: Final = 1000
PAST: Final = 10
AMOUNT: Final = parse_amount("125.50")
COMMENT: Final = "card payment"

_numbers = count(1)


class Ledger:
    """A ledger with nothing but its schema; `owner` is the command that makes `key` known."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name
        self.superuser = schema.conninfo_of(url, name)
        key = make_key(name)
        self.key = key.text
        self.owner = CreateKey(
            key=key.key_id,
            name="bench",
            role="manager",
            scopes=ROLES["manager"],
            groups="*",
            secret_hash=key.secret_hash,
        )
        install.migrate(url, name)

    @asynccontextmanager
    async def writer(
        self, *, now: Callable[[], datetime] = real_now, views: BatchViews | None = None
    ) -> AsyncIterator[GroupCommit]:
        """Lend a group commit such as the service runs."""
        connect = Database(self.url, self.name).connect_writer
        writer = GroupCommit(connect=connect, views=views or BatchViews(), now=now)
        await writer.start()
        try:
            yield writer
        finally:
            await writer.stop()

    def execute(self, statement: str) -> None:
        """Run a statement as superuser in the ledger's schema."""
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            connection.execute(statement.encode())

    def take_over(self) -> None:
        """Let the ledger's owner have what was made there: a service trusts no schema that others own."""
        install.migrate(self.url, self.name)

    def length(self) -> int:
        """Count the events."""
        with psycopg.connect(self.superuser) as connection:
            [[events]] = connection.execute("SELECT count(*) FROM ledger_events").fetchall()
        return int(events)


def small_ledger(url: str, name: str) -> Ledger:
    """Make a ledger with LOGINS accounts from LOGIN_FIRST on, and PAST deposits on each."""
    ledger = Ledger(url, name)
    uvloop.run(_fill(ledger))
    # As autovacuum would within a minute: statements are planned for a ledger that has a past.
    ledger.execute("VACUUM ANALYZE")
    return ledger


async def _fill(ledger: Ledger) -> None:
    commands: list[Command] = [
        DefineGroup(group=GROUP, currency=CURRENCY),
        ledger.owner,
        *(OpenAccount(login=LOGIN_FIRST + number, group=GROUP) for number in range(LOGINS)),
    ]
    async with ledger.writer() as writer:
        await carry_out(writer, commands)
        for _ in range(PAST):
            await book(writer, [deposit(LOGIN_FIRST + number) for number in range(LOGINS)])


class Ground:
    """A running PostgreSQL."""

    def __init__(self, directory: Path, postgres: EmbeddedPostgres) -> None:
        self.directory = directory
        self.postgres = postgres
        self.url = postgres.url()

    def ledger(self) -> Ledger:
        """Make a small ledger that nobody else has."""
        return small_ledger(self.url, self.new_name())

    def new_name(self) -> str:
        """Give a ledger's name that nobody else has."""
        return f"bench_{next(_numbers)}"

    def pids(self) -> list[int]:
        """Name the server's processes."""
        assert self.postgres.pid is not None
        return family(self.postgres.pid)


@contextmanager
def ground() -> Iterator[Ground]:
    """Start a server with the service's own settings in a directory of its own; leave nothing behind."""
    # Directly under /tmp: PostgreSQL runs under another account when we are root, and must reach it.
    directory = Path(tempfile.mkdtemp(prefix="fundledger-bench-"))
    directory.chmod(0o755)
    postgres = EmbeddedPostgres(directory / "data")
    end_when_told()
    try:
        postgres.start()
        postgres.create_database_if_missing()
        yield Ground(directory, postgres)
    finally:
        postgres.stop()
        shutil.rmtree(directory)


async def book_deposits(ledger: Ledger, number: int) -> None:
    """Book so many deposits to a small ledger's accounts in turn, two calls at a time."""
    turns = iter(range(0, number, BULK_MAX))
    async with ledger.writer() as writer:

        async def call() -> None:
            for start in turns:
                some = range(start, min(start + BULK_MAX, number))
                await book(writer, [deposit(LOGIN_FIRST + place % LOGINS) for place in some])

        await asyncio.gather(call(), call())


async def carry_out(writer: GroupCommit, commands: Sequence[Command]) -> None:
    """Have commands carried out; none may be refused."""
    await book(writer, [Request(command=command, request_id=new_id()) for command in commands])


async def book(writer: GroupCommit, requests: list[Request]) -> None:
    """Have requests carried out; none may be refused."""
    for outcome in await writer.submit_bulk(requests):
        if isinstance(outcome, Exception):
            raise outcome


def deposit(login: int, amount: Amount = AMOUNT) -> Request:
    """Ask for a deposit that was not asked for before."""
    return Request(command=Deposit(login=login, amount=amount, comment=COMMENT), request_id=new_id())


def new_id() -> str:
    """Make a request id."""
    return f"bench-{next(_numbers)}"
