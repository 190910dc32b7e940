"""What a service does unasked: book credit that has expired, keep the embedded server running."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import psycopg
from psycopg_pool import PoolTimeout

from api import tasks
from api.clocks import Skew
from api.database import Database
from api.embedded.errors import EmbeddedPostgresError
from ledger.commands import SYSTEM, ExpireCredit, Request, expiry_of
from ledger.refusals import Fault, ManagerOffline, Refusal
from ledger.tickets import Outcome
from ledger.writer import GroupCommit
from projections import accounts

log = logging.getLogger("fundledger.housekeeping")

POLL_S = 0.25
RESTART_PAUSE_S = 1.0
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, OSError)


class Keeper(Protocol):
    """Whoever keeps the database server running."""

    def ensure_running(self) -> bool:
        """Start the server again if it has died."""
        ...


class Housekeeping:
    """One task beside the writer, from start to stop."""

    def __init__(
        self, database: Database, writer: GroupCommit, *, now: Callable[[], datetime], keeper: Keeper | None
    ) -> None:
        self._database = database
        self._writer = writer
        self._now = now
        self._keeper = keeper
        self._waits: str | None = None
        """What it waits for, as it was last said."""
        self._skew = Skew()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Book what expired meanwhile, then go on in the background."""
        await self.sweep()
        self._task = asyncio.create_task(self._run(), name="housekeeping")

    async def stop(self) -> None:
        """End the task."""
        if self._task is not None:
            await tasks.end(self._task)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            self._skew.tell(self._writer.clock_behind, too_early=self._writer.too_early)
            try:
                if self._keeper is not None:
                    await asyncio.to_thread(self._keeper.ensure_running)
                await self.sweep()
                self._waits = None
            except (*AWAY, Refusal) as error:
                reason = error.code if isinstance(error, Refusal) else type(error).__name__
                if reason != self._waits:
                    log.warning("housekeeping waits for the database: %s", error)
                self._waits = reason
            except EmbeddedPostgresError as error:  # such as a disk without room: it may have some soon
                log.error("%s", error)
                await asyncio.sleep(RESTART_PAUSE_S)
            except Exception:
                log.exception("housekeeping met a fault")

    async def sweep(self) -> list[Outcome]:
        """Take out credit whose last server day has closed.

        It is looked for each time: what was recorded just before a close may be committed long after it.
        """
        close = self._writer.definitions.clock.latest_close(self._now())
        async with self._database.checking() as connection:
            due = await accounts.expired_grants(connection, close)
        outcomes = await self._writer.submit_bulk([_expiry(login, grant) for login, grant in due])
        for outcome in outcomes:
            if isinstance(outcome, ManagerOffline | Fault):
                raise outcome
            if isinstance(outcome, Refusal):
                log.info("credit had gone before it could expire: %s", outcome.code)
        return outcomes


def _expiry(login: int, grant: int) -> Request:
    """Ask for the end of a grant."""
    command = ExpireCredit(login=login, grant=grant)
    return Request(command=command, request_id=expiry_of(grant), caller=SYSTEM)
