"""Claims about seals: what they cost those who book, and how soon an event is under a signed checkpoint."""

from __future__ import annotations

import time
from typing import Final

import msgspec
import psycopg
import uvloop

from api.clocks import real_now
from api.database import Database
from api.seal_key import SealKey
from api.sealer import STEP, Sealer
from bench import process, served
from bench.claim import Claim
from bench.deposits import CONNECTIONS, rates
from bench.ground import Ground, Ledger
from bench.load import Answered
from bench.sample import Plan, Spread, alternately, figure, ratios
from bench.served import Served

HANG_S: Final = 60.0
LOOK_S: Final = 0.05
_LAGS: Final = """
SELECT extract(epoch FROM percentile_disc(0.99) WITHIN GROUP (ORDER BY c.sealed_at - h.recorded_at))::float8
FROM (SELECT size, sealed_at, lag(size, 1, 0::bigint) OVER (ORDER BY size) AS before FROM checkpoints) AS c
JOIN history AS h ON h."position" > c.before AND h."position" <= c.size
WHERE h."position" > %s AND h."position" <= %s
"""
_SEALED: Final = "SELECT coalesce(max(size), 0), count(*) FROM checkpoints"


class Round(msgspec.Struct, frozen=True):
    """One load: what was answered, which positions it booked, and the service's time for each."""

    answered: Answered
    first: int
    last: int
    service_us: float


def seals(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare what sealing costs with what booking does, and look how far the sealer is behind."""
    sealed, plain = ground.ledger(), ground.ledger()
    key = ground.directory / "seal-key.pem"
    with served.durable(sealed, seal_key=key) as sealing, served.durable(plain) as other:
        _wait(sealed)
        rounds = alternately(plan, lambda: _load(sealing, sealed, plan), lambda: _load(other, plain, plan))
        _wait(sealed)
    alone_us = uvloop.run(_sealed_alone_us(plain, SealKey.at(key)))
    lags = [_lag_s(sealed, one.first, one.last) for one, _ in rounds]
    with psycopg.connect(sealed.superuser) as connection:
        [[_, checkpoints]] = connection.execute(_SEALED).fetchall()
    return [
        Claim(
            name="seal-cost",
            says=f"deposits over HTTP, {CONNECTIONS} connections, with the sealer / without",
            sense="at least",
            target=0.98,
            values=ratios((one.answered.rate, two.answered.rate) for one, two in rounds),
            notes=[
                *_told("with", [one for one, _ in rounds]),
                *_told("without", [two for _, two in rounds]),
            ],
        ),
        Claim(
            name="seal-cpu",
            says="processor time of the sealer, an event / of the service without it, a deposit over HTTP",
            sense="at most",
            target=0.02,
            values=ratios((alone_us, two.service_us) for _, two in rounds),
            notes=[f"the sealer alone, {STEP:,} events a step: {figure(alone_us)} us an event"],
        ),
        Claim(
            name="seal-lag-p99",
            says="from an event's recorded time to its signed checkpoint, of 99 % of the events of a round",
            sense="at most",
            target=2.0,
            unit=" s",
            values=lags,
            notes=[f"{checkpoints:,} checkpoints over {sealed.length():,} events"],
        ),
    ]


def _load(service: Served, ledger: Ledger, plan: Plan) -> Round:
    first, before = ledger.length(), process.cpu_us([service.pid])
    answered = service.answers(connections=CONNECTIONS, seconds=plan.seconds)
    took = process.cpu_us([service.pid]) - before
    return Round(answered, first, ledger.length(), took / answered.sent)


async def _sealed_alone_us(ledger: Ledger, key: SealKey) -> float:
    """Seal a ledger that nobody books to; give the processor time that an event takes, in microseconds."""
    database = Database(ledger.url, ledger.name)
    await database.open()
    try:
        sealer = Sealer(database, key, ledger=ledger.name, now=real_now)
        began = time.process_time()
        while await sealer.step():
            pass
        return (time.process_time() - began) * 1e6 / sealer.sealing.position
    finally:
        await database.close()


def _lag_s(ledger: Ledger, first: int, last: int) -> float:
    with psycopg.connect(ledger.superuser) as connection:
        [[lag_s]] = connection.execute(_LAGS.encode(), [first, last]).fetchall()
    return float(lag_s)


def _wait(ledger: Ledger) -> None:
    """Wait until everything is sealed."""
    until, head = time.monotonic() + HANG_S, ledger.length()
    with psycopg.connect(ledger.superuser, autocommit=True) as connection:
        while connection.execute(_SEALED).fetchall()[0][0] < head:
            if time.monotonic() > until:
                raise TimeoutError("the sealer does not come to the end of the log")
            time.sleep(LOOK_S)


def _told(name: str, rounds: list[Round]) -> list[str]:
    service = Spread.of(one.service_us for one in rounds)
    return [
        rates(name, [one.answered for one in rounds]),
        f"{name}: processor time of the service, an operation: {service} us",
    ]
