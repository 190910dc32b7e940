"""Under load the service, or its PostgreSQL, stands still, and goes on as if nothing had been."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.outcome import more
from tests.faults.shop import ENOUGH, shop_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.load import Load
    from tests.faults.outcome import Outcome

PATIENCE_S = 0.4
LONG_S = 12.0
"""Longer than PostgreSQL lets a transaction stand idle."""

LONG_EACH = 8


def service_stopped(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Stop the service until its clients give up, now and then longer."""
    with shop_in(scratch) as shop:

        async def stand_still(load: Load) -> None:
            with stopped(shop.service.pid):
                await load.until_given_up()
                await asyncio.sleep(longer(shop.outcome.rounds))

        while more(shop.outcome.rounds, rounds, until):
            shop.round(stand_still, patience_s=PATIENCE_S)
        shop.expect(shop.memory.repeated, "no client repeated what had been booked: nothing was tried")
        return shop.finish()


def postgres_stopped(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Stop PostgreSQL: its first process alone, on which nobody waits; or all of them."""
    with shop_in(scratch) as shop:

        async def first_alone(load: Load) -> None:
            with stopped(shop.postgres_pid):
                await load.until_acknowledged(ENOUGH)

        async def whole(load: Load) -> None:
            with stopped(shop.postgres_pid), stopped(*children(shop.postgres_pid)):
                await load.until_given_up()
                await asyncio.sleep(longer(shop.outcome.rounds))

        while more(shop.outcome.rounds, rounds, until):
            shop.round((first_alone, whole)[shop.outcome.rounds % 2], patience_s=PATIENCE_S)
        return shop.finish()


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """Have processes stand still."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def children(pid: int) -> list[int]:
    """Name the processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = path.read_text().rpartition(")")[2].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == str(pid):
            found.append(int(path.parent.name))
    return found


def longer(turn: int) -> float:
    """Say how long to stand still beyond the patience of clients: now and then long."""
    return LONG_S if turn % LONG_EACH in {LONG_EACH - 2, LONG_EACH - 1} else 0.0
