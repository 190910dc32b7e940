"""HTTP load: what to send, and what came back. The sending itself is a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import msgspec

from bench.sample import Waits

ROOT = Path(__file__).resolve().parent.parent
HANG_S = 60


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """A bounded time of requests: on each connection the next one goes out when the last is answered.

    `deposit` posts single deposits to the logins in turn, `batch` calls of `size` deposits, `get` reads
    `path`. Answers are counted from `warm` seconds on.
    """

    port: int
    key: str
    connections: int
    seconds: float
    warm: float
    what: Literal["deposit", "batch", "get"] = "deposit"
    logins: tuple[int, int] = (1001, 1000)
    size: int = 1
    amount: str = "125.50"
    path: str = ""
    mark: str = ""

    def run(self) -> Answered:
        """Send it; WrongAnswer unless every single answer was the one wanted."""
        return self.start().result()

    def start(self) -> Running:
        """Begin to send it."""
        return Running(self)


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """What the load saw. `operations` are those of the measured time, `sent` includes warming up."""

    operations: int
    sent: int
    seconds: float
    waits: Waits
    cpu_us: float
    wrong: str = ""

    @property
    def rate(self) -> float:
        """Operations answered in a second."""
        return self.operations / self.seconds


class WrongAnswer(Exception):
    """The service answered something else than was wanted: there is nothing to measure."""


class Running:
    """A load under way."""

    def __init__(self, load: Load) -> None:
        self._patience_s = HANG_S + load.seconds
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.generator"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(load))
        self._process.stdin.close()
        self._process.stdin = None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def result(self) -> Answered:
        """Wait for its end; give what it saw."""
        output, _ = self._process.communicate(timeout=self._patience_s)
        if self._process.returncode:
            raise WrongAnswer(f"the load generator failed with exit code {self._process.returncode}")
        answered = msgspec.json.decode(output, type=Answered)
        if answered.wrong:
            raise WrongAnswer(answered.wrong)
        return answered
