"""Where time comes from: the one place that reads the machine's clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Now = Callable[[], datetime]


def real_now() -> datetime:
    """Read the real clock, in UTC."""
    return datetime.now(UTC)


def simulated_from(start: datetime) -> Now:
    """Give a clock that shows `start` now and runs on from there."""
    began = time.monotonic()

    def now() -> datetime:
        return start + timedelta(seconds=time.monotonic() - began)

    return now


def stopped_at(instant: datetime) -> Now:
    """Give a clock that stands still, for commands that only stamp a ledger's last recorded time."""
    return lambda: instant


class SteppedClock:
    """A clock that stands still until it is put on, for a past that is lived through at once."""

    def __init__(self, instant: datetime) -> None:
        self._instant = instant

    def __call__(self) -> datetime:
        """Tell the time."""
        return self._instant

    def step_to(self, instant: datetime) -> None:
        """Put the clock on."""
        assert instant >= self._instant
        self._instant = instant
