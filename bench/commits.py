"""Claims about commits in process: many at once, and one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from itertools import cycle
from typing import NamedTuple, TypeVar

import psycopg
import uvloop

from bench import pgbench, served
from bench.claim import Claim
from bench.ground import LOGIN_FIRST, LOGINS, Ground, Ledger, deposit
from bench.pgbench import Committed
from bench.sample import Plan, Spread, Waits, alternately, ratios, told
from ledger.writer import BULK_MAX, GroupCommit

TOGETHER = 64
PGBENCH_CLIENTS = 32
_PLAIN = pgbench.PLAIN_INSERT.format(state="%s", leaf="%s").encode()

R = TypeVar("R")
_logins = cycle(range(LOGIN_FIRST, LOGIN_FIRST + LOGINS))


class Together(NamedTuple):
    """A round of commits for many at once: operations a second of each side."""

    waiters: float
    bulk: float
    bulk_1000: float
    one_by_one: float
    inserts: float


def groups(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare the group commit with the same operation committed one by one, and with plain inserts."""
    by_writer, by_statement = ground.ledger(), ground.ledger()
    pgbench.prepare_one_by_one(by_statement)
    pgbench.prepare_plain(by_statement)
    with writing(by_writer) as through:
        rounds = [
            Together(*sides)
            for sides in alternately(
                plan,
                lambda: through(_waiters, plan),
                lambda: through(partial(in_bulk, size=TOGETHER), plan),
                lambda: through(partial(in_bulk, size=BULK_MAX), plan),
                lambda: _by_pgbench(by_statement, pgbench.ONE_BY_ONE, plan),
                lambda: _by_pgbench(by_statement, pgbench.plain_script(), plan),
            )
        ]
    names = (f"{TOGETHER} waiters", f"calls of {TOGETHER}", f"calls of {BULK_MAX:,}", "one by one", "inserts")
    notes = [
        f"{name}: {Spread.of(side)} operations/s"
        for name, side in zip(names, zip(*rounds, strict=True), strict=True)
    ]
    one_by_one = f"the same operation one by one from {PGBENCH_CLIENTS} pgbench clients"
    inserts = f"one-row INSERT commits of {PGBENCH_CLIENTS} pgbench clients"
    waiters = f"group commit, {TOGETHER} waiters for one operation each"
    return [
        _claim("group-commit", f"{waiters} / {one_by_one}", 8.0, notes)(
            (each.waiters, each.one_by_one) for each in rounds
        ),
        _claim("group-commit-bulk", f"group commit, calls of {TOGETHER} operations / {one_by_one}", 5.0)(
            (each.bulk, each.one_by_one) for each in rounds
        ),
        _claim("group-commit-1000", f"group commit, calls of {BULK_MAX:,} operations / {one_by_one}", 12.0)(
            (each.bulk_1000, each.one_by_one) for each in rounds
        ),
        _claim("inserts", f"{waiters} / {inserts}", 1.3)((each.waiters, each.inserts) for each in rounds),
        _claim("inserts-1000", f"group commit, calls of {BULK_MAX:,} operations / {inserts}", 2.0)(
            (each.bulk_1000, each.inserts) for each in rounds
        ),
    ]


def _claim(
    name: str, says: str, target: float, notes: Sequence[str] = ()
) -> Callable[[Iterable[tuple[float, float]]], Claim]:
    return lambda pairs: Claim(
        name=name, says=says, sense="at least", target=target, values=ratios(pairs), notes=list(notes)
    )


def latency(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare one client's wait with that for a one-row insert."""
    ledger, behind_http = ground.ledger(), ground.ledger()
    pgbench.prepare_plain(ledger)
    with writing(ledger) as through, served.durable(behind_http) as service:
        rounds = alternately(
            plan,
            lambda: through(_single, plan),
            lambda: _plain(ledger, plan),
            lambda: service.answers(connections=1, seconds=plan.seconds).waits,
            lambda: _pgbench_plain(ledger, plan).waits,
        )
    names = ("in process", "one-row INSERT by psycopg", "over HTTP", "one-row INSERT by pgbench")
    notes = [f"{name}: {told(side)}" for name, side in zip(names, zip(*rounds, strict=True), strict=True)]
    return [
        Claim(
            name="latency",
            says="one client in process, p50 / p50 of a one-row INSERT commit through psycopg",
            sense="at most",
            target=2.5,
            values=ratios((submit.p50_us, insert.p50_us) for submit, insert, _, _ in rounds),
            notes=notes,
        ),
        Claim(
            name="latency-http",
            says="one client over HTTP, p50 / p50 of a one-row INSERT commit by pgbench",
            sense="at most",
            target=4.5,
            values=ratios((http.p50_us, insert.p50_us) for _, _, http, insert in rounds),
        ),
    ]


Measure = Callable[[GroupCommit, float], Coroutine[None, None, R]]


class Through(NamedTuple):
    """One writer, and the loop that it runs in."""

    runner: asyncio.Runner
    writer: GroupCommit

    def __call__(self, measure: Measure[R], plan: Plan) -> R:
        """Measure it for the plan's time."""
        return self.runner.run(measure(self.writer, plan.seconds))


@contextmanager
def writing(ledger: Ledger) -> Iterator[Through]:
    """Lend a way to measure one writer, which has met every account before."""
    stack = AsyncExitStack()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        writer = runner.run(stack.enter_async_context(ledger.writer()))
        try:
            runner.run(_meet(writer))
            yield Through(runner, writer)
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


async def in_bulk(writer: GroupCommit, seconds: float, *, size: int) -> float:
    """Have calls of so many operations booked, one or, where they are large, two at a time."""
    began = time.perf_counter()

    async def call() -> int:
        done = 0
        while time.perf_counter() - began < seconds:
            outcomes = await writer.submit_bulk([deposit(next(_logins)) for _ in range(size)])
            done += sum(isinstance(outcome, list) for outcome in outcomes)
        return done

    done = await asyncio.gather(*(call() for _ in range(calls_of(size))))
    return sum(done) / (time.perf_counter() - began)


def calls_of(size: int) -> int:
    """Give how many calls of so many operations are under way at a time."""
    return 2 if size >= BULK_MAX else 1


async def _single(writer: GroupCommit, seconds: float) -> Waits:
    began, times = time.perf_counter(), list[float]()
    while (start := time.perf_counter()) - began < seconds:
        await writer.submit(deposit(next(_logins)))
        times.append((time.perf_counter() - start) * 1e6)
    return Waits.of(times)


def _plain(ledger: Ledger, plan: Plan) -> Waits:
    times = list[float]()
    with psycopg.connect(ledger.superuser, autocommit=True) as connection:
        began = time.perf_counter()
        while (start := time.perf_counter()) - began < plan.seconds:
            connection.execute(_PLAIN, [pgbench.STATE, pgbench.LEAF], prepare=True)
            times.append((time.perf_counter() - start) * 1e6)
    return Waits.of(times)


def _by_pgbench(ledger: Ledger, script: str, plan: Plan) -> float:
    return pgbench.run(ledger, script, clients=PGBENCH_CLIENTS, seconds=plan.seconds).rate


def _pgbench_plain(ledger: Ledger, plan: Plan) -> Committed:
    return pgbench.run(ledger, pgbench.plain_script(), clients=1, seconds=plan.seconds)
