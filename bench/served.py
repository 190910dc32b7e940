"""Services under load: `fundledger serve` and its twin without a database, each a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO, Any

import msgspec

from bench.ground import LOGIN_FIRST, LOGINS, Ledger
from bench.load import ROOT, Answered, Load

STOP_S = 60
WARM_S = 0.3
_QUIETLY = ("--port", "0", "--log-level", "warning")
_ADDRESS = re.compile(r" at http://127\.0\.0\.1:(\d+)")
_marks = count(1)


class Served(msgspec.Struct, frozen=True):
    """A service that runs."""

    pid: int
    port: int
    key: str

    def load(self, *, connections: int, seconds: float, **what: Any) -> Load:
        """Describe a load on it."""
        return Load(
            port=self.port,
            key=self.key,
            connections=connections,
            seconds=seconds,
            warm=min(WARM_S, seconds / 3),
            mark=f"load{next(_marks)}",
            **({"logins": (LOGIN_FIRST, LOGINS)} | what),
        )

    def answers(self, *, connections: int, seconds: float, **what: Any) -> Answered:
        """Load it; give what it answered."""
        return self.load(connections=connections, seconds=seconds, **what).run()


@contextmanager
def durable(ledger: Ledger, *, seal_key: Path | None = None) -> Iterator[Served]:
    """Serve a ledger; with a seal key, seal it."""
    command = ("-m", "api.cli", "serve", "--database-url", ledger.url, "--ledger", ledger.name, *_QUIETLY)
    seals = () if seal_key is None else ("--seal-key", str(seal_key))
    with _started(*command, *seals) as (process, output):
        yield Served(process.pid, _port(output), ledger.key)


@contextmanager
def embedded(data: Path) -> Iterator[Served]:
    """Serve a data directory as `make run` does; it has no key yet."""
    with _started("-m", "api.cli", "serve", "--data", str(data), *_QUIETLY) as (process, output):
        yield Served(process.pid, _port(output), "")


@contextmanager
def without_database() -> Iterator[Served]:
    """Serve the same application with a writer in memory."""
    with _started("-m", "bench.without_database") as (process, output):
        key = output.readline().strip()
        yield Served(process.pid, _port(output), key)


@contextmanager
def from_memory(ledger: Ledger) -> Iterator[Served]:
    """Serve a ledger of which each page is read once."""
    with _started("-m", "bench.page_from_memory", ledger.url, ledger.name) as (process, output):
        yield Served(process.pid, _port(output), ledger.key)


@contextmanager
def _started(*command: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    try:
        yield process, process.stdout
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(output: IO[str]) -> int:
    for line in output:
        if found := _ADDRESS.search(line):
            return int(found[1])
    raise RuntimeError("the service ended before it served")
