"""`python -m bench.growth`: what things cost as accounts and events become more, side by side."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Final

import msgspec
import psycopg
import uvloop
from rich import box
from rich.console import Console
from rich.table import Table

from bench import machine, served
from bench.caller import Caller
from bench.ground import CURRENCY, GROUP, LOGIN_FIRST, Ground, Ledger, book, carry_out, deposit, ground
from bench.process import memory
from bench.sample import FULL, Spread, alternately, percentile
from bench.served import Served
from ledger.commands import DefineGroup, OpenAccount
from ledger.writer import BULK_MAX
from projections.rebuild import rebuild

SIZES: Final = ((10_000, 100_000), (100_000, 1_000_000), (1_000_000, 10_000_000))
PLAN: Final = msgspec.structs.replace(FULL, rounds=5)
CALLS: Final = 100
BEFORE: Final = "2026-11-20T00:00:00Z"
TABLES: Final = ["ledger_events", "requests", "history", "accounts", "profiles"]
_BYTES: Final = """
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c
WHERE c.relnamespace = to_regnamespace(current_schema()) AND c.relname = ANY(%s)
"""

Row = list[str]


class Size(msgspec.Struct, frozen=True):
    """A ledger of so many accounts and events, and how long it took to fill it."""

    ledger: Ledger
    accounts: int
    events: int
    fill_s: float


def main() -> int:
    """Fill ledgers of several sizes, measure them in turns, print a table."""
    arguments = _arguments()
    with ground() as there:
        for name, words in machine.describe(there.url, there.directory).items():
            print(f"{name}: {words}", flush=True)
        sizes = [_filled(there, accounts, events) for accounts, events in SIZES[: arguments.sizes]]
        rows = _over_http(sizes) | _stored(sizes)
        if not arguments.no_rebuild:
            rows["rebuild, events a second"] = [_rebuilt(size) for size in sizes]
    _table(sizes, rows)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="growth", description="measure what things cost by size")
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="only so many, the smallest first")
    parser.add_argument("--no-rebuild", action="store_true", help="leave the rebuild out")
    return parser.parse_args()


def _filled(there: Ground, accounts: int, events: int) -> Size:
    ledger = Ledger(there.url, there.new_name())
    began = time.monotonic()
    uvloop.run(_fill(ledger, accounts, events))
    size = Size(ledger, accounts, events, time.monotonic() - began)
    ledger.execute("VACUUM ANALYZE")
    print(f"{accounts:,} accounts, {events:,} events: filled in {size.fill_s:.0f} s", flush=True)
    return size


async def _fill(ledger: Ledger, accounts: int, events: int) -> None:
    """Open the accounts, then book deposits to accounts at random until the log is so long."""
    chance = random.Random(accounts)
    async with ledger.writer() as writer:
        await carry_out(writer, [DefineGroup(group=GROUP, currency=CURRENCY), ledger.owner])
        for some in _parts(accounts):
            await carry_out(writer, [OpenAccount(login=LOGIN_FIRST + number, group=GROUP) for number in some])
        for some in _parts(events - accounts - 2):
            await book(writer, [deposit(LOGIN_FIRST + chance.randrange(accounts)) for _ in some])


def _parts(number: int) -> Iterator[range]:
    for start in range(0, number, BULK_MAX):
        yield range(start, min(start + BULK_MAX, number))


def _over_http(sizes: list[Size]) -> dict[str, Row]:
    """Measure what callers see, the sizes in turns."""
    with ExitStack() as stack:
        services = [stack.enter_context(served.durable(size.ledger)) for size in sizes]
        pairs = list(zip(sizes, services, strict=True))
        rows: dict[str, Row] = {}
        for name, measure in MEASURES.items():
            rounds = alternately(PLAN, *(_side(measure, size, service) for size, service in pairs))
            rows[name] = [str(Spread.of(side)) for side in zip(*rounds, strict=True)]
            print(f"{name}: {rows[name]}", flush=True)
        rows["WAL of such batches, bytes an event"] = [_wal(size, service) for size, service in pairs]
        rows["memory of the service after it, MB"] = [
            f"{memory(service.pid).resident:.1f}" for service in services
        ]
    return rows


Measure = Callable[[Size, Served], float]


def _side(measure: Measure, size: Size, service: Served) -> Callable[[], float]:
    return lambda: measure(size, service)


def _singles(size: Size, service: Served) -> float:
    logins = (LOGIN_FIRST, size.accounts)
    return service.answers(connections=64, seconds=PLAN.seconds, logins=logins).rate


def _busy(size: Size, service: Served) -> float:
    logins = (LOGIN_FIRST, min(1_000, size.accounts))
    return service.answers(connections=64, seconds=PLAN.seconds, logins=logins).rate


def _batches(size: Size, service: Served) -> float:
    logins = (LOGIN_FIRST, size.accounts)
    answered = service.answers(
        connections=2, seconds=PLAN.seconds, what="batch", size=BULK_MAX, logins=logins
    )
    return answered.rate


def _wal(size: Size, service: Served) -> str:
    """Give what batches to any account write to the log of PostgreSQL, pages written in full among it."""
    written, events = _written(size.ledger), size.ledger.length()
    _batches(size, service)
    return f"{(_written(size.ledger) - written) / (size.ledger.length() - events):,.0f}"


def _written(ledger: Ledger) -> int:
    with psycopg.connect(ledger.superuser) as connection:
        row: Any = connection.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()
    return int(row[0])


def _asking(path: Callable[[random.Random, Size], str]) -> Measure:
    """Give the median time of an answer, in ms."""

    def measure(size: Size, service: Served) -> float:
        chance, caller, times = random.Random(7), Caller(service), list[float]()
        for _ in range(CALLS):
            asked = path(chance, size)
            began = time.perf_counter()
            caller.get(asked)
            times.append(time.perf_counter() - began)
        return percentile(sorted(times), 0.5) * 1_000

    return measure


def _login(chance: random.Random, size: Size) -> int:
    return LOGIN_FIRST + chance.randrange(size.accounts)


MEASURES: Final[dict[str, Measure]] = {
    "deposits over HTTP a second, 64 connections, any account": _singles,
    "the same, 1,000 accounts that are busy": _busy,
    "in batches of 1,000, operations a second": _batches,
    "first page of 100 accounts with totals, ms": _asking(
        lambda _, __: "/accounts?groupFilter=*&limit=100&offset=0"
    ),
    "newest 100 rows of an account's history, ms": _asking(
        lambda chance, size: f"/balances/history?login={_login(chance, size)}&limit=100&order=desc"
    ),
    "balance at a past instant, ms": _asking(
        lambda chance, size: f"/balances/asof?login={_login(chance, size)}&at={BEFORE}"
    ),
}


def _stored(sizes: list[Size]) -> dict[str, Row]:
    events = [size.ledger.length() for size in sizes]
    rows = {"disk, GB": [f"{_bytes(size.ledger, *TABLES) / 1e9:.2f}" for size in sizes]}
    for table in TABLES:
        found = [_bytes(size.ledger, table) / number for size, number in zip(sizes, events, strict=True)]
        rows[f"of it {table}, bytes an event"] = [f"{stored:,.0f}" for stored in found]
    return rows


def _bytes(ledger: Ledger, *tables: str) -> int:
    """Give what tables take with their indexes."""
    with psycopg.connect(ledger.superuser) as connection:
        row: Any = connection.execute(_BYTES.encode(), [list(tables)]).fetchone()
    return int(row[0])


def _rebuilt(size: Size) -> str:
    events, began = size.ledger.length(), time.perf_counter()
    rebuild(size.ledger.url, size.ledger.name)
    return f"{events / (time.perf_counter() - began):,.0f}"


def _table(sizes: list[Size], rows: dict[str, Row]) -> None:
    table = Table(box=box.MARKDOWN)
    table.add_column("", no_wrap=True)
    for size in sizes:
        table.add_column(f"{size.accounts:,} accounts, {size.events:,} events", justify="right")
    for name, row in rows.items():
        table.add_row(name, *row)
    Console(width=240, highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
