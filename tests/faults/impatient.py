"""The service with less patience, so that no test has to wait as long as callers may have to.

`python -m tests.faults.impatient SECONDS serve` is `fundledger serve` that waits so long for the database.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from api import database
from api.cli import main, serve
from ledger.silence import BoundedConnection, BoundedThreadConnection

if TYPE_CHECKING:
    from collections.abc import Iterator

DRAIN_S = 0.5
CONNECT_TIMEOUT_S = 2  # less is not to be had of libpq
_READS = ("READ_SILENCE_MAX_S", "FEED_SILENCE_MAX_S", "EXPORT_SILENCE_MAX_S")


@contextmanager
def impatient(seconds: float) -> Iterator[None]:
    """Wait only so long for the database's answers."""
    wanted: list[tuple[object, str, float]] = [
        (BoundedConnection, "silence_max_s", seconds),
        (BoundedThreadConnection, "silence_max_s", seconds),
        (database, "CONNECT_TIMEOUT_S", CONNECT_TIMEOUT_S),
        (database, "STREAM_MAX_S", 5 * seconds),
        (serve, "DRAIN_S", DRAIN_S),
        *((database, name, seconds) for name in _READS),
    ]
    before = [(where, name, getattr(where, name)) for where, name, _ in wanted]
    for where, name, value in wanted:
        setattr(where, name, value)
    try:
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)


if __name__ == "__main__":
    with impatient(float(sys.argv[1])):
        raise SystemExit(main(sys.argv[2:]))
