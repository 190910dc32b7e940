"""Slow reads take nothing from writes: each kind of read has connections of its own, and an end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from api.database import READERS_MAX, REPORTERS_MAX, Database
from tests.api.served import BOUND_S, Caller, Served
from tests.service import within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from tests.api.served import Answer

LIST = "/accounts?groupFilter=*&limit=1&offset=0"


@contextmanager
def slow(
    served: Served, caller: Caller, path: str, *, table: str, calls: int
) -> Iterator[list[Future[Answer]]]:
    """Let some calls wait for a table that is locked; they all have a connection then.

    A feed that has taken a message values nothing unasked, so that it does not wait for the table as well.
    """
    assert caller.post("/feed/online", {"logins": []}).status == 200
    with psycopg.connect(served.ledger.superuser) as holder, ThreadPoolExecutor(calls) as pool:
        holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        asked = [pool.submit(caller.get, path) for _ in range(calls)]
        within(BOUND_S, lambda: len(served.ledger.rows(_WAITING)) == calls)
        yield asked
        holder.rollback()


_WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    " AND backend_type = 'client backend'"
)


def test_slow_reads_leave_writes_and_readiness_alone(served: Served, admin: Caller) -> None:
    with slow(served, admin, LIST, table="figure_totals", calls=READERS_MAX) as asked:
        opened = admin.post("/users", {"group": "standard"}, request_id="beside-slow-reads")
        assert opened.status == 201
        again = admin.post("/users", {"group": "standard"}, request_id="beside-slow-reads")
        assert (again.said, again["operation"]) == ((409, "request_applied"), opened.body)
        login = opened["login"]
        assert admin.post(f"/users/{login}/disable").status == 200
        assert admin.post(f"/users/{login}/disable").said == (409, "already_disabled")
        assert admin.get("/readyz").status == 200
        busy = admin.get(LIST)
        assert (busy.said, busy.headers["retry-after"]) == ((503, "readers_busy"), "1")
    assert [call.result().status for call in asked] == [200] * READERS_MAX


def test_slow_reports_leave_other_reads_alone(served: Served, admin: Caller) -> None:
    login = admin.open()
    with slow(served, admin, "/reports/exposure", table="positions", calls=REPORTERS_MAX) as asked:
        assert admin.get("/balances/history").status == 200
        assert admin.get(f"/users/{login}").status == 200
        assert admin.get("/reports/exposure").said == (503, "readers_busy")
    assert [call.result().status for call in asked] == [200] * REPORTERS_MAX


def test_a_read_that_is_ended_for_its_length_says_so(served: Served, admin: Caller) -> None:
    with slow(served, admin, "/reports/exposure", table="positions", calls=1) as [asked]:
        served.ledger.rows(f"SELECT pg_cancel_backend(pid) FROM ({_WAITING}) AS waiting")
        assert asked.result().said == (503, "read_too_long")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["reading", "reporting", "answering", "checking"])
async def test_no_read_goes_on_for_ever(database_url: str, kind: str) -> None:
    database = Database(database_url, "main")
    await database.open()
    try:
        async with getattr(database, kind)() as connection:
            [[bound]] = await (await connection.execute("SHOW statement_timeout")).fetchall()
    finally:
        await database.close()
    assert bound != "0"
