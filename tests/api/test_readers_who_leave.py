"""Readers that go away in the middle of what they asked for, or take nothing of it, keep no connection."""

from __future__ import annotations

import asyncio
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

from api.database import EXPORTERS_MAX, FOLLOWERS_MAX, Database
from tests import exposition
from tests.api.served import BOUND_S, Caller, Served
from tests.drive import HANG_S, settled
from tests.service import within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

LITTLE = 4096
"""Bytes that wait in the machine of whoever reads nothing."""
ROWS = 20_000

_WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND datname = current_database() AND backend_type = 'client backend'"
)


def ask(caller: Caller, path: str) -> AbstractContextManager[socket.socket]:
    """Ask, and leave the answer to whoever reads it."""
    address = urlsplit(caller.served.url)
    asking = socket.socket()
    asking.settimeout(BOUND_S)
    asking.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
    asking.connect((address.hostname, address.port))
    lines = (f"GET {path} HTTP/1.1", f"Host: {address.netloc}", f"Authorization: Bearer {caller.key}")
    asking.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return asking


@pytest.fixture
def much_booked(admin: Caller) -> Iterator[None]:
    """Fill the history with more than fits into any buffer on the way."""
    admin.open(balance="1")
    admin.served.ledger.rows(_MUCH, 2_000, ROWS)
    yield
    admin.served.ledger.rows('DELETE FROM history WHERE "position" > 1000000')


_MUCH = """
INSERT INTO history
SELECT (jsonb_populate_record(h, jsonb_build_object('position', 1000000 + n, 'metadata', repeat('x', %s)))).*
FROM history h, generate_series(1, %s) n
WHERE h."position" = (SELECT max("position") FROM history)
"""


def test_exports_of_which_nothing_is_taken_hold_their_connections_for_a_limited_time(
    served: Served, admin: Caller, much_booked: None
) -> None:
    def lent() -> float:
        told = exposition.values(served.http.get(f"{served.url}/metrics").text)
        return told[("fundledger_pool_in_use", frozenset({("pool", "exporters")}))]

    path = "/balances/history?format=csv"
    with ExitStack() as readers:
        for _ in range(EXPORTERS_MAX):
            readers.enter_context(ask(admin, path))
        within(BOUND_S, lambda: lent() == EXPORTERS_MAX)
        within(BOUND_S, lambda: lent() == 0)
        assert admin.get("/balances/history", format="csv", limit=1).status == 200


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
