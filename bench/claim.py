"""A claim about speed or memory: what it says, what was measured, whether it is met."""

from __future__ import annotations

from typing import Literal

import msgspec

from bench.sample import Spread, figure

OTHERS_MAX = 0.1


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence with a number in it.

    `values` has one value a round; `others` is the share of the processors that went to other processes,
    which matters where time was measured.
    """

    name: str
    says: str
    sense: Literal["at least", "at most"]
    target: float
    values: list[float]
    unit: str = ""
    notes: list[str] = []
    timed: bool = True
    others: float = 0.0

    @property
    def spread(self) -> Spread:
        """The median, and the spread around it."""
        return Spread.of(self.values)

    @property
    def met(self) -> bool:
        """Whether the median keeps the claim."""
        found = self.spread.median
        return found >= self.target if self.sense == "at least" else found <= self.target

    @property
    def verdict(self) -> str:
        """The word for it, with a doubt where other processes took much of the machine."""
        word = "met" if self.met else "SHORT"
        return f"{word}?" if self.disturbed else word

    @property
    def disturbed(self) -> bool:
        """Whether others took so much of the machine that the times are doubtful."""
        return self.timed and self.others > OTHERS_MAX

    def row(self) -> tuple[str, str, str, str, str]:
        """Give the line of the table."""
        sign = ">=" if self.sense == "at least" else "<="
        wanted = f"{sign} {figure(self.target)}{self.unit}"
        return self.name, self.says, wanted, f"{self.spread}{self.unit}", self.verdict

    def plain(self) -> dict[str, object]:
        """Give the claim for programs."""
        spread = self.spread
        return {
            "name": self.name,
            "says": self.says,
            "sense": self.sense,
            "target": self.target,
            "unit": self.unit.strip(),
            "median": spread.median,
            "min": spread.low,
            "max": spread.high,
            "rounds": self.values,
            "met": self.met,
            "others": self.others,
            "notes": self.notes,
        }
