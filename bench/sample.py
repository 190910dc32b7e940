"""Rounds: the sides of a comparison one after the other, again and again, and what came out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import TypeVar

import msgspec

R = TypeVar("R")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How long to measure, also where every single wait counts, and how large what is measured is.

    `accounts` are the big broker's, `events` the long log's, `lines` one account's in the long history.
    """

    rounds: int
    seconds: float
    watched_s: float
    accounts: int
    events: int
    lines: int


FULL = Plan(rounds=9, seconds=3.0, watched_s=60.0, accounts=1_000_000, events=5_000_000, lines=100_000)
QUICK = Plan(rounds=3, seconds=0.2, watched_s=2.0, accounts=50_000, events=100_000, lines=20_000)


class Spread(msgspec.Struct, frozen=True):
    """A median, and the smallest and largest value beside it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Sum values up."""
        found = sorted(values)
        return cls(median(found), found[0], found[-1])

    def __str__(self) -> str:
        if self.low == self.high:
            return figure(self.median)
        return f"{figure(self.median)} ({figure(self.low)}..{figure(self.high)})"


class Waits(msgspec.Struct, frozen=True):
    """How long callers waited, in us; `tenfold` of them ten times the median or longer."""

    p50_us: float
    p99_us: float
    p999_us: float
    longest_us: float
    tenfold: int

    @classmethod
    def of(cls, times_us: Iterable[float]) -> Waits:
        """Sum waits up; none at all are taken for one of no time."""
        times = sorted(times_us) or [0.0]
        p50, p99, p999 = (percentile(times, share) for share in (0.5, 0.99, 0.999))
        return cls(p50, p99, p999, times[-1], len(times) - bisect_left(times, 10 * p50))


def told(waits: Sequence[Waits]) -> str:
    """Say how long callers waited in all rounds."""
    p50, p99, p999 = (
        Spread.of(getattr(each, name) for each in waits) for name in ("p50_us", "p99_us", "p999_us")
    )
    return f"p50 {p50} us, p99 {p99} us, p99.9 {p999} us"


def alternately(plan: Plan, *sides: Callable[[], R]) -> list[tuple[R, ...]]:
    """Run each side once a round, in turn forwards and backwards, so that a drift favours none."""
    rounds = []
    for number in range(plan.rounds):
        order = range(len(sides)) if number % 2 == 0 else range(len(sides) - 1, -1, -1)
        results = {side: sides[side]() for side in order}
        rounds.append(tuple(results[side] for side in range(len(sides))))
    return rounds


def ratios(pairs: Iterable[tuple[float, float]]) -> list[float]:
    """Divide the first side by the second, in each round."""
    return [first / second for first, second in pairs]


def percentile(ascending: Sequence[float], share: float) -> float:
    """Give the value below which this share of the sorted values lies."""
    return ascending[min(len(ascending) - 1, int(len(ascending) * share))]


def figure(value: float) -> str:
    """Write a number with as many digits as it deserves."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if 0 < abs(value) < 0.1:
        return f"{value:.2g}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
