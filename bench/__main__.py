"""`python -m bench`: measure the claims, print what was found."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from api.cli import GC_THRESHOLDS
from bench import (
    broker,
    commits,
    deposits,
    exporting,
    footprint,
    history,
    listing,
    long_log,
    machine,
    market,
    outliers,
    peer,
    reading,
    sealing,
    sizes,
    upkeep,
)
from bench.claim import Claim
from bench.ground import LOGINS, PAST, Ground, ground
from bench.others import Others
from bench.sample import FULL, QUICK, Plan

Measure = Callable[[Ground, Plan], list[Claim]]

MEASURES: dict[str, Measure] = {
    "deposits": deposits.durability,
    "crowd": deposits.crowd,
    "outliers": outliers.outliers,
    "long-log": long_log.long_log,
    "hot-account": deposits.hot_account,
    "batch": deposits.batches,
    "group-commit": commits.groups,
    "commits": sizes.sizes,
    "latency": commits.latency,
    "hordak": peer.hordak,
    "history": history.pages,
    "memory": footprint.footprint,
    "reading": reading.reading,
    "seal": sealing.seals,
}
OF_BROKER: dict[str, Measure] = {
    "totals": listing.totals,
    "filters": listing.filters,
    "accounts-page": listing.page,
    "prev-columns": listing.prev_columns,
    "totals-upkeep": upkeep.upkeep,
    "export": exporting.export,
    "side-by-side": market.side_by_side,
    "quotes": market.quotes,
    "memory-accounts": footprint.of_accounts,
}
"""Those measured on the big broker, which is built when the first of them asks for it."""

MEASURES |= OF_BROKER
GROUPS = {"broker": list(OF_BROKER)}


def main() -> int:
    """Measure what was asked for; exit code 1 means that something could not be measured."""
    arguments = _arguments()
    plan = QUICK if arguments.quick else FULL
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    with ground() as there:
        found = machine.describe(there.url, there.directory)
        found["sizes"] = (
            f"{plan.rounds} rounds of {plan.seconds:g} s a side; {LOGINS:,} accounts of {PAST} deposits;"
            f" {plan.lines:,} events in the long history;"
            f" the broker: {broker.Size(accounts=plan.accounts)}"
        )
        _introduce(found)
        claims = [claim for name in _asked(arguments.only) for claim in _measure(name, there, plan)]
    _table(claims)
    if any(claim.disturbed for claim in claims):
        print("? others took more than a tenth of the processors: measure again on a quiet machine")
    if arguments.json is not None:
        _write(arguments.json, found, claims)
    return 0 if all(claim.values for claim in claims) else 1


def _arguments() -> Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="measure every speed claim as a ratio")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: a first look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results for programs too")
    parser.add_argument(
        "--only",
        action="append",
        choices=[*MEASURES, *GROUPS],
        metavar="NAME",
        help=f"of {', '.join([*MEASURES, *GROUPS])}",
    )
    return parser.parse_args()


def _asked(only: list[str] | None) -> list[str]:
    """Name the measures that were asked for, each once."""
    return list(dict.fromkeys(name for asked in only or MEASURES for name in GROUPS.get(asked, [asked])))


def _introduce(found: dict[str, str]) -> None:
    command = " ".join(["python -m bench", *sys.argv[1:]])
    print(f"fundledger bench, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {command}")
    for name, words in found.items():
        print(f"{name}: {words}")
    print(flush=True)


def _measure(name: str, there: Ground, plan: Plan) -> list[Claim]:
    began, others = time.monotonic(), Others(there)
    claims = MEASURES[name](there, plan)
    share = others.share()
    claims = [msgspec.structs.replace(claim, others=share) for claim in claims]
    for claim in claims:
        print(f"{claim.name}: {claim.found}, wanted {claim.wanted}: {claim.verdict}")
        for note in claim.notes:
            print(f"  {note}")
    print(f"  ({time.monotonic() - began:.0f} s; {share:.0%} of the processors went to others)\n", flush=True)
    return claims


def _table(claims: list[Claim]) -> None:
    table = Table(box=box.MARKDOWN)
    for heading in ("claim", "what", "wanted", "median (min..max)", ""):
        table.add_column(heading, no_wrap=True)
    for claim in claims:
        table.add_row(*claim.row())
    Console(width=240, highlight=False).print(table)


def _write(file: Path, found: dict[str, str], claims: list[Claim]) -> None:
    results = {"at": datetime.now(UTC), "machine": found, "claims": [claim.plain() for claim in claims]}
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
