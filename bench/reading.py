"""Claims about reading much: the history as CSV, the whole log to one reader, a rebuild from it."""

from __future__ import annotations

import http.client
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Final

import httpx
import msgspec
import psycopg
import uvloop

from bench import served
from bench.claim import Claim
from bench.ground import Ground, Ledger, book_deposits
from bench.load import WrongAnswer
from bench.pgbench import environment, program
from bench.sample import Plan, Spread, alternately, ratios
from bench.served import Served
from projections.rebuild import rebuild

EVENTS: Final = 200_000
QUICK_EVENTS: Final = 20_000
QUICK_S: Final = 1.0
HANG_S: Final = 120
PAGE: Final = 1_000
_CSV: Final = "/balances/history?groupFilter=*&format=csv"
_COPY: Final = 'COPY (SELECT * FROM history ORDER BY "position") TO STDOUT WITH (FORMAT csv)'
_LOG: Final = "SELECT notification_id, state FROM ledger_events ORDER BY notification_id"
_FOLD: Final = """
SELECT originator_id, count(*), sum((convert_from(state, 'UTF8')::json->>'balanceChange')::bigint)
FROM ledger_events GROUP BY originator_id
"""


def reading(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare what the service reads and writes out with what PostgreSQL alone does."""
    ledger = ground.ledger()
    uvloop.run(book_deposits(ledger, QUICK_EVENTS if plan.seconds < QUICK_S else EVENTS))
    ledger.execute("VACUUM ANALYZE")
    events, lines = ledger.length(), _count(ledger, "history")
    with served.durable(ledger) as service:
        csv = alternately(plan, lambda: lines / _csv(service, lines), lambda: lines / _copied(ledger))
        mirror = alternately(
            plan, lambda: events / _mirrored(service, events), lambda: events / _selected(ledger, events)
        )
    anew = alternately(
        plan,
        lambda: events / _timed(lambda: rebuild(ledger.url, ledger.name)),
        lambda: events / _timed(lambda: ledger.execute(_FOLD)),
    )
    return [
        _claim(
            "history-csv", "history as CSV over HTTP, rows a second / COPY of history to nowhere", 0.7, csv
        ),
        _claim("mirror", "events to one reader of /audit/events / a SELECT of the same rows", 0.5, mirror),
        _claim(
            "rebuild", "rebuild of all read models, events a second / one GROUP BY over the log", 0.5, anew
        ),
    ]


def _claim(name: str, says: str, target: float, rounds: list[tuple[float, ...]]) -> Claim:
    ours, limit = zip(*rounds, strict=True)
    return Claim(
        name=name,
        says=says,
        sense="at least",
        target=target,
        values=ratios(zip(ours, limit, strict=True)),
        notes=[f"{Spread.of(ours)} a second, {Spread.of(limit)} the other"],
    )


def _count(ledger: Ledger, table: str) -> int:
    with psycopg.connect(ledger.superuser) as connection:
        [[rows]] = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
    return int(rows)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _csv(service: Served, lines: int) -> float:
    began = time.perf_counter()
    with _asking(service) as client, client.stream("GET", _CSV) as answer:
        found = sum(part.count(b"\n") for part in answer.raise_for_status().iter_raw())
    _check(found, lines + 1)
    return time.perf_counter() - began


def _copied(ledger: Ledger) -> float:
    words = [str(program("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", _COPY]
    began = time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=HANG_S, env=environment(ledger))
    return time.perf_counter() - began


def _mirrored(service: Served, events: int) -> float:
    """Follow the log from its beginning to its end, page by page; each event must come once and in order."""
    began = time.perf_counter()
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=HANG_S)) as connection:
        found = [event.position for page in _pages(connection, service.key) for event in page.events]
    _check(len(found), events)
    if found != list(range(1, events + 1)):
        raise WrongAnswer("the mirror is not in order")
    return time.perf_counter() - began


def _pages(connection: http.client.HTTPConnection, key: str) -> Iterable[_Page]:
    after, page = 0, None
    while page is None or page.events:
        path = f"/audit/events?after={after}&limit={PAGE}"
        connection.request("GET", path, headers={"authorization": f"Bearer {key}"})
        yield (page := _page.decode(connection.getresponse().read()))
        after = page.next


def _selected(ledger: Ledger, events: int) -> float:
    """Read the same events straight from the table, as many at a time."""
    began = time.perf_counter()
    with psycopg.connect(ledger.superuser) as connection, connection.cursor("log", binary=True) as cursor:
        cursor.itersize = PAGE
        cursor.execute(_LOG)
        found = sum(1 for _ in cursor)
    _check(found, events)
    return time.perf_counter() - began


def _check(found: int, wanted: int) -> None:
    if found != wanted:
        raise WrongAnswer(f"{wanted} were to be read, {found} came")


def _asking(service: Served) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{service.port}",
        headers={"authorization": f"Bearer {service.key}"},
        timeout=HANG_S,
        trust_env=False,
    )


class _Told(msgspec.Struct, frozen=True, gc=False):
    """An event as a mirror keeps it: by its bytes, as the SELECT gives it too."""

    position: int
    data: msgspec.Raw


class _Page(msgspec.Struct, frozen=True):
    """A page of the log."""

    events: list[_Told]
    next: int


_page = msgspec.json.Decoder(_Page)
