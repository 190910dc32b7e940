"""`python -m tests.soak`: every fault again and again for some minutes, and one table of what came of it."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from rich import box
from rich.console import Console
from rich.table import Table

from api.cli.progress import progress_bar
from bench.process import end_when_told
from tests.faults import crowd, disk, kills, leaving, paths, rivals, silence, standby, stops, storms
from tests.faults.outcome import Exercise, Outcome
from tests.fuzz import exercise as fuzz
from tests.model import exercise as model
from tests.service import scratch_directory

MINUTES = 5.0
EXERCISES: dict[str, Exercise] = {
    "service-killed": kills.service_killed,
    "postgres-killed": kills.postgres_killed,
    "service-stopped": stops.service_stopped,
    "postgres-stopped": stops.postgres_stopped,
    "two-services": rivals.two_services,
    "full-queue": crowd.full_queue,
    "storms": storms.storms,
    "path-broken": paths.broken,
    "path-silent": paths.silent,
    "path-to-clients": paths.between_clients,
    "statement-silent": silence.silent_statements,
    "disk-full": disk.disk_full,
    "clients-leave": leaving.clients_leave,
    "standby-frozen": standby.standby_frozen,
    "fuzz": fuzz.made_up_calls,
    "model": model.agreement,
}
"""What is repeated, by name; all have the same share of the time."""

ANEW_S = 90.0
LINES = 10
"""Of what is wrong with one, that much is said."""

_TICK_S = 0.5
_LINE_EVERY_S = 30.0


def main(words: Sequence[str] | None = None) -> int:
    """Run what was asked for; exit code 1 means that something is not zero that must be, or was not tried."""
    arguments = _arguments(words)
    end_when_told()
    for name in [name for name in os.environ if name.startswith("FUNDLEDGER_")]:
        del os.environ[name]
    asked = {name: EXERCISES[name] for name in arguments.only or EXERCISES}
    outcomes = soak(asked, minutes=arguments.minutes, rounds=arguments.rounds)
    _table(outcomes)
    return 0 if len(outcomes) == len(asked) and all(map(_good, outcomes.values())) else 1


def soak(
    exercises: Mapping[str, Exercise], *, minutes: float, rounds: int | None = None
) -> dict[str, Outcome]:
    """Run each exercise for its share of what time is left; one that fails does not stop the others."""
    end = time.monotonic() + 60 * minutes
    outcomes: dict[str, Outcome] = {}
    with suppress(KeyboardInterrupt):
        for name, exercise in exercises.items():
            seconds = max(end - time.monotonic(), 0) / (len(exercises) - len(outcomes))
            with _progress(name, seconds):
                outcomes[name] = _repeat(exercise, rounds, time.monotonic() + seconds)
            _say(f"{name}: {_in_words(outcomes[name])}")
    return outcomes


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="soak", description="repeat faults, and count what is lost")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long in all (%(default)g)")
    parser.add_argument("--rounds", type=int, help="so many rounds of each at most")
    parser.add_argument(
        "--only", nargs="+", action="extend", choices=EXERCISES, metavar="NAME", help=", ".join(EXERCISES)
    )
    return parser.parse_args(words)


def _repeat(exercise: Exercise, rounds: int | None, end: float) -> Outcome:
    """Begin anew after a while, with an empty ledger, so that nothing fills up however long it takes."""
    outcome, over = Outcome(), False
    while not over:
        left, until = None if rounds is None else rounds - outcome.rounds, min(end, time.monotonic() + ANEW_S)
        outcome.add(_run(exercise, left, until))
        had_enough = time.monotonic() < until or outcome.rounds == rounds
        over = had_enough or until == end or not outcome.clean
    return outcome


def _run(exercise: Exercise, rounds: int | None, until: float) -> Outcome:
    with scratch_directory() as scratch:
        try:
            return exercise(scratch, rounds=rounds, until=until)
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is a row of the table
            traceback.print_exc()
            words = str(failure).strip().rpartition("\n")[2]
            return Outcome(other=(f"{type(failure).__name__}: {words}",))


def _good(outcome: Outcome) -> bool:
    return outcome.clean and outcome.rounds > 0


def _table(outcomes: dict[str, Outcome]) -> None:
    table = Table(box=box.SIMPLE, title="what was repeated, and what came of it")
    table.add_column("fault", overflow="fold")
    for heading in ("rounds", "acknowledged", "lost", "doubled", "longest gap, s"):
        table.add_column(heading, justify="right")
    for name, outcome in outcomes.items():
        counts = (outcome.rounds, outcome.acknowledged, outcome.lost, outcome.doubled)
        table.add_row(name, *(f"{count:,}" for count in counts), f"{outcome.gap_longest_s:.1f}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    for name, outcome in outcomes.items():
        for line in outcome.other[:LINES]:
            print(f"{name}: {line}")


def _in_words(outcome: Outcome) -> str:
    return f"{outcome.rounds:,} rounds, {outcome.acknowledged:,} acknowledged, " + (
        "nothing wrong" if _good(outcome) else "NOT AS IT MUST BE"
    )


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


@contextmanager
def _progress(name: str, seconds: float) -> Iterator[None]:
    """Show on a terminal how far an exercise has come; elsewhere say every half minute that it goes on."""
    over = threading.Event()
    watch = threading.Thread(target=_watch, args=(name, seconds, over), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()


def _watch(name: str, seconds: float, over: threading.Event) -> None:
    began = time.monotonic()
    with progress_bar(max(int(seconds), 1), line_every_s=_LINE_EVERY_S) as seen:
        while not over.wait(_TICK_S):
            done = int(time.monotonic() - began)
            seen(done, f"{name}: {done} s of {seconds:.0f} s")


if __name__ == "__main__":
    raise SystemExit(main())
