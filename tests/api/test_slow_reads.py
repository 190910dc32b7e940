"""Slow reads take nothing from writes: each kind of read has connections of its own, and an end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from api.database import EXPORTERS_MAX, READERS_MAX, REPORTERS_MAX, Database
from tests import exposition
from tests.api.served import BOUND_S, Caller, Served
from tests.console.visitor import Visitor
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


def test_an_export_that_finds_all_connections_in_use_is_refused_before_it_begins(
    served: Served, admin: Caller
) -> None:
    visitor = Visitor(served)
    visitor.sign_in(served.key())
    csv = "/balances/history?format=csv"
    with (
        slow(served, admin, csv, table="history", calls=EXPORTERS_MAX) as asked,
        ThreadPoolExecutor() as pool,
    ):
        at_the_api = [pool.submit(admin.get, path) for path in (csv, "/reports/users?format=csv")]
        at_the_console = pool.submit(visitor.http.get, f"{visitor.url}/history.csv")
        for call in at_the_api:
            assert call.result().said == (503, "exports_busy")
            assert call.result().headers["retry-after"] == "10"
        assert at_the_console.result().status_code == 503
        assert exporters(served) == (EXPORTERS_MAX, 0)  # those who were answered wait no more
    visitor.http.close()
    assert [call.result().status for call in asked] == [200] * EXPORTERS_MAX


def exporters(served: Served) -> tuple[float, ...]:
    """Give how many connections for exports are lent, and how many callers wait for one."""
    found = exposition.values(served.http.get(f"{served.url}/metrics").text)
    pool = frozenset({("pool", "exporters")})
    return tuple(found[(f"fundledger_{name}", pool)] for name in ("pool_in_use", "pool_waiting"))


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
