"""Let the machine run: for a test, for the soak, and again from a seed."""

from __future__ import annotations

import random
import sys
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from api.embedded import EmbeddedPostgres
from tests.faults.outcome import Outcome, more
from tests.model.machine import Counted, Machine
from tests.model.stage import Stage

STEPS = 60
"""Of one ledger: more would not fit into what Hypothesis takes for one example."""

LEDGERS = 38
A_ROUND = 18
"""Ledgers of one round of the soak: a thousand steps and some."""


def new_seed() -> int:
    """Choose what a run follows from."""
    return random.SystemRandom().randrange(2**32)


def run(
    database_url: str, number: int, *, ledgers: int = LEDGERS, steps: int = STEPS, shrink: bool = True
) -> Counted:
    """Run the machine on so many ledgers; what fails is made small, and says how to see it again."""
    counted = Counted()
    chosen = settings(
        max_examples=ledgers,
        stateful_step_count=steps,
        database=None,
        derandomize=False,
        deadline=None,
        print_blob=False,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with Stage(database_url) as stage:
        machine = seed(number)(type("Machine", (Machine,), {"stage": stage, "counted": counted}))
        try:
            run_state_machine_as_test(machine, settings=chosen)
        except Exception as failure:
            failure.add_note(f"again: {again(number, ledgers=ledgers, steps=steps)}")
            raise
    return counted


def again(number: int, *, ledgers: int, steps: int) -> str:
    """Give the command that repeats a run."""
    return f"python -m tests.model --seed {number} --ledgers {ledgers} --steps {steps}"


def agreement(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Run it a thousand steps a round, each time from another seed."""
    outcome = Outcome()
    server = EmbeddedPostgres(scratch / "data", shared_buffers="64MB")
    server.start()
    try:
        while more(outcome.rounds, rounds, until) and not outcome.other:
            number = new_seed()
            print(f"model: {again(number, ledgers=A_ROUND, steps=STEPS)}", file=sys.stderr, flush=True)
            outcome.add(_round(server.url(dbname="postgres"), number))
    finally:
        server.stop()
    return outcome


def _round(database_url: str, number: int) -> Outcome:
    try:
        counted = run(database_url, number, ledgers=A_ROUND, shrink=False)
    except AssertionError as failure:
        return Outcome(rounds=1, other=(f"seed {number}: {failure}",))
    return Outcome(rounds=1, acknowledged=counted.acknowledged)
