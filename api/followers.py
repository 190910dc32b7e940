"""The end of the log: who waits for it to grow, and how they come to know that it has.

The writer of this process tells of its own commits at once; those of other processes are found by one
look at the database every quarter of a second for all who wait. The look is the truth.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from api import tasks
from api.housekeeping import AWAY

log = logging.getLogger("fundledger.followers")

POLL_S = 0.25
PACE_S = 0.01
"""Commits that come closer to each other wake the followers once."""


class Tail:
    """The end of the log as far as it is known here."""

    def __init__(self, look: Callable[[], Awaitable[int]]) -> None:
        self._look = look
        self._position = 0
        self._grown = asyncio.Event()
        self._waking: asyncio.TimerHandle | None = None
        self._someone = asyncio.Event()
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None
        self.open = 0
        """How many callers follow the log."""
        self.ended = False
        """Whether the service is about to end: followers are to go."""

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="log-tail")

    async def stop(self) -> None:
        """Let all followers go, and end the task."""
        self.end()
        if self._task is not None:
            await tasks.end(self._task)

    def end(self) -> None:
        """Let all followers go."""
        self.ended = True
        self._wake()

    def reached(self, position: int) -> None:
        """Take note of a commit."""
        self._position = max(self._position, position)
        if self._waiting and self._waking is None:
            self._waking = asyncio.get_running_loop().call_later(PACE_S, self._wake)

    async def beyond(self, position: int, *, within_s: float) -> None:
        """Wait until the log goes beyond a position, a time is over, or the service ends."""
        if self.ended or self._position > position:
            return
        self._waiting += 1
        self._someone.set()
        with contextlib.suppress(TimeoutError):
            try:
                await asyncio.wait_for(self._grown.wait(), within_s)
            finally:
                self._waiting -= 1

    async def find(self) -> int:
        """Look where the log ends; what the writer says meanwhile is newer."""
        before = self._position
        found = await self._look()
        if self._position == before:
            self._position = found
        if found > before:
            self._wake()
        return found

    @contextmanager
    def follower(self) -> Iterator[None]:
        """Count a follower for as long as it follows."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def _wake(self) -> None:
        if self._waking is not None:
            self._waking.cancel()
        self._waking = None
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def _run(self) -> None:
        while True:
            if not self._waiting:
                self._someone.clear()
            await self._someone.wait()
            await asyncio.sleep(POLL_S)
            try:
                await self.find()
            except AWAY as error:
                log.warning("followers wait for the database: %s", type(error).__name__)
            except Exception:
                log.exception("followers met a fault")
