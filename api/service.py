"""The running ledger: writer, readers, keys and clock of one ledger, and what handlers ask of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
from psycopg import AsyncConnection

from api import answers, profiles
from api.clocks import Now, real_now
from api.database import Database
from api.feed import Feed
from api.followers import Tail
from api.housekeeping import AWAY, Housekeeping, Keeper
from api.keys import Key, KeyRing, key_of
from api.log_lines import tell_booked
from api.metrics import Metrics
from api.middleware import Ask
from api.refusal_log import RefusalLog
from api.seal_key import SealKey
from api.sealer import Sealer
from api.simulation import choose_clock
from api.startup import CLOCK_BEHIND_MAX
from api.watch import Watch
from ledger.clock import DayWindow
from ledger.commands import Command, Request, StartSimulation
from ledger.definitions import Definitions
from ledger.events import (
    Event,
    GroupDefined,
    MoneyMoved,
    ServerDefined,
    SimulationStarted,
    SymbolDefined,
    operation_id,
)
from ledger.refusals import AlreadyApplied, ManagerOffline, NotFound, PermissionDenied, Refusal
from ledger.tickets import Outcome
from ledger.writer import Committed, GroupCommit
from projections import accounts, audit, keys, operations, valuation
from projections.batch import BatchViews
from projections.symbols import symbol_body, symbol_of


class Days(msgspec.Struct, frozen=True):
    """The ledger's present days and definitions; `position` is the head of its log."""

    definitions: Definitions
    server_day: date
    trading_day: date
    now: datetime
    position: int = 0


class Service:
    """One ledger, served."""

    def __init__(
        self,
        database: Database,
        *,
        ledger: str,
        keeper: Keeper | None = None,
        request_ids_needed: bool = True,
        clock_behind_max: timedelta = CLOCK_BEHIND_MAX,
        seal_key: SealKey | None = None,
    ) -> None:
        self.ledger = ledger
        self.database = database
        self.request_ids_needed = request_ids_needed
        self.keys = KeyRing(ledger, self._load_key)
        self.ready = False
        self._clock: Now = real_now
        self._clock_behind_max = clock_behind_max
        self._views = BatchViews()
        self._definitions = Definitions()
        self.metrics = Metrics()
        self.tail = Tail(self._log_head)
        self.refusal_log = RefusalLog(database)
        self.writer = GroupCommit(
            connect=database.connect_writer,
            views=self._views,
            now=self.now,
            tell=self._committed,
            behind_max=clock_behind_max,
        )
        self.feed = Feed(database, now=self.now)
        self._housekeeping = Housekeeping(database, self.writer, now=self.now, keeper=keeper)
        self._watch = Watch(database)
        self.sealer: Sealer | None = None
        if seal_key is not None:
            self.sealer = Sealer(database, seal_key, ledger=ledger, now=self.now)

    def now(self) -> datetime:
        """Read the ledger's clock, real or simulated."""
        return self._clock()

    async def start(self, *, simulate_from: datetime | None = None) -> None:
        """Open the database, set the clock, book what expired meanwhile; then the service is ready."""
        await self.database.open()
        async with self.reading() as connection:
            definitions = await self._views.load_definitions(connection)
            self._clock = await choose_clock(
                connection, definitions, simulate_from, behind_max=self._clock_behind_max
            )
        await self.writer.start()
        if simulate_from is not None and definitions.simulated_from is None:
            command = StartSimulation(starts_at=simulate_from)
            await self.writer.submit(Request(command=command, request_id="~simulation"))
        await self._housekeeping.start()
        await self.feed.start()
        self.tail.start()
        self.refusal_log.start()
        self._watch.start()
        if self.sealer is not None:
            self.sealer.start()
        self.ready = True

    async def stop(self) -> None:
        """Drain the writer and close everything."""
        self.ready = False
        await self._watch.stop()
        await self.tail.stop()
        await self.feed.stop()
        await self._housekeeping.stop()
        await self.writer.stop()
        await self.refusal_log.stop()
        if self.sealer is not None:
            await self.sealer.stop()
        await self.database.close()

    async def carry_out(
        self, ask: Ask, command: Command, *, dry_run: bool = False
    ) -> tuple[answers.Body, bool]:
        """Have a command carried out; give the answer's body, and whether it is a replay of the first."""
        request = Request(command=command, request_id=ask.request_id, caller=ask.caller, dry_run=dry_run)
        try:
            events = await self.writer.submit(request)
        except Refusal as refusal:
            self.metrics.count_outcome(request, refusal)
            await self.explain(refusal, ask)
            if ask.replays and refusal.code == "request_applied" and "answered" in refusal.extra:
                self.metrics.refusals[refusal.code] += 1
                return refusal.extra["answered"], True  # type: ignore[return-value]
            raise
        self.metrics.count_outcome(request, events)
        return await self.answer(events, ask, dry_run=dry_run), False

    async def carry_out_each(self, requests: Sequence[Request], *, dry_run: bool = False) -> list[Outcome]:
        """Have independent requests carried out in order; give their outcomes."""
        outcomes = await self._come_to(requests, self.writer.submit_bulk(requests, dry_run=dry_run))
        self.metrics.count_outcomes(requests, outcomes)
        return outcomes

    async def carry_out_all(self, requests: Sequence[Request], *, dry_run: bool = False) -> list[Outcome]:
        """Have requests carried out in one transaction, or none; whoever asks counts what came of it."""
        return await self._come_to(requests, self.writer.submit_atomic(requests, dry_run=dry_run))

    async def answer(self, events: Sequence[Event], ask: Ask, *, dry_run: bool = False) -> answers.Body:
        """Give the body that tells of an operation."""
        first = events[0]
        if isinstance(first, MoneyMoved):
            return answers.booked(events, dry_run=dry_run)
        told = {"operationId": operation_id(first), "requestId": first.request_id}
        match first:
            case GroupDefined():
                return profiles.group_body_of(first) | told
            case SymbolDefined():
                return symbol_body(symbol_of(first)) | told
            case ServerDefined():
                return profiles.server_body_of(first) | told
            case SimulationStarted():
                return {"simulated": True, "simulatedFrom": first.starts_at} | told
            case _:
                return await self._account_after(first, ask) | told

    async def explain(self, refusal: Refusal, ask: Ask) -> None:
        """Put the first operation's answer into a refusal that names one."""
        first = refusal.extra.get("operation")
        if isinstance(login := refusal.extra.get("switched"), int):
            async with self.database.answering() as connection:
                first = await operations.last_switch(connection, login)
        if not isinstance(first, tuple):
            return
        if isinstance(refusal, AlreadyApplied) or ask.key.may_read(first[0]):
            refusal.extra["answered"] = await self.answer(first, ask)
        else:  # what it defined is not for this key
            refusal.extra["fields"] = None

    async def explained(self, outcomes: Sequence[Outcome], ask: Ask) -> None:
        """Do so for each outcome of a batch."""
        for outcome in outcomes:
            if isinstance(outcome, Refusal):
                await self.explain(outcome, ask)

    async def profile(self, login: int, ask: Ask) -> answers.Body:
        """Give an account's profile; NotFound, or PermissionDenied outside of the key's reach."""
        async with self.reading() as connection:
            days = await self.days(connection)
            view = await accounts.view(
                connection, login, server_day=days.server_day, trading_day=days.trading_day
            )
            if view is None:
                raise NotFound("unknown_login", f"there is no account {login}", field="login")
            lacking = await valuation.lacking(connection, login) if view.unvalued else []
            if view.group not in days.definitions.groups:  # it is newer than what was read of them
                days = await self.days(connection)
        if not ask.access.reaches(login, view.group):
            detail = f"account {login} is outside this key's reach"
            raise PermissionDenied("outside_mask", detail, login=login)
        group = days.definitions.groups[view.group]
        body = profiles.account_body(view, group, scopes=ask.scopes, now=days.now)
        return body | {"warnings": [f"figures_stale: {what}" for what in lacking]} if lacking else body

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend a connection that reads."""
        async with self.database.reading() as connection:
            yield connection

    async def days(self, connection: AsyncConnection[Any]) -> Days:
        """Read the definitions, and tell today's days; a clock behind the last day booked on stands still."""
        defined, last = await operations.present(connection)
        if defined != self._definitions.position:
            self._definitions = await self._views.load_definitions(connection)
        definitions = self._definitions
        now = self.now()  # after the first look: nothing in a snapshot is later
        window = DayWindow.of(definitions.clock, now)
        if last is None:
            return Days(definitions, window.server_day, window.trading_day, now)
        server_day, trading_day = window.server_day, window.trading_day
        return Days(
            definitions,
            max(server_day, last.server_day),
            max(trading_day, last.trading_day),
            now,
            last.position,
        )

    async def _come_to(
        self, requests: Sequence[Request], outcomes: Awaitable[list[Outcome]]
    ) -> list[Outcome]:
        """Wait for outcomes; count those of a call that is turned away whole."""
        try:
            return await outcomes
        except Refusal as refusal:
            self.metrics.count_outcomes(requests, [refusal] * len(requests))
            raise

    async def _account_after(self, event: Event, ask: Ask) -> answers.Body:
        """Give an account's profile as an event left it, which is mostly how it is now."""
        login: int = event.login  # type: ignore[attr-defined]
        async with self.database.answering() as connection:
            days = await self.days(connection)
            view = await accounts.view(
                connection, login, server_day=event.server_day, trading_day=event.trading_day
            )
        if view is None or view.version != event.version:
            view = accounts.view_of(await self.database.stream(event.stream, until=event.version))
        group = days.definitions.groups[view.group]
        return profiles.account_body(view, group, scopes=ask.scopes, now=days.now)

    def _committed(self, committed: Committed) -> None:
        """Count a commit, and wake whoever follows the log or seals it."""
        self.metrics.count_commit(committed)
        tell_booked(committed.booked)
        if committed.booked:
            self.tail.reached(committed.booked[-1].position)
            if self.sealer is not None:
                self.sealer.reached(committed.booked[-1].position)

    async def _log_head(self) -> int:
        async with self.database.following() as connection:
            return await audit.head(connection)

    async def _load_key(self, key_id: str) -> Key | None:
        try:
            async with self.database.checking() as connection:
                row = await keys.checked(connection, key_id)
        except AWAY as error:
            detail = "the ledger's database cannot be reached"
            raise ManagerOffline("database_away", detail, retry_after=1) from error
        return None if row is None else key_of(row)
