"""Claims about reading: a page of a long history at any depth, and the balance at a past instant."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import uvloop
from psycopg.types.numeric import Int8

from api.database import Database
from bench import served
from bench.claim import Claim
from bench.ground import LOGIN_FIRST, LOGINS, Ground, Ledger, book, deposit
from bench.lookup import lookups
from bench.sample import Plan, Spread, alternately, percentile
from bench.served import Served
from ledger.writer import BULK_MAX
from projections import history
from projections.history_filter import POSITION_MAX, Filter
from projections.sql import sql

OTHERS = 20
LIMIT = 100
DEPTHS = ("second page", "middle", "near the end")
LOGIN = LOGIN_FIRST
PATH = f"/balances/history?login={LOGIN}&limit={LIMIT}"


def pages(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare pages at any depth with the first, and look how a past balance is found."""
    ledger = ground.ledger()
    uvloop.run(_fill(ledger, plan.lines))
    ledger.execute("VACUUM ANALYZE")
    with served.durable(ledger) as service:
        cursors = _cursors(service, plan.lines)
        by_http = alternately(plan, *(_over_http(service, cursor, plan) for cursor in cursors))
        found = lookups(ledger, service, plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        in_process = alternately(plan, *(_in_process(ledger, cursor, plan, runner) for cursor in cursors))
    where = (
        f"history of {plan.lines:,} events, pages of {LIMIT}: the slowest of three depths / the first page"
    )
    return [
        _claim("history-http", f"{where}, over HTTP", by_http),
        _claim("history", f"{where}, in process", in_process),
        _asof(ledger, plan.lines),
        *found,
    ]


def _claim(name: str, says: str, rounds: list[tuple[float, ...]]) -> Claim:
    sides = zip(("first page", *DEPTHS), zip(*rounds, strict=True), strict=True)
    return Claim(
        name=name,
        says=says,
        sense="at most",
        target=1.3,
        values=[max(deeper) / first for first, *deeper in rounds],
        notes=[f"{side}: p50 {Spread.of(times)} us" for side, times in sides],
    )


async def _fill(ledger: Ledger, lines: int) -> None:
    async with ledger.writer() as writer:
        for logins in _filling(lines // BULK_MAX):
            await book(writer, [deposit(login) for login in logins])


def _filling(batches: int) -> Iterator[list[int]]:
    """Give the logins of batches: mostly the one account's, now and then everybody else's."""
    for number in range(batches):
        yield [LOGIN] * BULK_MAX
        if number % (batches // OTHERS) == 0:
            yield list(range(LOGIN_FIRST + 1, LOGIN_FIRST + LOGINS))


def _cursors(service: Served, lines: int) -> list[str | None]:
    """Give the cursor of each depth, beginning with none for the first page."""
    url, headers = f"http://127.0.0.1:{service.port}{PATH}", {"authorization": f"Bearer {service.key}"}
    found: list[str | None] = [None]
    for depth in (LIMIT, lines // 2, lines - 3 * LIMIT):
        answer = httpx.get(f"{url}&offset={depth - LIMIT}", headers=headers)
        found.append(answer.raise_for_status().json()["next"])
    return found


def _over_http(service: Served, cursor: str | None, plan: Plan) -> Callable[[], float]:
    path, seconds = f"{PATH}&cursor={cursor}" if cursor else PATH, plan.seconds / 2
    return lambda: service.answers(connections=1, seconds=seconds, what="get", path=path).waits.p50_us


def _in_process(
    ledger: Ledger, cursor: str | None, plan: Plan, runner: asyncio.Runner
) -> Callable[[], float]:
    return lambda: runner.run(_page(ledger, cursor, plan.seconds / 2))


async def _page(ledger: Ledger, cursor: str | None, seconds: float) -> float:
    database, wanted, times = Database(ledger.url, ledger.name), Filter(login=LOGIN), []
    await database.open()
    async with database.reading() as connection:
        began = time.perf_counter()
        while (start := time.perf_counter()) - began < seconds:
            page = await history.page(connection, wanted, limit=LIMIT, cursor=cursor)
            times.append(time.perf_counter() - start)
            assert len(page.rows) == LIMIT
    await database.close()
    return percentile(sorted(times), 0.5) * 1e6


def _asof(ledger: Ledger, lines: int) -> Claim:
    """Have PostgreSQL explain how it finds a balance at an instant in the middle."""
    with psycopg.connect(ledger.superuser) as connection:
        [[middle]] = connection.execute(
            "SELECT recorded_at FROM history WHERE login = %s ORDER BY 1 OFFSET %s LIMIT 1",
            [LOGIN, lines // 2],
        ).fetchall()
        params = {"login": Int8(LOGIN), "at": middle, "position": Int8(POSITION_MAX)}
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql('asof_recorded')}".encode()
        [[[explained]]] = connection.execute(explain, params).fetchall()
    nodes = [node for node in _nodes(explained["Plan"]) if "Relation Name" in node]
    return Claim(
        name="asof",
        says="balance at a past instant, recorded basis: searches in history's index",
        sense="at most",
        target=1,
        timed=False,
        values=[sum(_searches(node) for node in nodes if node["Relation Name"] == "history")],
        notes=[
            f"{node['Node Type']} on {node['Relation Name']} by {node.get('Index Name')}:"
            f" {node['Actual Rows']:.0f} row, {node['Shared Hit Blocks'] + node['Shared Read Blocks']} pages"
            for node in nodes
        ]
        + [f"execution time {explained['Execution Time']:.3f} ms"],
    )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _searches(node: dict[str, Any]) -> float:
    """Count a scan's descents into an index; any other scan counts as endless."""
    return float(node.get("Index Searches", "inf"))
