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

LEDGERS = 24
STEPS = 50
"""Of one ledger at most: some end earlier, for Hypothesis varies what it has tried."""

A_ROUND = 1_000


def new_seed() -> int:
    """Choose what a run follows from."""
    return random.SystemRandom().randrange(2**32)


def go(database_url: str, number: int, *, steps: int, shrink: bool = True) -> Counted:
    """Run from one seed after the other until so many steps are done."""
    counted = Counted()
    while counted.steps < steps:
        before = counted.steps
        run(database_url, number, counted, shrink=shrink)
        assert counted.steps > before
        number += 1
    return counted


def run(
    database_url: str,
    number: int,
    counted: Counted,
    *,
    ledgers: int = LEDGERS,
    steps: int = STEPS,
    shrink: bool = True,
) -> None:
    """Run the machine on some ledgers; what fails is made small, and says how to see it again."""
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


def again(number: int, *, ledgers: int = LEDGERS, steps: int = STEPS) -> str:
    """Give the command that repeats a run."""
    return f"python -m tests.model --seed {number} --ledgers {ledgers} --steps {steps}"


def agreement(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Run it a thousand steps a round, each time from another seed."""
    outcome = Outcome()
    server = EmbeddedPostgres(scratch / "data", shared_buffers="64MB")
    server.start()
    try:
        while more(outcome.rounds, rounds, until) and outcome.clean:
            outcome.add(_round(server.url(dbname="postgres"), new_seed()))
    finally:
        server.stop()
    return outcome


def _round(database_url: str, number: int) -> Outcome:
    print(f"model: {again(number)}", file=sys.stderr, flush=True)
    try:
        counted = go(database_url, number, steps=A_ROUND, shrink=False)
    except AssertionError as failure:
        return Outcome(rounds=1, other=(str(failure), *failure.__notes__))
    return Outcome(rounds=1, acknowledged=counted.acknowledged)
