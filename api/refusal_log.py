"""Refused attempts on their way into their table: noted at once, stored in the background in batches."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from itertools import islice
from typing import Final
from uuid import UUID, uuid4

import psycopg

from api.database import Database
from api.housekeeping import AWAY
from projections import refusals
from projections.refusals import Refused

log = logging.getLogger("fundledger.refusals")

QUEUE_MAX: Final = 10_000
BATCH_MAX: Final = 1_000
RETRY_S: Final = 0.25
FLUSH_S: Final = 5.0
LOST_LOGGED: Final = 1_000


class RefusalLog:
    """One task beside the writer. It never delays an answer; what it cannot hold it counts."""

    def __init__(self, database: Database, *, queue_max: int = QUEUE_MAX) -> None:
        self._database = database
        self._queue_max = queue_max
        self._queue: deque[Refused] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._known: int | None = None
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """How many are not stored yet."""
        return len(self._queue)

    def note(self, refused: Refused) -> None:
        """Take note of a refused attempt."""
        if len(self._queue) >= self._queue_max:
            self._drop(1)
            return
        self._queue.append(refused)
        self._arrived.set()

    def start(self) -> None:
        """Begin to store."""
        self._task = asyncio.create_task(self._run(), name="refusal-log")

    async def stop(self) -> None:
        """Store what is left, unless the database stays away."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._task, FLUSH_S)
        if self._queue:
            log.error("%d refused attempts were lost: the database is away", len(self._queue))

    async def _run(self) -> None:
        while self._queue or not self._closing:
            if self._queue:
                await self._store(list(islice(self._queue, BATCH_MAX)))
            else:
                self._arrived.clear()
                await self._arrived.wait()

    async def _store(self, batch: list[Refused]) -> None:
        """Store a batch, however often it takes; it leaves the queue only then."""
        await self._keep(batch)
        for _ in batch:
            self._queue.popleft()

    async def _keep(self, batch: list[Refused]) -> None:
        """Store a batch; one that cannot be stored is halved, so that the row to blame goes alone."""
        name = uuid4()
        try:
            while not await self._try(name, batch):  # noqa: ASYNC110 - nothing tells when the database is back
                await asyncio.sleep(RETRY_S)
        except Exception:
            if len(batch) == 1:
                log.exception("a refused attempt could not be kept")
                self._drop(1)
                return
            middle = len(batch) // 2
            await self._keep(batch[:middle])
            await self._keep(batch[middle:])

    async def _try(self, name: UUID, batch: list[Refused]) -> bool:
        """Tell whether the batch is stored."""
        try:
            async with self._database.keeping() as connection:
                if self._known is None:
                    self._known = await refusals.last_number(connection)
                await refusals.append(connection, name, batch, known=self._known)
                self._known = await refusals.last_number(connection)
        except psycopg.errors.UniqueViolation:
            return False
        except AWAY as error:
            log.warning("refused attempts wait for the database: %s", type(error).__name__)
            return False
        return True

    def _drop(self, number: int) -> None:
        before, self.dropped = self.dropped, self.dropped + number
        if before == 0 or before // LOST_LOGGED != self.dropped // LOST_LOGGED:
            log.error("refused attempts were dropped, %d so far", self.dropped)
