"""A claim about speed or memory: what it says, what was measured, whether it is met."""

from __future__ import annotations

from typing import Literal

import msgspec

from bench.sample import Spread, figure

OTHERS_MAX = 0.1


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A sentence with a number in it; without a target it is a figure to compare others by.

    `values` has one value a round, and none when it could not be measured; `others` is the share of the
    processors that went to other processes, which matters where time was measured.
    """

    name: str
    says: str
    sense: Literal["at least", "at most"] = "at least"
    target: float | None = None
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
    def found(self) -> str:
        """What was measured."""
        return f"{self.spread}{self.unit}" if self.values else "-"

    @property
    def wanted(self) -> str:
        """What is claimed."""
        if self.target is None:
            return "-"
        sign = ">=" if self.sense == "at least" else "<="
        return f"{sign} {figure(self.target)}{self.unit}"

    @property
    def met(self) -> bool | None:
        """Whether the median keeps the claim, where there is one."""
        if self.target is None or not self.values:
            return None
        found = self.spread.median
        return found >= self.target if self.sense == "at least" else found <= self.target

    @property
    def verdict(self) -> str:
        """The word for it, with a doubt where other processes took much of the machine."""
        if not self.values:
            return "not measured"
        word = {True: "met", False: "SHORT", None: "figure"}[self.met]
        return f"{word}?" if self.disturbed else word

    @property
    def disturbed(self) -> bool:
        """Whether others took so much of the machine that the times are doubtful."""
        return self.timed and self.others > OTHERS_MAX

    def row(self) -> tuple[str, str, str, str, str]:
        """Give the line of the table."""
        return self.name, self.says, self.wanted, self.found, self.verdict

    def plain(self) -> dict[str, object]:
        """Give the claim for programs."""
        spread = self.spread if self.values else None
        return {
            "name": self.name,
            "says": self.says,
            "sense": self.sense,
            "target": self.target,
            "unit": self.unit.strip(),
            "median": spread and spread.median,
            "min": spread and spread.low,
            "max": spread and spread.high,
            "rounds": self.values,
            "met": self.met,
            "others": self.others,
            "notes": self.notes,
        }
