"""Which database a command works on: the embedded one of --data, or the one of --database-url."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import AsyncConnection, Connection

from api.clocks import Now, real_now, stopped_at
from api.database import Database
from api.embedded import EmbeddedPostgres
from api.settings import DEFAULTS, Settings
from api.simulation import last_recorded
from api.startup import check_clock
from ledger.commands import Request
from ledger.events import Event
from ledger.writer import GroupCommit
from projections import roles, schema, verifying
from projections.batch import BatchViews
from projections.obstacles import Obstacle


class NoLedger(Obstacle):
    """There is no data directory where one was looked for."""


@contextmanager
def database_url(settings: Settings, *, make: bool = False) -> Iterator[str]:
    """Lend the URL of the command's database; the embedded one is shared with a service that runs.

    Only a command that makes ledgers makes a data directory: a mistyped one must not look like an empty one.
    """
    if settings.database_url is not None:
        yield settings.database_url
        return
    if not make and not (settings.data / "postgres").exists():
        raise NoLedger(f"there is no ledger in {settings.data}: give the --data that its service has")
    with EmbeddedPostgres(settings.data).session() as url:
        yield url


def again(settings: Settings) -> str:
    """Repeat where a command looked, for the command that comes next."""
    if settings.database_url is not None:
        words = " --database-url URL"
    else:
        words = "" if settings.data == DEFAULTS["data"] else f" --data {shlex.quote(str(settings.data))}"
    return words if settings.ledger == DEFAULTS["ledger"] else f"{words} --ledger {settings.ledger}"


@contextmanager
def reading(url: str, ledger: str, *, as_owner: bool = False) -> Iterator[Connection[Any]]:
    """Lend a connection that reads the ledger's log and tables, once they are known to be this version's."""
    with psycopg.connect(schema.conninfo_of(url, ledger), autocommit=True) as connection:
        schema.check_exists(connection, schema.schema_of(ledger))
        if as_owner:
            roles.become_owner(connection)
        else:
            roles.become_reader(connection, schema.schema_of(ledger))
        schema.check(connection)
        yield connection


def extent(url: str, ledger: str) -> tuple[int, int]:
    """Give the head of the log, and how far it is sealed, to who may rebuild."""
    with reading(url, ledger, as_owner=True) as connection:
        head, sealed = verifying.extent(connection)
    return head, sealed


async def book(url: str, ledger: str, requests: list[Request]) -> list[list[Event]]:
    """Have requests booked beside the service's own, whatever its clock; raises the first refusal."""
    async with writing(url, ledger) as writer:
        return [await writer.submit(request) for request in requests]


@asynccontextmanager
async def writing(
    url: str, ledger: str, *, behind_max: timedelta = timedelta.max
) -> AsyncIterator[GroupCommit]:
    """Lend a writer of the command's own, beside the service's, on the ledger's clock."""
    async with opened(url, ledger) as database:
        async with database.reading() as connection:
            now = await _clock(connection)
            check_clock(now(), await last_recorded(connection), behind_max)
        async with writing_at(database, now) as writer:
            yield writer


@asynccontextmanager
async def opened(url: str, ledger: str) -> AsyncIterator[Database]:
    """Lend the ledger's database."""
    database = Database(url, ledger)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def writing_at(database: Database, now: Now) -> AsyncIterator[GroupCommit]:
    """Lend a writer on a clock."""
    writer = GroupCommit(connect=database.connect_writer, views=BatchViews(), now=now)
    await writer.start()
    try:
        yield writer
    finally:
        await writer.stop()


async def _clock(connection: AsyncConnection[Any]) -> Now:
    """Give the real clock, or a simulated ledger's last recorded time."""
    definitions = await BatchViews().load_definitions(connection)
    last = await last_recorded(connection)
    return real_now if definitions.simulated_from is None or last is None else stopped_at(last)
