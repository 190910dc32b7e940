"""What the figures were measured on: processor, memory, disk, load, PostgreSQL and its settings."""

from __future__ import annotations

import os
import platform
import re
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import psycopg

from bench.sample import Waits

PAGE: Final = 8192
SEGMENT: Final = 16 * 2**20
SETTINGS: Final = (
    "shared_buffers",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "data_checksums",
    "wal_sync_method",
    "wal_init_zero",
    "max_wal_size",
    "checkpoint_timeout",
    "jit",
)
_SYNCS = 200


def describe(database_url: str, directory: Path) -> dict[str, str]:
    """Say what there is, as words by name."""
    return {
        "processor": f"{len(os.sched_getaffinity(0))} cores, {_processor()}",
        "memory": f"{_memory_bytes() / 2**30:.1f} GiB",
        "disk": f"8 kB write and fdatasync: median {fdatasync_us(directory):.0f} us",
        "load": load(),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "postgresql": _postgresql(database_url),
    }


def load() -> str:
    """Say how busy the machine is with other things."""
    return f"{os.getloadavg()[0]:.2f} processes on average in the last minute"


def fdatasync_us(directory: Path) -> float:
    """Measure what one durable write of a page costs at least, as PostgreSQL writes its log."""
    return Waits.of(syncs_us(directory, PAGE, _SYNCS)).p50_us


def syncs_us(directory: Path, size: int, number: int) -> Iterator[float]:
    """Write so many bytes durably, again and again, into a file that was written before; give the times."""
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        file.write(os.urandom(SEGMENT))
        os.fsync(file.fileno())
        data, places = os.urandom(size), cycle(range(0, SEGMENT - size, size))
        for place in islice(places, number):
            began = time.perf_counter()
            os.pwrite(file.fileno(), data, place)
            os.fdatasync(file.fileno())
            yield (time.perf_counter() - began) * 1e6


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return found[1] if found else platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _postgresql(database_url: str) -> str:
    with psycopg.connect(database_url) as connection:
        version = connection.info.parameter_status("server_version")
        settings = [
            f"{name}={connection.execute('SELECT current_setting(%s)', [name]).fetchall()[0][0]}"
            for name in SETTINGS
        ]
    return f"{version}, {', '.join(settings)}"
