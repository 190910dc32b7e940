"""A server that has fallen silent hangs no reader; who comes later is served over a new connection."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from api import database as databases
from api.database import Database
from ledger.silence import Silence, within
from tests.drive import HANG_S
from tests.faults.impatient import impatient
from tests.faults.proxy import CLEAR, HALF_OPEN, MUTE, Proxy, before_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

KINDS = ("reading", "reporting", "answering", "checking", "following", "exporting", "keeping", "feeding")
PATIENCE_S = 1.0


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[Database, Proxy]]:
    """Open a ledger's database through a relay, with little patience."""
    with impatient(PATIENCE_S), before_database(url) as (relay, through):
        database = Database(through, "main")
        async with asyncio.timeout(HANG_S):
            await database.open()
            try:
                yield database, relay
            finally:
                await database.close()


async def read(database: Database, kind: str) -> object:
    async with getattr(database, kind)() as connection:
        return await (await connection.execute("SELECT 1")).fetchone()


async def read_all(database: Database) -> list[object]:
    """Read over each kind of connection at once; give what each read or met."""
    return await asyncio.gather(*(read(database, kind) for kind in KINDS), return_exceptions=True)


async def test_no_reader_waits_for_ever_for_an_answer(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "RESTED_S", HANG_S)  # asked at once, however slow the machine is
    async with opened(database_url) as (database, relay):
        assert await read_all(database) == [(1,)] * len(KINDS)
        relay.take(MUTE)
        assert [type(met) for met in await read_all(database)] == [Silence] * len(KINDS)
        relay.take(CLEAR)
        assert await read_all(database) == [(1,)] * len(KINDS)


async def test_a_reader_is_served_at_once_when_the_connections_from_before_lead_nowhere(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "RESTED_S", 0)
    async with opened(database_url) as (database, relay):
        assert await read_all(database) == [(1,)] * len(KINDS)
        relay.freeze()
        assert await read_all(database) == [(1,)] * len(KINDS)


async def test_a_stream_is_read_when_the_connection_from_before_leads_nowhere(database_url: str) -> None:
    async with opened(database_url) as (database, relay):
        assert await database.stream("account:1", until=1) == []
        relay.freeze()
        assert await database.stream("account:1", until=1) == []


async def test_a_service_does_not_wait_for_ever_for_its_database_to_start_on(database_url: str) -> None:
    with impatient(PATIENCE_S), before_database(database_url) as (relay, through):
        relay.take(HALF_OPEN)
        with pytest.raises(psycopg.OperationalError):
            await Database(through, "main").open()


async def test_whoever_waits_only_so_long_leaves_the_work_to_its_own_end(database_url: str) -> None:
    async with opened(database_url) as (database, relay):
        relay.take(MUTE)
        with pytest.raises(TimeoutError):
            await within(PATIENCE_S / 10, read(database, "following"))
        relay.take(CLEAR)
        assert await within(HANG_S, read(database, "following")) == (1,)
