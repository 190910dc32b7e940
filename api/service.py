"""The running ledger: writer, readers, keys and clock of one ledger, and what handlers ask of them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime
from typing import Any, Protocol

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout

from api import answers, profiles
from api.clocks import Now, real_now, simulated_from
from api.database import Database
from api.keys import Key, KeyRing, key_of
from api.middleware import Ask
from ledger.clock import DayWindow
from ledger.codec import read_event
from ledger.commands import SYSTEM, Command, ExpireCredit, Request, StartSimulation
from ledger.definitions import Definitions
from ledger.events import Event, MoneyMoved
from ledger.refusals import ManagerOffline, Refusal, ValidationError
from ledger.tickets import Outcome
from ledger.writer import GroupCommit
from projections import accounts, operations
from projections.batch import BatchViews

log = logging.getLogger("fundledger.service")

POLL_S = 0.25
_LAST = "SELECT notification_id, topic, state FROM ledger_events ORDER BY notification_id DESC LIMIT 1"
_REAL = "SELECT 1 FROM accounts LIMIT 1"
_KEY = (
    "SELECT key_id, name, scopes, groups, logins, amount_max, amount_day_max, secret_hash, expires_at,"
    " revoked_at FROM keys WHERE key_id = %s"
)
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout, OSError)


class Keeper(Protocol):
    """Whoever keeps the database server running."""

    def ensure_running(self) -> bool:
        """Start the server again if it has died."""
        ...


class Days(msgspec.Struct, frozen=True):
    """The ledger's present days and definitions."""

    definitions: Definitions
    server_day: date
    trading_day: date


class Service:
    """One ledger, served."""

    def __init__(
        self,
        database: Database,
        *,
        ledger: str,
        keeper: Keeper | None = None,
        request_ids_needed: bool = True,
    ) -> None:
        self.ledger = ledger
        self.database = database
        self.request_ids_needed = request_ids_needed
        self.keys = KeyRing(ledger, self._load_key)
        self.now: Now = real_now
        self.ready = False
        self._keeper = keeper
        self._views = BatchViews()
        self._swept: tuple[object, datetime] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.writer = GroupCommit(
            connect=database.connect_writer,
            views=self._views,
            now=lambda: self.now(),  # noqa: PLW0108 - the clock is chosen later
        )

    async def start(self, *, simulate_from: datetime | None = None) -> None:
        """Open the database, set the clock, book what expired meanwhile; then the service is ready."""
        await self.database.open()
        first_run = await self._set_clock(simulate_from)
        await self.writer.start()
        if first_run and simulate_from is not None:
            command = StartSimulation(starts_at=simulate_from)
            await self.writer.submit(Request(command=command, request_id="~simulation"))
        await self._sweep()
        self.ready = True
        self._tasks = [asyncio.create_task(self._keep_house(), name="housekeeping")]

    async def stop(self) -> None:
        """Drain the writer and close everything."""
        self.ready = False
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.writer.stop()
        await self.database.close()

    async def carry_out(
        self, ask: Ask, command: Command, *, dry_run: bool = False
    ) -> tuple[answers.Body, bool]:
        """Have a command carried out; give the answer's body, and whether it is a replay of the first."""
        request = Request(command=command, request_id=ask.request_id, caller=ask.caller, dry_run=dry_run)
        try:
            events = await self.writer.submit(request)
        except Refusal as refusal:
            await self.explain(refusal, ask)
            if ask.replays and refusal.code == "request_applied" and "answered" in refusal.extra:
                return refusal.extra["answered"], True  # type: ignore[return-value]
            raise
        return await self.answer(events, ask, dry_run=dry_run), False

    async def answer(self, events: Sequence[Event], ask: Ask, *, dry_run: bool = False) -> answers.Body:
        """Give the body that tells of an operation."""
        if isinstance(events[0], MoneyMoved):
            return answers.booked(events, dry_run=dry_run)
        return await profiles.told(self, events[0], ask)

    async def explain(self, refusal: Refusal, ask: Ask) -> None:
        """Put the first operation's answer into a refusal that names one."""
        first = refusal.extra.get("operation")
        if isinstance(login := refusal.extra.get("switched"), int):
            async with self.reading() as connection:
                first = await operations.last_switch(connection, login)
        if isinstance(first, tuple):
            refusal.extra["answered"] = await self.answer(first, ask)

    async def explained(self, outcomes: Sequence[Outcome], ask: Ask) -> None:
        """Do so for each outcome of a batch."""
        for outcome in outcomes:
            if isinstance(outcome, Refusal):
                await self.explain(outcome, ask)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection that reads."""
        async with self.database.reading() as connection:
            yield connection

    async def days(self, connection: AsyncConnection[Any]) -> Days:
        """Read the definitions, and tell today's days by them."""
        definitions = await self._views.load_definitions(connection)
        window = DayWindow.of(definitions.clock, self.now())
        return Days(definitions, window.server_day, window.trading_day)

    async def _load_key(self, key_id: str) -> Key | None:
        try:
            async with self.reading() as connection:
                row = await (await connection.execute(_KEY, [key_id])).fetchone()
        except AWAY as error:
            raise ManagerOffline(
                "database_away", "the ledger's database cannot be reached", retry_after=1
            ) from error
        return None if row is None else key_of(row)

    async def _set_clock(self, simulate_from: datetime | None) -> bool:
        """Choose the clock; tells whether the simulation has yet to be recorded."""
        async with self.reading() as connection:
            definitions = await self._views.load_definitions(connection)
            last = await last_recorded(connection)
            real = await (await connection.execute(_REAL)).fetchone() is not None
        if definitions.simulated_from is None:
            if simulate_from is not None:
                _refuse_simulation(real=real)
                self.now = simulated_from(simulate_from)
            return simulate_from is not None
        assert last is not None
        if simulate_from is not None and simulate_from < last:
            raise ValidationError(
                "simulation_goes_back",
                f"the ledger's last recorded time is {last.isoformat()}",
                field="simulate-from",
            )
        self.now = simulated_from(simulate_from or last)
        return False

    async def _keep_house(self) -> None:
        """Book expired credit at each close, and keep the embedded server running, until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            try:
                if self._keeper is not None:
                    await asyncio.to_thread(self._keeper.ensure_running)
                await self._sweep()
            except (*AWAY, Refusal) as error:
                log.warning("housekeeping waits for the database: %s", error)
            except Exception:
                log.exception("housekeeping met a fault")

    async def _sweep(self) -> None:
        """Take out credit whose last server day has closed, once for each close."""
        clock = self.writer.definitions.clock
        close = clock.latest_close(self.now())
        if self._swept == (clock, close):
            return
        async with self.reading() as connection:
            clock = (await self._views.load_definitions(connection)).clock
            close = clock.latest_close(self.now())
            due = await accounts.expired_grants(connection, close)
        for outcome in await self.writer.submit_bulk([_expiry(login, grant) for login, grant in due]):
            if isinstance(outcome, ManagerOffline):
                raise outcome
            if isinstance(outcome, Refusal):
                log.info("credit had gone before it could expire: %s", outcome)
        self._swept = (clock, close)


def _expiry(login: int, grant: int) -> Request:
    """Ask for the end of a grant; its request id lies outside of the callers' alphabet."""
    command = ExpireCredit(login=login, grant=grant)
    return Request(command=command, request_id=f"~expiry/bal_{grant}", caller=SYSTEM)


async def last_recorded(connection: AsyncConnection[Any]) -> datetime | None:
    """Give the ledger's last recorded time."""
    row = await (await connection.execute(_LAST, binary=True)).fetchone()
    return None if row is None else read_event(row[2], topic=row[1], position=row[0]).recorded_at


def _refuse_simulation(*, real: bool) -> None:
    if real:
        raise ValidationError(
            "ledger_is_real", "a ledger with real operations cannot be simulated", field="simulate-from"
        )
