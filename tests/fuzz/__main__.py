"""`python -m tests.fuzz`: repeat a run of made-up calls by its seed, or write the examples anew."""

from __future__ import annotations

import argparse

from api.examples import FILE
from tests.fuzz.calls import PHASES, fuzz
from tests.fuzz.examples import BEGIN, make, written
from tests.fuzz.exercise import EXAMPLES, books_differ
from tests.service import embedded_service


def main() -> int:
    """Do what was asked for; exit code 1 means that an answer was not as described."""
    arguments = _arguments()
    return _write_examples() if arguments.write_examples else _repeat(arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fuzz", description="send the service made-up calls")
    parser.add_argument("--seed", type=int, default=0, help="what the calls follow from (%(default)d)")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="calls of each kind (%(default)d)")
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=PHASES, metavar="PHASE")
    parser.add_argument("--write-examples", action="store_true", help="write api/static/examples.json anew")
    return parser.parse_args()


def _write_examples() -> int:
    with embedded_service("--simulate-from", BEGIN) as service:
        examples = make(service.url, service.key())
        service.stop()
    FILE.write_text(written(examples), encoding="utf-8")
    print(f"{FILE}: {len(examples)} examples")
    return 0


def _repeat(arguments: argparse.Namespace) -> int:
    with embedded_service() as service:
        key = service.key()
        make(service.url, key)
        findings = fuzz(
            service.url,
            key,
            seed=arguments.seed,
            examples=arguments.examples,
            phases=tuple(arguments.phases),
        )
        wrong = [*findings.wrong, *books_differ(service)]
        service.stop()
    print("\n\n".join([*wrong, f"{findings.calls:,} calls: {dict(findings.statuses)}"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
