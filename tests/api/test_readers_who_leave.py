"""Readers that go away in the middle of what they asked for take no connection with them."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

from api.database import EXPORTERS_MAX, FOLLOWERS_MAX, Database
from tests.api.served import BOUND_S, Caller, Served
from tests.drive import HANG_S, settled
from tests.service import within

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND datname = current_database() AND backend_type = 'client backend'"
)


def ask(caller: Caller, path: str) -> AbstractContextManager[socket.socket]:
    """Ask, and leave the answer to whoever reads it."""
    address = urlsplit(caller.served.url)
    asking = socket.create_connection((address.hostname, address.port), timeout=BOUND_S)
    lines = (f"GET {path} HTTP/1.1", f"Host: {address.netloc}", f"Authorization: Bearer {caller.key}")
    asking.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return asking


@pytest.mark.parametrize(
    ("path", "table"),
    [("/balances/history?format=csv", "history"), ("/reports/users?format=csv", "profiles")],
)
def test_exports_that_nobody_waits_for_leave_room_for_others(
    served: Served, admin: Caller, path: str, table: str
) -> None:
    def waiting() -> int:
        found: int = served.ledger.value(_WAITING)
        return found

    admin.open(balance="1")
    for _ in range(EXPORTERS_MAX + 1):
        with psycopg.connect(served.ledger.superuser) as holder:
            holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
            with ask(admin, path):
                within(BOUND_S, lambda: waiting() == 1)
            within(BOUND_S, lambda: waiting() == 0)
    assert admin.get(path).status == 200


@pytest.mark.anyio
async def test_whoever_leaves_while_it_gives_its_connection_back_has_given_it_back(database_url: str) -> None:
    database = Database(database_url, "main")
    await database.open()
    try:
        async with asyncio.timeout(HANG_S):
            for _ in range(FOLLOWERS_MAX + 1):
                await _leave(database)
            async with database.following() as one, database.following() as other:
                assert one is not other
    finally:
        await database.close()


async def _leave(database: Database) -> None:
    """Be cancelled while the pool is too busy to take the connection back at once."""
    lent, leave = asyncio.Event(), asyncio.Event()

    async def follow() -> None:
        async with database.following():
            lent.set()
            await leave.wait()

    follower = asyncio.create_task(follow())
    await lent.wait()
    busy = database._followers._pool._lock
    async with busy:
        leave.set()
        await settled(lambda: bool(busy._waiters))
        follower.cancel()
        await asyncio.wait({follower})
    assert follower.cancelled()
