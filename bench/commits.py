"""Claims about commits in process: many at once, and one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from itertools import cycle

import psycopg
import uvloop

from bench import pgbench, served
from bench.claim import Claim
from bench.ground import LOGIN_FIRST, LOGINS, Ground, Ledger, deposit
from bench.pgbench import Committed
from bench.sample import Plan, Spread, alternately, percentile, ratios
from ledger.writer import GroupCommit

TOGETHER = 64
PGBENCH_CLIENTS = 32
_PLAIN = pgbench.PLAIN_INSERT.format(state="%s", leaf="%s").encode()

_logins = cycle(range(LOGIN_FIRST, LOGIN_FIRST + LOGINS))


def groups(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare the group commit with the same operation committed one by one."""
    by_writer, by_statement = ground.ledger(), ground.ledger()
    pgbench.prepare_one_by_one(by_statement)
    with _writer(by_writer) as through:
        rounds = alternately(
            plan,
            lambda: through(_waiters, plan),
            lambda: through(_bulk, plan),
            lambda: _one_by_one(by_statement, plan),
        )
    notes = [
        f"{name}: {Spread.of(side)} operations/s"
        for name, side in zip(
            (f"{TOGETHER} waiters", f"bulk of {TOGETHER}", "one by one"),
            zip(*rounds, strict=True),
            strict=True,
        )
    ]
    beside = f"the same operation one by one from {PGBENCH_CLIENTS} pgbench clients"
    return [
        Claim(
            name="group-commit",
            says=f"group commit, {TOGETHER} waiters for one operation each / {beside}",
            sense="at least",
            target=5.0,
            values=ratios((waiters, single) for waiters, _, single in rounds),
            notes=notes,
        ),
        Claim(
            name="group-commit-bulk",
            says=f"group commit, calls of {TOGETHER} operations / {beside}",
            sense="at least",
            target=5.0,
            values=ratios((bulk, single) for _, bulk, single in rounds),
        ),
    ]


def latency(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare one client's wait with that for a one-row insert."""
    ledger, behind_http = ground.ledger(), ground.ledger()
    pgbench.prepare_plain(ledger)
    with _writer(ledger) as through, served.durable(behind_http) as service:
        rounds = alternately(
            plan,
            lambda: through(_single, plan),
            lambda: _plain(ledger, plan),
            lambda: service.answers(connections=1, seconds=plan.seconds).p50_us,
            lambda: _pgbench_plain(ledger, plan).p50_us,
        )
    names = ("in process", "one-row INSERT by psycopg", "over HTTP", "one-row INSERT by pgbench")
    notes = [
        f"{name}: p50 {Spread.of(side)} us"
        for name, side in zip(names, zip(*rounds, strict=True), strict=True)
    ]
    return [
        Claim(
            name="latency",
            says="one client in process, p50 / p50 of a one-row INSERT commit through psycopg",
            sense="at most",
            target=3.2,
            values=ratios((submit, insert) for submit, insert, _, _ in rounds),
            notes=notes,
        ),
        Claim(
            name="latency-http",
            says="one client over HTTP, p50 / p50 of a one-row INSERT commit by pgbench",
            sense="at most",
            target=5.5,
            values=ratios((http, insert) for _, _, http, insert in rounds),
        ),
    ]


Measure = Callable[[GroupCommit, float], Coroutine[None, None, float]]


@contextmanager
def _writer(ledger: Ledger) -> Iterator[Callable[[Measure, Plan], float]]:
    """Lend a way to measure one writer, which has met every account before."""
    stack = AsyncExitStack()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        writer = runner.run(stack.enter_async_context(ledger.writer()))
        try:
            runner.run(_meet(writer))
            yield lambda measure, plan: runner.run(measure(writer, plan.seconds))
        finally:
            runner.run(stack.aclose())


async def _meet(writer: GroupCommit) -> None:
    for _ in range(2):  # that nobody else books is seen the second time
        await writer.submit_bulk([deposit(next(_logins)) for _ in range(LOGINS)])


async def _waiters(writer: GroupCommit, seconds: float) -> float:
    began = time.perf_counter()

    async def wait() -> int:
        done = 0
        while time.perf_counter() - began < seconds:
            await writer.submit(deposit(next(_logins)))
            done += 1
        return done

    done = await asyncio.gather(*(wait() for _ in range(TOGETHER)))
    return sum(done) / (time.perf_counter() - began)


async def _bulk(writer: GroupCommit, seconds: float) -> float:
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        outcomes = await writer.submit_bulk([deposit(next(_logins)) for _ in range(TOGETHER)])
        done += sum(isinstance(outcome, list) for outcome in outcomes)
    return done / (time.perf_counter() - began)


async def _single(writer: GroupCommit, seconds: float) -> float:
    began, times = time.perf_counter(), []
    while (start := time.perf_counter()) - began < seconds:
        await writer.submit(deposit(next(_logins)))
        times.append(time.perf_counter() - start)
    return percentile(sorted(times), 0.5) * 1e6


def _plain(ledger: Ledger, plan: Plan) -> float:
    times = []
    with psycopg.connect(ledger.superuser, autocommit=True) as connection:
        began = time.perf_counter()
        while (start := time.perf_counter()) - began < plan.seconds:
            connection.execute(_PLAIN, [pgbench.STATE, pgbench.LEAF], prepare=True)
            times.append(time.perf_counter() - start)
    return percentile(sorted(times), 0.5) * 1e6


def _one_by_one(ledger: Ledger, plan: Plan) -> float:
    run = pgbench.run(ledger, pgbench.ONE_BY_ONE, clients=PGBENCH_CLIENTS, seconds=plan.seconds)
    return run.rate


def _pgbench_plain(ledger: Ledger, plan: Plan) -> Committed:
    return pgbench.run(ledger, pgbench.plain_script(), clients=1, seconds=plan.seconds)
