"""Claims about deposits over HTTP: durability's price, one busy account, the batch route."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from bench import process, served
from bench.claim import Claim
from bench.ground import LOGIN_FIRST, Ground
from bench.load import Answered
from bench.sample import Plan, Spread, alternately, figure, ratios
from bench.served import Served

CONNECTIONS = 64
BATCH_CONNECTIONS = 2
BATCH_SIZE = 1_000


class Cost(msgspec.Struct, frozen=True):
    """A load's answers, and the processor time that an operation took of service and PostgreSQL."""

    answered: Answered
    service_us: float
    postgres_us: float


def durability(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare durable deposits with the same application without a database."""
    with _two(ground) as (durable, memory, lost):
        pids = {durable.pid: ground.pids(), memory.pid: []}
        rounds = alternately(
            plan, *(lambda side=side: _cost(side, pids[side.pid], plan) for side in (durable, memory))
        )
        notes = [
            _told("durable", [first for first, _ in rounds]),
            _told("without a database", [second for _, second in rounds]),
            f"every answer is in the log: {lost(sum(first.answered.sent for first, _ in rounds))} differ",
        ]
    return [
        Claim(
            name="deposits",
            says=f"durable deposits over HTTP, {CONNECTIONS} connections / the same app without a database",
            sense="at least",
            target=0.75,
            values=ratios((first.answered.rate, second.answered.rate) for first, second in rounds),
            notes=notes,
        )
    ]


def hot_account(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare deposits on one account with deposits on a thousand."""
    with served.durable(ground.ledger()) as service:
        rounds = alternately(
            plan,
            lambda: _singles(service, plan, logins=(LOGIN_FIRST, 1)),
            lambda: _singles(service, plan),
        )
    notes = [
        _rates("one account", [one for one, _ in rounds]),
        _rates("1,000 accounts", [many for _, many in rounds]),
    ]
    return [
        Claim(
            name="hot-account",
            says=f"{CONNECTIONS} connections all on one account / spread over 1,000",
            sense="at least",
            target=0.9,
            values=ratios((one.rate, many.rate) for one, many in rounds),
            notes=notes,
        )
    ]


def batches(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare the batch route with single requests."""
    with served.durable(ground.ledger()) as service:
        rounds = alternately(plan, lambda: _batches(service, plan), lambda: _singles(service, plan))
    notes = [
        _rates(f"batches of {BATCH_SIZE:,}", [batch for batch, _ in rounds]),
        _rates("single requests", [single for _, single in rounds]),
    ]
    return [
        Claim(
            name="batch",
            says=f"operations a second by {BATCH_CONNECTIONS} connections of 1,000-item batches"
            f" / by {CONNECTIONS} of single requests",
            sense="at least",
            target=3.0,
            values=ratios((batch.rate, single.rate) for batch, single in rounds),
            notes=notes,
        )
    ]


@contextmanager
def _two(ground: Ground) -> Iterator[tuple[Served, Served, Lost]]:
    ledger = ground.ledger()
    before = ledger.length()
    with served.durable(ledger) as durable, served.without_database() as memory:
        yield durable, memory, lambda answered: ledger.length() - before - answered
