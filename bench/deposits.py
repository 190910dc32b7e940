"""Claims about deposits over HTTP: durability's price, one busy account, the batch route."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec

from bench import process, served
from bench.claim import Claim
from bench.commits import in_bulk, writing
from bench.ground import LOGIN_FIRST, LOGINS, Ground
from bench.load import Answered, WrongAnswer
from bench.sample import Plan, Spread, alternately, ratios, told
from bench.served import Served

CONNECTIONS = 64
CROWD = 256
BATCH_CONNECTIONS = 2
BATCH_SIZE = 1_000
ALL = (LOGIN_FIRST, LOGINS)


class Cost(msgspec.Struct, frozen=True):
    """A load's answers, and the processor time that an operation took of service and PostgreSQL."""

    answered: Answered
    service_us: float
    postgres_us: float


def durability(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare durable deposits with the same application without a database."""
    return _durability(ground, plan, "deposits", CONNECTIONS, rate=0.85)


def crowd(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare the same for four times as many connections."""
    return _durability(ground, plan, "crowd", CROWD, rate=0.8)


def _durability(ground: Ground, plan: Plan, name: str, connections: int, *, rate: float) -> list[Claim]:
    ledger = ground.ledger()
    before = ledger.length()
    with served.durable(ledger) as durable, served.without_database() as memory:
        rounds = alternately(
            plan,
            lambda: _cost(durable, plan, ground.pids(), connections),
            lambda: _cost(memory, plan, [], connections),
        )
    booked, answered = ledger.length() - before, sum(first.answered.sent for first, _ in rounds)
    if booked != answered:
        raise WrongAnswer(f"{answered} deposits were answered, {booked} are in the log")
    return [
        Claim(
            name=name,
            says=f"durable deposits over HTTP, {connections} connections / the same app without a database",
            sense="at least",
            target=rate,
            values=ratios((first.answered.rate, second.answered.rate) for first, second in rounds),
            notes=[
                *_told("durable", [first for first, _ in rounds]),
                *_told("without a database", [second for _, second in rounds]),
                f"each of the {answered:,} deposits that were answered is in the log, and no other",
            ],
        ),
        Claim(
            name=f"{name}-p99",
            says=f"p99 of durable deposits, {connections} connections / of the same app without a database",
            sense="at most",
            target=2.0,
            values=ratios(
                (first.answered.waits.p99_us, second.answered.waits.p99_us) for first, second in rounds
            ),
        ),
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
        rates("one account", [one for one, _ in rounds]),
        rates("1,000 accounts", [many for _, many in rounds]),
    ]
    return [
        Claim(
            name="hot-account",
            says=f"{CONNECTIONS} connections all on one account / spread over 1,000",
            sense="at least",
            target=1.0,
            values=ratios((one.rate, many.rate) for one, many in rounds),
            notes=notes,
        )
    ]


def batches(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare the batch route with single requests, and with the writer in process."""
    with served.durable(ground.ledger()) as service, writing(ground.ledger()) as through:
        rounds = alternately(
            plan,
            lambda: _batches(service, plan).rate,
            lambda: _singles(service, plan).rate,
            lambda: through(partial(in_bulk, size=BATCH_SIZE), plan),
        )
    names = (f"batches of {BATCH_SIZE:,}", "single requests", "in process")
    notes = [
        f"{name}: {Spread.of(side)} operations/s"
        for name, side in zip(names, zip(*rounds, strict=True), strict=True)
    ]
    return [
        Claim(
            name="batch",
            says=f"operations a second by {BATCH_CONNECTIONS} connections of 1,000-item batches"
            f" / by {CONNECTIONS} of single requests",
            sense="at least",
            target=3.0,
            values=ratios((batch, single) for batch, single, _ in rounds),
            notes=notes,
        ),
        Claim(
            name="batch-in-process",
            says=f"the same batches / the writer in process, two calls of {BATCH_SIZE:,} at a time",
            sense="at least",
            target=0.85,
            values=ratios((batch, in_process) for batch, _, in_process in rounds),
        ),
    ]


def rates(name: str, answers: Sequence[Answered]) -> str:
    """Say how many operations a second were answered, and how soon."""
    rate = Spread.of(answered.rate for answered in answers)
    return f"{name}: {rate} operations/s, {told([answered.waits for answered in answers])}"


def _singles(service: Served, plan: Plan, *, logins: tuple[int, int] = ALL) -> Answered:
    return service.answers(connections=CONNECTIONS, seconds=plan.seconds, logins=logins)


def _batches(service: Served, plan: Plan) -> Answered:
    return service.answers(connections=BATCH_CONNECTIONS, seconds=plan.seconds, what="batch", size=BATCH_SIZE)


def _cost(service: Served, plan: Plan, server: Sequence[int], connections: int) -> Cost:
    service_before, server_before = process.cpu_us([service.pid]), process.cpu_us(server)
    answered = service.answers(connections=connections, seconds=plan.seconds, logins=ALL)
    return Cost(
        answered,
        (process.cpu_us([service.pid]) - service_before) / answered.sent,
        (process.cpu_us(server) - server_before) / answered.sent,
    )


def _told(name: str, costs: Sequence[Cost]) -> list[str]:
    service = Spread.of(cost.service_us for cost in costs)
    postgres = Spread.of(cost.postgres_us for cost in costs)
    generator = Spread.of(cost.answered.cpu_us / cost.answered.sent for cost in costs)
    each = f"service {service}, PostgreSQL {postgres}, load generator {generator}"
    return [
        rates(name, [cost.answered for cost in costs]),
        f"{name}: processor time an operation in us: {each}",
    ]
