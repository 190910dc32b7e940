"""A bank kept by django-hordak: its database, its tellers in processes, and what it holds in the end."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from bench.ground import AMOUNT, LOGIN_FIRST, LOGINS, PAST, Ground
from bench.load import Answered, WrongAnswer
from bench.sample import Waits

WARM_S: Final = 0.3
STOP_S: Final = 60
_WORKER: Final = Path(__file__).with_name("worker.py")


@contextmanager
def opened(ground: Ground, python: Path, *, tellers: int) -> Iterator[Bank]:
    """Open a bank with the bench's accounts; its tellers share as many processes as there are processors."""
    name = ground.new_name()
    ground.postgres.create_database_if_missing(name)
    hordak = Hordak(python, ground.postgres.url(dbname=name))
    hordak.run("prepare", LOGIN_FIRST, LOGINS, PAST)
    processes = min(tellers, len(os.sched_getaffinity(0)))
    with ExitStack() as at_closing:
        branches = [
            at_closing.enter_context(closing(Branch(hordak, range(number, tellers, processes))))
            for number in range(processes)
        ]
        yield Bank(hordak, branches)


class Bank:
    """A bank that is open."""

    def __init__(self, hordak: Hordak, branches: list[Branch]) -> None:
        self._hordak = hordak
        self._branches = branches
        self._booked = Counter({str(LOGIN_FIRST + number): PAST for number in range(LOGINS)})

    def deposits(self, *, tellers: int, seconds: float) -> Answered:
        """Let so many tellers book for a time; give what they did in it."""
        begin = time.monotonic() + WARM_S
        for branch in self._branches:
            branch.ask(tellers, begin, begin + seconds)
        works = [branch.answer() for branch in self._branches]
        for work in works:
            self._booked.update(work.booked)
        times_us = [time_us for work in works for time_us in work.times_us]
        return Answered(
            operations=len(times_us),
            sent=sum(sum(work.booked.values()) for work in works),
            seconds=seconds,
            waits=Waits.of(times_us),
            cpu_us=sum(work.cpu_us for work in works),
        )

    def count(self) -> int:
        """Give the number of hordak's transactions; WrongAnswer unless its tables hold what was booked."""
        found = msgspec.json.decode(self._hordak.run("read"), type=Found)
        transactions = self._booked.total()
        amount = Decimal(AMOUNT.units).scaleb(-AMOUNT.digits)
        balances = {name: amount * count for name, count in self._booked.items()}
        wanted = Found(transactions, 2 * transactions, {"bank": amount * transactions} | balances)
        if found != wanted:
            raise WrongAnswer(f"hordak's tables do not hold the {transactions} transactions that were booked")
        return transactions


class Found(msgspec.Struct, frozen=True):
    """What hordak's tables hold."""

    transactions: int
    legs: int
    balances: dict[str, Decimal]


class Branch:
    """A process with some of the tellers in it, each in a thread."""

    def __init__(self, hordak: Hordak, tellers: range) -> None:
        self._tellers = tellers
        self._process = hordak.start("book", *tellers)
        self._line()

    def ask(self, tellers: int, begin: float, end: float) -> None:
        """Let those book that are among the bank's first tellers."""
        assert self._process.stdin is not None
        count = sum(number < tellers for number in self._tellers)
        self._process.stdin.write(msgspec.json.encode([count, begin, end]) + b"\n")
        self._process.stdin.flush()

    def answer(self) -> Work:
        """Wait for what they did."""
        return msgspec.json.decode(self._line(), type=Work)

    def close(self) -> None:
        """Send them home."""
        try:
            self._process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            return line
        raise WrongAnswer("a process of hordak's tellers ended before it was told to")


class Work(msgspec.Struct, frozen=True):
    """What tellers did: how long each deposit of the measured time took, and how many each account got."""

    times_us: list[float]
    booked: dict[str, int]
    cpu_us: float


class Hordak(msgspec.Struct, frozen=True):
    """The Python that has hordak, and its database."""

    python: Path
    url: str

    def start(self, *words: str | int) -> subprocess.Popen[bytes]:
        """Start a worker."""
        return subprocess.Popen(
            [str(word) for word in (self.python, _WORKER, *words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "DATABASE_URL": self.url},
        )

    def run(self, *words: str | int) -> bytes:
        """Give what a worker says until it ends."""
        with self.start(*words) as process:
            said, _ = process.communicate()
        if process.returncode:
            raise WrongAnswer(f"hordak's worker failed with exit code {process.returncode}")
        return said
