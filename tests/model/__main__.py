"""`python -m tests.model --seed N`: run the machine on a server of its own, as it ran before."""

from __future__ import annotations

import argparse
import time

from api.embedded import EmbeddedPostgres
from bench.process import end_when_told
from tests.model.exercise import LEDGERS, STEPS, again, new_seed, run
from tests.model.machine import Counted
from tests.service import scratch_directory


def main() -> None:
    """Run it once; a failure is made small first, which takes some minutes."""
    arguments = _arguments()
    print(again(arguments.seed, ledgers=arguments.ledgers, steps=arguments.steps), flush=True)
    end_when_told()
    with scratch_directory() as scratch:
        server = EmbeddedPostgres(scratch / "data", shared_buffers="64MB")
        server.start()
        try:
            began, counted = time.monotonic(), Counted()
            run(
                server.url(dbname="postgres"),
                arguments.seed,
                counted,
                ledgers=arguments.ledgers,
                steps=arguments.steps,
                shrink=not arguments.as_found,
            )
        finally:
            server.stop()
    print(f"{counted.steps} steps in {time.monotonic() - began:.1f} s: {vars(counted)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.model", description="hold a ledger against its model")
    parser.add_argument("--seed", type=int, default=new_seed(), help="the same seed, the same run")
    parser.add_argument("--ledgers", type=int, default=LEDGERS, help="how many (%(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each ledger (%(default)s)")
    parser.add_argument("--as-found", action="store_true", help="do not make a failure small")
    return parser.parse_args()


if __name__ == "__main__":
    main()
