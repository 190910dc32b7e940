"""Where time comes from: the one place that reads the machine's clock."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

log = logging.getLogger("fundledger.clock")

Now = Callable[[], datetime]

SKEW_NOTICED = timedelta(seconds=1)
"""Two machines' clocks differ by less."""


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


class Skew:
    """Says it in the log when the clock falls behind the last event, and when it has caught up."""

    def __init__(self) -> None:
        self._told: str | None = None

    def tell(self, behind: timedelta, *, too_early: bool) -> None:
        """Look at how far it is behind; the same is said once."""
        if self._told is not None and behind <= timedelta(0):
            log.warning("the clock has caught up with the ledger's last event")
            self._told = None
        if behind < SKEW_NOTICED:
            return
        follows = "nothing is booked until it catches up" if too_early else "recorded time stands still"
        if follows != self._told:
            log.warning(
                "the clock is %.1f s behind the ledger's last event: %s", behind.total_seconds(), follows
            )
            self._told = follows


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
