"""The working set of one batch: what was read, what has been decided on top of it so far.

The commands of a batch are decided in arrival order, each on the state that the ones before it
leave. Nothing here touches a database: a batch that does not commit is simply forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import msgspec

from ledger import account as accounts
from ledger import definitions
from ledger.account import Account
from ledger.clock import DayWindow
from ledger.definitions import Definitions
from ledger.events import Event, KeyCreated, KeyRevoked, MoneyMoved, SymbolDefined
from ledger.figures import NO_POSITIONS, Figures, Worth

Operation = tuple[Event, ...]
ReferenceKey = tuple[str, str, str]


class Moment(msgspec.Struct, frozen=True):
    """When a batch is recorded: read once for all of it."""

    recorded_at: datetime
    server_day: date
    trading_day: date


class Head(msgspec.Struct, frozen=True):
    """An end of the log. A new ledger has position 0 and no moment."""

    position: int = 0
    last: Moment | None = None


def moment_of(event: Event) -> Moment:
    """Give the moment at which an event was recorded."""
    return Moment(event.recorded_at, event.server_day, event.trading_day)


def moment_after(head: Head, now: datetime, window: DayWindow) -> Moment:
    """Give the batch's moment: time and days never go back within a ledger."""
    if head.last is None:
        return Moment(now, window.server_day, window.trading_day)
    return Moment(
        max(now, head.last.recorded_at),
        max(window.server_day, head.last.server_day),
        max(window.trading_day, head.last.trading_day),
    )


class Book(msgspec.Struct, kw_only=True):
    """Everything that the decisions of one batch may look at.

    `requests`, `references` and `operations` hold first operations by request id, by (kind, method,
    reference) and by operation position; `reversals` maps an operation to the operation that
    reversed it; `used` is what a key has moved this server day, by key and currency, in minor units,
    and is kept for the `limited` keys; `keys` and `symbols` give the versions of their streams;
    `figures` are those of the accounts from which money is to be taken. `previous` is the moment of the
    event before this batch.
    """

    moment: Moment
    head: int
    definitions: Definitions
    accounts: dict[int, Account] = {}
    requests: dict[str, Operation] = {}
    references: dict[ReferenceKey, Operation] = {}
    operations: dict[int, Operation] = {}
    reversals: dict[int, int] = {}
    used: dict[tuple[str, str], int] = {}
    limited: set[str] = set()
    keys: dict[str, int] = {}
    symbols: dict[str, int] = {}
    figures: dict[int, Figures] = {}
    login_max: int = 0
    previous: Moment | None = None
    booked: list[Event] = []

    @property
    def end(self) -> Head:
        """The end of the log once this batch is in it."""
        return Head(self.head + len(self.booked), self.moment)

    @property
    def next_position(self) -> int:
        """The position that the next event will have."""
        return self.head + len(self.booked) + 1

    def worth(self, account: Account) -> Worth:
        """Give an account's money beside what its open positions are worth."""
        return Worth(
            balance=account.balance,
            credit=account.credit,
            group=self.definitions.groups[account.group],
            figures=self.figures.get(account.login, NO_POSITIONS),
        )

    def apply(self, events: Sequence[Event]) -> None:
        """Take one decided operation into the working set."""
        operation = tuple(events)
        first = events[0]
        for event in events:
            self._apply(event)
        self.booked.extend(events)
        self.operations[first.operation] = operation
        if first.request_id is not None:
            self.requests[first.request_id] = operation
        if isinstance(first, MoneyMoved):
            self._index(first, operation)

    def recall(self, events: Sequence[Event]) -> None:
        """Take events of the log into the working set, without what only decisions would look up."""
        for event in events:
            self._apply(event)
            if isinstance(event, MoneyMoved) and event.position == event.operation:
                self._count(event)
        self.booked.extend(events)

    def _apply(self, event: Event) -> None:
        if isinstance(event, MoneyMoved):
            self.accounts[event.login] = accounts.evolve(self.accounts[event.login], event)
        elif isinstance(event, KeyCreated | KeyRevoked):
            self.keys[event.key] = event.version
        elif isinstance(event, SymbolDefined):
            self.symbols[event.symbol] = event.version
        elif (login := getattr(event, "login", None)) is not None:
            self.accounts[login] = accounts.evolve(self.accounts.get(login), event)
            self.login_max = max(self.login_max, login)
            self._outdate(login)
        else:
            self.definitions = definitions.evolve(self.definitions, event)

    def _outdate(self, login: int) -> None:
        """Let the figures of an account whose group or leverage changed count as stale."""
        figures = self.figures.get(login)
        if figures is not None:
            self.figures[login] = msgspec.structs.replace(figures, fed_at=None)

    def _index(self, first: MoneyMoved, operation: Operation) -> None:
        self._count(first)
        if first.reference is not None and first.method is not None:
            self.references[(first.kind, first.method, first.reference)] = operation

    def _count(self, first: MoneyMoved) -> None:
        """Note what an operation reverses, and what it takes of a key's limit."""
        if first.kind == "reversal" and first.corrects is not None:
            self._reverse(first.corrects, first.operation)
        if first.key_id in self.limited and first.deal is None:  # no limit holds up what the market did
            key = (first.key_id, first.currency)
            self.used[key] = self.used.get(key, 0) + moved(first)

    def _reverse(self, operation: int, reversal: int) -> None:
        self.reversals[operation] = reversal
        freed = [key for key, events in self.references.items() if events[0].operation == operation]
        for key in freed:
            del self.references[key]


def moved(event: MoneyMoved) -> int:
    """Give what an operation counts against a key's limits: the larger of its absolute changes."""
    return max(abs(event.balance_change), abs(event.credit_change))
