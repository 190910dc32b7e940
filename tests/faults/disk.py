"""Under load the disk of PostgreSQL fills up, and has space again."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from itertools import cycle
from typing import TYPE_CHECKING

import psycopg

from tests.faults.outcome import more
from tests.faults.shop import Shop
from tests.service import BOUND_S, rows, service_in, superuser_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.load import Load
    from tests.faults.outcome import Outcome

SIZE = "300m"
"""Of memory, which is taken in each round."""

ROOM = 100 * 2**20

HOLD_S = 1.0
_BITES = (2**20, 2**12)
_NEXT_SEGMENT = "SELECT pg_logical_emit_message(false, 'test', ''), pg_switch_wal()"


def disk_full(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Fill the disk under the tables, where a statement fails, and under the WAL, where PostgreSQL panics."""
    with small_disk(scratch / "disk") as disk, service_in(disk / "data") as service:
        shop = Shop([service])
        full = _FullDisk(shop, disk)
        for fault in cycle((full.under_tables, full.under_wal)):
            if not more(shop.outcome.rounds, rounds, until) or not full.has_room():
                break
            shop.round(fault)
        return shop.finish()


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """Mount a small disk in memory; needs the right to mount."""
    place.mkdir(mode=0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "fundledger", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


class _FullDisk:
    """The disk of a shop, and how it fills up."""

    def __init__(self, shop: Shop, disk: Path) -> None:
        self._shop = shop
        self._url = superuser_url(disk / "data")
        self._ballast = disk / "ballast"
        self._disk = disk
        # With each segment of the WAL whole from its beginning, it is the tables that run out of room first.
        for setting in ("wal_init_zero = on", "max_wal_size = '64MB'", "min_wal_size = '32MB'"):
            rows(self._url, f"ALTER SYSTEM SET {setting}")
        rows(self._url, "SELECT pg_reload_conf()")
        rows(self._url, _NEXT_SEGMENT)

    def has_room(self) -> bool:
        """Say whether the books have not grown too large for another round."""
        rows(self._url, "CHECKPOINT")
        return shutil.disk_usage(self._disk).free > ROOM

    async def under_tables(self, load: Load) -> None:
        """Leave no room; statements fail, and reads go on."""
        self._eat()
        await self._hold(load)
        with self._shop.client() as client:
            read = await asyncio.to_thread(client.get, "/users/1001")
        self._shop.expect(read.status_code == 200, f"the disk is full, and a read says {read.text}")
        self._ballast.unlink()

    async def under_wal(self, load: Load) -> None:
        """Leave no room, and come to the end of the WAL: PostgreSQL panics, and cannot be started."""
        self._eat()
        await asyncio.to_thread(self._use_up_wal)
        await self._hold(load)
        self._ballast.unlink()

    def _use_up_wal(self) -> None:
        until = time.monotonic() + BOUND_S
        with suppress(psycopg.OperationalError):
            while True:
                assert time.monotonic() < until, "the WAL does not come to its end"
                rows(self._url, _NEXT_SEGMENT)
                self._eat()

    async def _hold(self, load: Load) -> None:
        """Take also what becomes free, until callers have been told for a while."""
        await load.until(lambda: "database_away" in load.memory.codes)
        until = time.monotonic() + HOLD_S
        while time.monotonic() < until:
            self._eat()
            await asyncio.sleep(0.05)

    def _eat(self) -> None:
        with self._ballast.open("ab", buffering=0) as ballast:
            for bite in _BITES:
                with suppress(OSError):
                    while True:
                        os.write(ballast.fileno(), bytes(bite))
