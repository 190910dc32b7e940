"""Which database a command works on: the embedded one of --data, or the one of --database-url."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import AsyncConnection

from api.clocks import Now, real_now, stopped_at
from api.database import Database
from api.embedded import EmbeddedPostgres
from api.simulation import last_recorded
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
    """Have requests booked by a writer of the command's own, beside the service's."""
    database = Database(url, ledger)
    await database.open()
    try:
        async with database.reading() as connection:
            now = await _clock(connection)
        writer = GroupCommit(connect=database.connect_writer, views=BatchViews(), now=now)
        await writer.start()
        try:
            return [await writer.submit(request) for request in requests]
        finally:
            await writer.stop()
    finally:
        await database.close()


async def _clock(connection: AsyncConnection[Any]) -> Now:
    """Give the real clock, or a simulated ledger's last recorded time."""
    definitions = await BatchViews().load_definitions(connection)
    last = await last_recorded(connection)
    return real_now if definitions.simulated_from is None or last is None else stopped_at(last)
