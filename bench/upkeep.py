"""The claim about what it costs a write to keep the sums."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

import uvloop

from bench.broker import AMOUNT, Broker, broker_of
from bench.claim import Claim
from bench.ground import Ground, book, deposit
from bench.sample import Plan, Spread, percentile, ratios
from ledger.account import Account
from ledger.book import Book
from ledger.money import parse_amount
from ledger.packing import Packed
from ledger.writer import GroupCommit
from projections import batch, sums
from projections.batch import BatchViews

SIZES: Final = {"totals-upkeep": 64, "totals-upkeep-bulk": 1_000}
_KEEPING: Final = re.compile(r"^(?:summed|of_days) AS \(\n.*?^\),\n", re.DOTALL | re.MULTILINE)
_BOOKED, _CUT = _KEEPING.subn("", BatchViews.append_sql)
assert _CUT == 2, "the statement that books a batch keeps its sums in another way now"


class WithoutSums(BatchViews):
    """Books as ever, but keeps neither totals nor what days moved."""

    append_sql = _BOOKED

    def append_params(self, book: Book, before: dict[int, Account], *, table: int = 0) -> dict[str, Packed]:
        """Pack what changes; the rows of sums are not worked out."""
        vars(batch)["sums"] = _NO_SUMS
        try:
            return super().append_params(book, before, table=table)
        finally:
            vars(batch)["sums"] = sums


def _none(*_: object) -> list[Any]:
    return []


_AMOUNT: Final = parse_amount(AMOUNT)
_NO_SUMS: Final = SimpleNamespace(totals_rows=_none, daily_rows=_none)


def upkeep(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare the writer with one that leaves the sums out."""
    broker = broker_of(ground, plan)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rounds = {
            name: [runner.run(_with_and_without(broker, size, plan)) for _ in range(plan.rounds)]
            for name, size in SIZES.items()
        }
    broker.settle()
    return [_claim(name, SIZES[name], found) for name, found in rounds.items()]


def _claim(name: str, size: int, rounds: Sequence[tuple[float, float]]) -> Claim:
    sides = zip(("with the sums", "without"), zip(*rounds, strict=True), strict=True)
    return Claim(
        name=name,
        says=f"the writer in process, batches of {size:,} over all groups / the same without the sums",
        sense="at most",
        target=1.25,
        values=ratios(rounds),
        notes=[f"{side}: {Spread.of(us / 1_000 for us in times)} ms a batch" for side, times in sides],
    )


async def _with_and_without(broker: Broker, size: int, plan: Plan) -> tuple[float, float]:
    """Book batches in turn with and without the sums; give the medians of both in us."""
    times: tuple[list[float], list[float]] = ([], [])
    async with broker.ledger.writer() as whole, broker.ledger.writer(views=WithoutSums()) as less:
        began = time.perf_counter()
        while time.perf_counter() - began < plan.seconds:
            for writer, taken in zip((whole, less), times, strict=True):
                taken.append(await _book(writer, broker, size))
    return percentile(sorted(times[0]), 0.5) * 1e6, percentile(sorted(times[1]), 0.5) * 1e6


async def _book(writer: GroupCommit, broker: Broker, size: int) -> float:
    first, count = broker.busy
    requests = [deposit(login, _AMOUNT) for login in random.sample(range(first, first + count), size)]
    start = time.perf_counter()
    await book(writer, requests)
    return time.perf_counter() - start
