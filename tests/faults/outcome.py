"""What an exercise of the soak came to."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import msgspec


class Outcome(msgspec.Struct):
    """How much was done, and what was wrong; `other` names what is neither lost nor doubled."""

    rounds: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    gap_longest_s: float = 0.0
    other: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether zeros stand where zeros belong."""
        return not (self.lost or self.doubled or self.other)

    def add(self, more: Outcome) -> None:
        """Add what was done besides."""
        self.rounds += more.rounds
        self.acknowledged += more.acknowledged
        self.lost += more.lost
        self.doubled += more.doubled
        self.gap_longest_s = max(self.gap_longest_s, more.gap_longest_s)
        self.other += more.other


class Exercise(Protocol):
    """Repeats a fault so many times, or until `time.monotonic()` has passed an instant."""

    def __call__(
        self, scratch: Path, *, rounds: int | None = None, until: float | None = None
    ) -> Outcome: ...


def more(done: int, rounds: int | None, until: float | None) -> bool:
    """Say whether another round is asked for: one at least, and one only where nothing is said."""
    if rounds is None and until is None:
        return done < 1
    return (rounds is None or done < rounds) and (until is None or done < 1 or time.monotonic() < until)
