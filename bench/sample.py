"""Rounds: the sides of a comparison one after the other, again and again, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import TypeVar

import msgspec

R = TypeVar("R")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How long to measure, and how many accounts the big broker has."""

    rounds: int
    seconds: float
    accounts: int


FULL = Plan(rounds=9, seconds=3.0, accounts=1_000_000)
QUICK = Plan(rounds=5, seconds=0.8, accounts=50_000)


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
        return f"{figure(self.median)} ({figure(self.low)}..{figure(self.high)})"


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
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
