"""The soak's exercise `fuzz`: made-up calls from one seed after another, and books that add up afterwards."""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

from tests.faults.outcome import Outcome, more
from tests.fuzz.calls import fuzz
from tests.fuzz.examples import make
from tests.fuzz.wire import memory_mib
from tests.service import service_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service import Service

EXAMPLES = 30
"""Calls of each kind in a round."""

STEPS = 20
GROWN_MAX_MIB = 400
"""What the service may hold more after all of it than before."""


def made_up_calls(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Call every route in every phase, with a key and without, each time from another seed."""
    outcome = Outcome()
    with service_in(scratch / "data") as service:
        key = service.key()
        make(service.url, key)
        began, _ = memory_mib(service.pid)
        while more(outcome.rounds, rounds, until):
            seed = random.SystemRandom().randrange(2**32)
            print(f"fuzz: python -m tests.fuzz --seed {seed}", file=sys.stderr, flush=True)
            findings = fuzz(service.url, key, seed=seed, examples=EXAMPLES, steps=STEPS)
            outcome.rounds += 1
            outcome.acknowledged += findings.calls
            outcome.other += tuple(f"seed {seed}: {wrong}" for wrong in findings.wrong)
        outcome.other += tuple(books_differ(service))
        if (held := memory_mib(service.pid)[0]) - began > GROWN_MAX_MIB:
            outcome.other += (f"the service held {began} MiB, and holds {held} MiB now",)
        service.stop()
    return outcome


def books_differ(service: Service) -> list[str]:
    """Say what `verify` and the service's own log hold against a run."""
    verified = service.command("verify")
    said = [] if verified.code == 0 else [f"verify: {verified.output}{verified.errors}"]
    return said + [line for line in service.logged().splitlines() if "met a fault" in line]
