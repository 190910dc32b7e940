"""Whether the database is there: said in the log, once, when it is lost and when it is back."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from api import tasks
from api.database import Database, PoolFull
from api.housekeeping import AWAY
from api.log_lines import fields

log = logging.getLogger("fundledger.database")

LOOK_S: Final = 1.0


class Watch:
    """One task beside the writer, from start to stop; it looks whether anybody calls or not."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lost_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="watch")

    async def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            await tasks.end(self._task)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                async with self._database.following() as connection:
                    await connection.execute("SELECT")
            except PoolFull:
                continue  # those who hold the connections will see
            except AWAY as error:
                self._lost(error)
            except Exception:
                log.exception("the watch met a fault")
            else:
                self._back()

    def _lost(self, error: Exception) -> None:
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            log.error("the database is lost: %s", type(error).__name__)

    def _back(self) -> None:
        if self._lost_at is not None:
            away_s = round(time.monotonic() - self._lost_at, 1)
            log.warning("the database is back", extra=fields(away_s=away_s))
            self._lost_at = None
