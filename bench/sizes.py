"""Commits of each size: where the group commit stands against the bare database, and against the disk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg

from bench import pgbench
from bench.claim import Claim
from bench.commits import Through, calls_of, in_bulk, writing
from bench.ground import LOGIN_FIRST, Ground, Ledger, book, deposit
from bench.machine import PAGE, syncs_us
from bench.pgbench import Committed
from bench.sample import Plan, Spread, alternately, ratios, told
from ledger.writer import GroupCommit

SIZES: Final = (1, 10, 100, 1_000)
CLIENTS: Final = (1, 8, 32, 64)
ROUNDS_MAX: Final = 5
CALLS: Final = 20
SYNCS: Final = 50
_ROWS: Final = """
SELECT originator_id, topic, state, leaf_hash FROM ledger_events ORDER BY notification_id DESC LIMIT %s
"""
_INSERT: Final = b"""
INSERT INTO plain_log (notification_id, originator_id, originator_version, topic, state, leaf_hash)
SELECT nextval('plain_position'), stream, currval('plain_position'), topic, state, leaf_hash
FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::bytea[]) AS event (stream, topic, state, leaf_hash)
"""

Columns = list[list[Any]]


class Sides(msgspec.Struct, frozen=True):
    """Commits of so many operations each, in operations a second; `logged` are the bytes of log of a call."""

    size: int
    logged: int
    writer: Sequence[float]
    insert: Sequence[float]
    disk: Sequence[float]


def sizes(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare calls of 1 to 1,000 operations with plain inserts of their rows, and with raw writes."""
    ledger, bare = ground.ledger(), ground.ledger()
    pgbench.prepare_plain(bare)
    fewer = msgspec.structs.replace(plan, rounds=min(plan.rounds, ROUNDS_MAX))
    with writing(ledger) as through:
        found = [_sides(ground.directory, ledger, bare, through, fewer, size) for size in SIZES]
    notes = list(_by_pgbench(bare, fewer))
    return [_figure(sides, notes if sides is found[-1] else []) for sides in found]


def _figure(sides: Sides, notes: Sequence[str]) -> Claim:
    against = f"INSERT {Spread.of(sides.insert)}, raw write {Spread.of(sides.disk)}"
    return Claim(
        name=f"commits-{sides.size}",
        says=f"the writer in process, calls of {sides.size:,} / a plain INSERT of the same rows of the log",
        values=ratios(zip(sides.writer, sides.insert, strict=True)),
        notes=[
            f"operations/s: writer {Spread.of(sides.writer)}, {against} of its {sides.logged:,} bytes a call",
            *notes,
        ],
    )


def _sides(directory: Path, ledger: Ledger, bare: Ledger, through: Through, plan: Plan, size: int) -> Sides:
    logged = _logged(ledger, through, plan, size)
    columns = _columns(ledger, size)
    rounds = alternately(
        plan,
        lambda: through(partial(in_bulk, size=size), plan),
        lambda: _inserted(bare, columns, plan.seconds),
        lambda: size / _sync_s(directory, logged),
    )
    return Sides(size, logged, *zip(*rounds, strict=True))


def _logged(ledger: Ledger, through: Through, plan: Plan, size: int) -> int:
    """Give the bytes that PostgreSQL logs for a call of so many operations."""
    with psycopg.connect(ledger.superuser, autocommit=True) as connection:
        before, _, after = _end(connection), through(partial(_calls, size=size), plan), _end(connection)
    return (after - before) // CALLS


def _end(connection: psycopg.Connection[Any]) -> int:
    [[end]] = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchall()
    return int(end)


async def _calls(writer: GroupCommit, _: float, *, size: int) -> None:
    for _ in range(CALLS):
        await book(writer, [deposit(LOGIN_FIRST + number) for number in range(size)])


def _columns(ledger: Ledger, size: int) -> Columns:
    """Give the newest rows of the log, by column."""
    with psycopg.connect(ledger.superuser) as connection:
        rows = connection.execute(_ROWS, [size]).fetchall()
    return [list(column) for column in zip(*rows, strict=True)]


def _inserted(bare: Ledger, columns: Columns, seconds: float) -> float:
    """Insert rows again and again, one statement and one commit at a time; give the rows a second."""
    size, began = len(columns[0]), time.perf_counter()

    def insert(_: int) -> int:
        done = 0
        with psycopg.connect(bare.superuser, autocommit=True) as connection:
            while time.perf_counter() - began < seconds:
                connection.execute(_INSERT, columns, prepare=True)
                done += size
        return done

    with ThreadPoolExecutor() as threads:
        done = sum(threads.map(insert, range(calls_of(size))))
    return done / (time.perf_counter() - began)


def _sync_s(directory: Path, size: int) -> float:
    """Give what a durable write of so many bytes takes, in whole pages as PostgreSQL writes them."""
    times = list(syncs_us(directory, ceil(size / PAGE) * PAGE, SYNCS))
    return sum(times) / len(times) / 1e6


def _by_pgbench(bare: Ledger, plan: Plan) -> Iterator[str]:
    """Commit one-row inserts of ever more clients, by whole seconds as pgbench counts; tell what came out."""
    plan = msgspec.structs.replace(plan, rounds=min(plan.rounds, ceil(plan.rounds * plan.seconds)))
    sides = (partial(_singles, bare, clients, plan) for clients in CLIENTS)
    for clients, found in zip(CLIENTS, zip(*alternately(plan, *sides), strict=True), strict=True):
        rate = Spread.of(each.rate for each in found)
        waits = told([each.waits for each in found])
        yield f"one-row INSERT commits of pgbench, {clients} clients: {rate} a second, {waits}"


def _singles(bare: Ledger, clients: int, plan: Plan) -> Committed:
    return pgbench.run(bare, pgbench.plain_script(), clients=clients, seconds=plan.seconds)
