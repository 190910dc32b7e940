"""Which database a command works on: the embedded one of --data, or the one of --database-url."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

from psycopg import AsyncConnection

from api.clocks import Now, real_now, stopped_at
from api.database import Database
from api.embedded import EmbeddedPostgres
from api.simulation import last_recorded
from api.startup import check_clock
from ledger.commands import Request
from ledger.events import Event
from ledger.writer import GroupCommit
from projections.batch import BatchViews


@contextmanager
def database_url(arguments: Namespace, *, make: bool = False) -> Iterator[str]:
    """Lend the URL of the command's database; the embedded one is shared with a service that runs.

    Only a command that makes ledgers makes a data directory: a mistyped one must not look like an empty one.
    """
    if arguments.database_url is not None:
        yield arguments.database_url
        return
    if not make and not (arguments.data / "postgres").exists():
        raise FileNotFoundError(f"there is no ledger in {arguments.data}: see --data")
    with EmbeddedPostgres(arguments.data).session() as url:
        yield url


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
