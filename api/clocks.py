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
