"""The claim that a long log costs nothing: deposits with millions of events in it, and with hardly any."""

from __future__ import annotations

import time

import uvloop

from bench import served
from bench.claim import Claim
from bench.deposits import CONNECTIONS, rates
from bench.ground import Ground, Ledger, book_deposits
from bench.sample import Plan, alternately, ratios


def long_log(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare deposits over HTTP on a long log with deposits on a short one."""
    long, short, began = ground.ledger(), ground.ledger(), time.monotonic()
    _fill(long, plan.events)
    filled = f"{long.length():,} events, filled in {time.monotonic() - began:.0f} s"
    with served.durable(long) as on_long, served.durable(short) as on_short:
        rounds = alternately(
            plan,
            lambda: on_long.answers(connections=CONNECTIONS, seconds=plan.seconds),
            lambda: on_short.answers(connections=CONNECTIONS, seconds=plan.seconds),
        )
    of_long, of_short = zip(*rounds, strict=True)
    return [
        Claim(
            name="long-log",
            says=f"deposits over HTTP, {CONNECTIONS} connections, {plan.events:,} events in the log"
            " / hardly any",
            sense="at least",
            target=0.85,
            values=ratios((one.rate, other.rate) for one, other in rounds),
            notes=[filled, rates("the long log", of_long), rates("the short one", of_short)],
        )
    ]


def _fill(ledger: Ledger, events: int) -> None:
    """Make the log so long, by the writer; what that leaves to PostgreSQL is done before measuring."""
    uvloop.run(book_deposits(ledger, events - ledger.length()))
    ledger.execute("VACUUM ANALYZE")
    ledger.execute("CHECKPOINT")
