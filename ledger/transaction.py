"""One batch's way through the database: read under the gate, decide, book, commit, in two round trips.

The first is left out where all that the decisions look at is remembered: the database then holds the batch
against the log and the accounts, and a batch that does not continue them fails as a whole, to be read for.
What it needs of the read side it says in two small protocols; projections.batch implements them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any, ClassVar, Protocol

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.errors import Diagnostic, IntegrityError

from ledger import recorder
from ledger.account import Account
from ledger.book import Book, Head, Moment, Operation, ReferenceKey, moment_after, moment_of
from ledger.clock import DayWindow
from ledger.codec import read_event
from ledger.commands import Request, StartSimulation, expiry_of, limited_key, logins_of
from ledger.definitions import Definitions
from ledger.events import Event, MoneyMoved
from ledger.figures import Figures
from ledger.memory import Memory
from ledger.packing import Packed, RowPacker, int8
from ledger.refusals import AlreadyApplied, ManagerOffline, Refusal
from ledger.silence import BoundedConnection
from ledger.tickets import Outcome, Ticket, decide_ticket
from ledger.wire import NO_PARAMS, Ended, Params, Prepared, Wire

Statement = tuple[str, dict[str, Any]]

CLOCK_RETRY_AFTER_S = 10
DRAFT_MAX_S = 1.0
"""A draft that is older is decided again: it could be of a day that is over."""

MOVED = "FL001"
"""What the database calls it when an account or the log is not as a batch took it to be."""

_BEGIN = Prepared("begin", "BEGIN")
_LOCK = Prepared("lock_gate", recorder.LOCK_GATE)
_COMMIT = Prepared("commit", "COMMIT")
# A transaction that writes nothing waits for nobody; its commit must come after all others' in the WAL.
_TOUCH_WAL = Prepared("touch_wal", "SELECT pg_logical_emit_message(true, 'fundledger', '')")
_ROLLBACK = Prepared("rollback", "ROLLBACK")
_BEGINNING = ((_BEGIN, NO_PARAMS), (_LOCK, NO_PARAMS))


class BatchRead(msgspec.Struct):
    """What one read brought: the head of the log and everything that the requests touch."""

    position: int = 0
    definitions_position: int = 0
    accounts_table: int = 0
    login_max: int = 0
    head: bytes | None = None
    accounts: dict[int, Account] = {}
    requests: dict[str, Operation] = {}
    references: dict[ReferenceKey, Operation] = {}
    operations: dict[int, Operation] = {}
    reversals: dict[int, int] = {}
    used: dict[tuple[str, str, date], int] = {}
    keys: dict[str, int] = {}
    symbols: dict[str, int] = {}
    figures: dict[int, Figures] = {}

    def logins_met(self) -> list[int]:
        """Name the logins of operations that were found, where their accounts were not asked for."""
        found = (*self.requests.values(), *self.references.values(), *self.operations.values())
        logins = {getattr(event, "login", None) for operation in found for event in operation}
        return [login for login in logins if login is not None and login not in self.accounts]

    def expiries_met(self) -> list[str]:
        """Name the requests by which the grants expire whose credit the found operations moved."""
        found = (event for operation in self.operations.values() for event in operation)
        changes = (change for event in found if isinstance(event, MoneyMoved) for change in event.grants)
        return [expiry_of(change.grant) for change in changes]


class Reads(Protocol):
    """What the writer needs of the read side before it decides."""

    read_sqls: ClassVar[dict[str, str]]

    def only_accounts(self, requests: Sequence[Request]) -> bool:
        """Tell whether the decisions look at accounts alone, beside whether the requests are new."""
        ...

    def reading(self, requests: Sequence[Request]) -> tuple[str, dict[str, Packed]]:
        """Name the statement that reads what these requests' decisions look at, and its parameters."""
        ...

    def reading_met(self, logins: Sequence[int], request_ids: Sequence[str]) -> dict[str, Packed]:
        """Give the parameters of the statement `read_batch`."""
        ...

    def load(self, rows: Iterable[tuple[Any, ...]], read: BatchRead | None = None) -> BatchRead:
        """Sort the rows of a read, into what was read before if that is given."""
        ...

    async def load_definitions(self, connection: AsyncConnection[Any]) -> Definitions:
        """Read all definitions again."""
        ...


class Appends(Protocol):
    """What the writer needs of the read side after it decided."""

    append_sql: str

    def prepare(self, row_types: dict[str, int]) -> None:
        """Take the oids that the row types have in this database."""
        ...

    def append_params(self, book: Book, before: dict[int, Account], *, table: int = 0) -> dict[str, Packed]:
        """Pack what the batch changes; `table` is which table the accounts were remembered of, 0 if read."""
        ...

    def rare(self, book: Book) -> list[Statement]:
        """Give the statements beside the one that books the batch."""
        ...


class Views(Reads, Appends, Protocol):
    """Both sides of a batch."""


class Standing(msgspec.Struct, frozen=True):
    """What a batch stands on: the end of the log, the definitions, and the batch that ends it, if ours."""

    end: Head = Head()
    definitions: Definitions = Definitions()
    batch: Book | None = None

    @classmethod
    def after(cls, batch: Book) -> Standing:
        """Give what stands once a batch is booked."""
        return cls(batch.end, batch.definitions, batch)


class Draft(msgspec.Struct, frozen=True):
    """A batch that is decided and packed: to be booked as it stands, right after the batch `upon`."""

    book: Book
    outcomes: list[list[Outcome]]
    params: dict[str, Packed]
    rare: list[Statement]
    upon: Book | None


class UnknownOutcome(Exception):
    """COMMIT was sent, and whether it took hold everywhere is not known."""


class Transaction:
    """One batch's way through the database, on the writer's connection."""

    def __init__(
        self,
        views: Views,
        now: Callable[[], datetime],
        *,
        behind_max: timedelta = timedelta.max,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self._views = views
        self._now = now
        self._behind_max = behind_max
        self._meanwhile = meanwhile
        self._packer: RowPacker | None = None
        self._window: DayWindow | None = None
        self._standing = Standing()
        self._under_way: Standing | None = None
        """What stands if the batch that is sent, and not answered yet, is booked."""
        self._reads = {name: Prepared(name, text) for name, text in views.read_sqls.items()}
        self._append_batch = Prepared(
            "append_batch", f"WITH {recorder.APPEND_LOG.strip()},\n{views.append_sql}, {recorder.AT_THE_HEAD}"
        )
        self._wire: Wire | None = None
        self._memory = Memory()
        self._undisturbed = False
        """Whether the last read met nobody else's events, and no request that was booked before."""
        self.booking = False
        """Whether the batch has come so far that it may be booked, whatever happens to the connection."""
        self.booked: Sequence[Event] = ()
        """What the last batch booked."""
        self.last_recorded: datetime | None = None
        """The last recorded time that a batch has seen."""

        self.confirmed = 0
        """Up to this position it is known that everything is where a commit has to bring it, standbys too."""

    async def prepare(self, connection: BoundedConnection, row_types: dict[str, int]) -> None:
        """Forget what another connection knew; take this one's row types, and the definitions."""
        self._packer = recorder.entry_packer(row_types)
        self._views.prepare(row_types)
        self._memory.forget()
        self._undisturbed = False
        self.confirmed = 0
        self._standing = Standing(definitions=await self._views.load_definitions(connection))
        self._wire = Wire(connection, meanwhile=self._meanwhile)
        own = [_BEGIN, _LOCK, *self._reads.values(), self._append_batch, _COMMIT, _TOUCH_WAL, _ROLLBACK]
        await self._wire.prepare(own)

    @property
    def definitions(self) -> Definitions:
        """The definitions as of the last batch."""
        return self._standing.definitions

    @property
    def under_way(self) -> bool:
        """Whether a batch has been sent, whole, and is not answered yet."""
        return self._under_way is not None and self._on_wire.sent

    async def run(
        self, connection: AsyncConnection[Any], batch: Sequence[Ticket], draft: Draft | None = None
    ) -> list[list[Outcome]]:
        """Decide, book, commit; give the outcomes of each ticket. A draft counts if its time has come."""
        self.booking = False
        try:
            if draft is None or not self._holds(draft):
                draft = self.draft(batch)
            if draft is None or not await self._book_draft(connection, draft):
                return await self._run_read(connection, batch)
            return draft.outcomes
        except BaseException:
            self._memory.forget()
            raise

    def may_know(self, requests: Sequence[Request]) -> bool:
        """Tell whether these are of the kind that is decided on what is remembered."""
        return self._views.only_accounts(requests)

    def draft(self, batch: Sequence[Ticket]) -> Draft | None:
        """Decide a batch on what is remembered, after the one under way; None where a read must show more."""
        requests = _requests(batch)
        known = self._known(batch, requests)
        if known is None:
            return None
        book = self._book(known, requests, begins=False)
        outcomes = [decide_ticket(book, ticket) for ticket in batch]
        if any(isinstance(outcome, Refusal) for of_one in outcomes for outcome in of_one):
            return None
        return self._drafted(book, outcomes, known.accounts, table=known.accounts_table)

    def _holds(self, draft: Draft) -> bool:
        """Tell whether a draft comes right after the batch that it was decided upon, and in time."""
        age = self._now() - draft.book.moment.recorded_at
        return draft.upon is self._standing.batch and age.total_seconds() < DRAFT_MAX_S

    async def _book_draft(self, connection: AsyncConnection[Any], draft: Draft) -> bool:
        """Book a draft; nothing is booked where it turns out that more is so than was remembered."""
        try:
            await self._append(connection, draft, began=False)
        except psycopg.DatabaseError as error:
            if not (isinstance(error, IntegrityError) or error.sqlstate == MOVED):
                raise
            await connection.rollback()
            self._undisturbed = False
            return False
        return True

    def _known(self, batch: Sequence[Ticket], requests: Sequence[Request]) -> BatchRead | None:
        """Give what a read would bring, where it is known; the database sees a request that is not new."""
        if not (self._sure and _to_be_booked(batch) and self._views.only_accounts(requests)):
            return None
        sent = None if self._under_way is None else self._under_way.batch
        upon = {} if sent is None else sent.accounts  # what is booked is remembered, or forgotten with reason
        logins = (login for request in requests for login in logins_of(request.command))
        accounts = self._memory.accounts(logins, upon)
        if accounts is None or self.too_early:
            return None
        return BatchRead(
            position=self._base.end.position, accounts=accounts, accounts_table=self._memory.table
        )

    @property
    def _sure(self) -> bool:
        """Whether the server is there, and nobody else books, as far as can be known without asking."""
        return self._undisturbed and (self.under_way or self._on_wire.quiet())

    @property
    def _base(self) -> Standing:
        """What the next batch stands on."""
        return self._under_way or self._standing

    async def _run_read(
        self, connection: AsyncConnection[Any], batch: Sequence[Ticket]
    ) -> list[list[Outcome]]:
        requests = _requests(batch)
        read = await self._read(requests)
        repeated = any(request.request_id in read.requests for request in requests)
        self._undisturbed = read.position == self._standing.end.position and not repeated
        if read.definitions_position != self.definitions.position:
            anew = await self._views.load_definitions(connection)
            self._standing = msgspec.structs.replace(self._standing, definitions=anew)
        self._reach(read)
        begins = self.definitions.simulated_from is None and not read.login_max and _simulates(requests)
        if self.too_early and not begins:
            return await self._turn_away(batch)
        book = self._book(read, requests, begins=begins)
        outcomes = [decide_ticket(book, ticket) for ticket in batch]
        self.booked = ()
        if book.booked:
            await self._append(connection, self._drafted(book, outcomes, read.accounts, table=0), began=True)
        elif read.position > self.confirmed and _vouches(batch, outcomes):
            await self._commit(connection, (_TOUCH_WAL, NO_PARAMS))
            self.confirmed = read.position
        else:
            await self._on_wire.run((_ROLLBACK, NO_PARAMS))
        return outcomes

    @property
    def behind(self) -> timedelta:
        """How far the clock is behind the last event; zero or less where it is not."""
        return timedelta(0) if self.last_recorded is None else self.last_recorded - self._now()

    @property
    def too_early(self) -> bool:
        """Whether that is so far that one of the two times must be wrong."""
        return self.behind > self._behind_max

    async def _turn_away(self, batch: Sequence[Ticket]) -> list[list[Outcome]]:
        """Book nothing at a time that would be far from the true one."""
        await self._on_wire.run((_ROLLBACK, NO_PARAMS))
        self.booked = ()
        seconds = self.behind.total_seconds()
        detail = f"the clock is {seconds:.0f} s behind the ledger's last event"
        refusal = ManagerOffline("clock_behind", detail, retry_after=CLOCK_RETRY_AFTER_S)
        return [[refusal] * len(ticket.requests) for ticket in batch]

    @property
    def _on_wire(self) -> Wire:
        assert self._wire is not None
        return self._wire

    async def _read(self, requests: Sequence[Request]) -> BatchRead:
        wire = self._on_wire
        name, params = self._views.reading(requests)
        _, _, found = await wire.run(*_BEGINNING, (self._reads[name], params))
        read = self._views.load(wire.rows(found))
        met, expiries = read.logins_met(), read.expiries_met()
        if met or expiries:
            [found] = await wire.run((self._reads["read_batch"], self._views.reading_met(met, expiries)))
            self._views.load(wire.rows(found), read)
        return read

    def _book(self, read: BatchRead, requests: Sequence[Request], *, begins: bool) -> Book:
        definitions = self._base.definitions
        moment = self._moment(definitions, begins=begins)
        return Book(
            moment=moment,
            head=read.position,
            definitions=definitions,
            accounts=dict(read.accounts),
            requests=read.requests,
            references=read.references,
            operations=read.operations,
            reversals=read.reversals,
            used={
                (key, name): used for (key, name, day), used in read.used.items() if day == moment.server_day
            },
            limited={key for key in map(limited_key, requests) if key is not None},
            keys=read.keys,
            symbols=read.symbols,
            figures=read.figures,
            login_max=read.login_max,
            previous=self._base.end.last,
        )

    def _moment(self, definitions: Definitions, *, begins: bool) -> Moment:
        """Read the time; it goes back only where a simulation begins."""
        now = self._now()
        clock = definitions.clock
        if self._window is None or self._window.clock != clock or not self._window.contains(now):
            self._window = DayWindow.of(clock, now)
        return moment_after(Head() if begins else self._base.end, now, self._window)

    def _reach(self, read: BatchRead) -> None:
        """Take note of where the log stands, where another process has moved it."""
        self._memory.move(read.position, read.accounts_table)
        if read.position != self._standing.end.position:
            assert read.head is not None
            last = read_event(read.head, topic="", position=read.position)
            self._standing = Standing(Head(read.position, moment_of(last)), self.definitions)
            self.last_recorded = last.recorded_at

    def _drafted(
        self, book: Book, outcomes: list[list[Outcome]], before: dict[int, Account], *, table: int
    ) -> Draft:
        assert self._packer is not None
        params = self._views.append_params(book, before, table=table)
        params["entries"] = recorder.entries(self._packer, book.booked)
        params["head"] = int8(book.head)
        return Draft(book, outcomes, params, self._views.rare(book), self._base.batch)

    async def _append(self, connection: AsyncConnection[Any], draft: Draft, *, began: bool) -> None:
        book = draft.book
        if draft.rare and not began:
            await self._on_wire.run(*_BEGINNING)
            began = True
        for statement, values in draft.rare:
            await connection.execute(statement.encode(), values)
        beginning = () if began else _BEGINNING
        standing = Standing.after(book)
        self._under_way = standing
        try:
            await self._commit(connection, *beginning, (self._append_batch, draft.params))
        finally:
            self._under_way = None
        self._standing = standing
        self._memory.keep(book.accounts, standing.end.position)
        self.booked = book.booked
        self.last_recorded = book.moment.recorded_at
        self.confirmed = standing.end.position

    async def _commit(self, connection: AsyncConnection[Any], *last: tuple[Prepared, Params]) -> None:
        """Run the last statements and commit; a commit waits for what was committed before it, too."""
        warned: list[str | None] = []

        def warn(notice: Diagnostic) -> None:
            warned.append(notice.sqlstate)  # a notice is empty once its handler has returned

        connection.add_notice_handler(warn)
        self.booking = True
        try:
            await self._on_wire.run(*last, (_COMMIT, NO_PARAMS))
        except psycopg.Error as error:
            # What the server itself says of an earlier statement is its last word on the whole.
            said = error.sqlstate is not None or isinstance(error, Ended)
            self.booking = not said or self._on_wire.answered >= len(last)
            raise
        finally:
            connection.remove_notice_handler(warn)
        if "01000" in warned:
            raise UnknownOutcome


def _requests(batch: Sequence[Ticket]) -> list[Request]:
    return [request for ticket in batch for request in ticket.requests]


def _to_be_booked(batch: Sequence[Ticket]) -> bool:
    """Tell whether all that is asked is to be booked."""
    return all(
        ticket.requests and not ticket.rehearsal and not any(request.dry_run for request in ticket.requests)
        for ticket in batch
    )


def _vouches(batch: Sequence[Ticket], outcomes: Iterable[Sequence[Outcome]]) -> bool:
    """Tell whether somebody is to be told of something booked before: perhaps no standby has it yet."""
    told = any(isinstance(outcome, AlreadyApplied) for of_one in outcomes for outcome in of_one)
    return told or any(not ticket.requests for ticket in batch)


def _simulates(requests: Sequence[Request]) -> bool:
    return any(isinstance(request.command, StartSimulation) for request in requests)
