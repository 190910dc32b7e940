"""The other side of the HTTP claim: `fundledger serve` with everything but a database.

`python -m bench.without_database` is the very `serve` of the command line, with another Service in
it: the same application, gatekeeper, key check, decoding, decision and answer. Only
  - the writer decides each request at once on accounts in memory, with no queue, batch or commit,
    and keeps nothing but the accounts and the number of events;
  - the key ring loads its one key from memory.
It prints its key in its first line.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from datetime import datetime
from typing import Any, cast
from unittest import mock

from api import cli
from api.cli import serve
from api.clocks import real_now
from api.keys import Key, KeyRing, NewKey, make_key
from api.scopes import ROLES
from api.service import Service
from bench.ground import CURRENCY, DIGITS, GROUP, LOGIN_FIRST, LOGINS
from ledger import account as accounts
from ledger.account import Account
from ledger.book import Book, Head, Moment, moment_after
from ledger.clock import DayWindow
from ledger.commands import EVERYTHING, Request
from ledger.decide import decide
from ledger.definitions import Definitions, Group
from ledger.events import Event
from ledger.writer import GroupCommit

LEDGER = "main"


class MemoryWriter:
    """Decides on accounts in memory and forgets the events."""

    def __init__(self) -> None:
        definitions = Definitions(groups={GROUP: Group(group=GROUP, currency=CURRENCY, digits=DIGITS)})
        self._window = DayWindow.of(definitions.clock, real_now())
        self._book = Book(moment=self._moment(real_now()), head=1 + LOGINS, definitions=definitions)
        day = self._book.moment.server_day
        for login in range(LOGIN_FIRST, LOGIN_FIRST + LOGINS):
            self._book.accounts[login] = Account(
                login, GROUP, CURRENCY, DIGITS, True, 1, 0, 0, day, 0, day.replace(day=1), 0
            )

    async def submit(self, request: Request) -> list[Event]:
        """Give the events of one request; its refusal is raised."""
        book = self._book
        book.moment = self._moment(real_now())
        events = decide(book, request)
        for event in events:
            login: int = getattr(event, "login")  # noqa: B009 - deposits only
            book.accounts[login] = accounts.evolve(book.accounts[login], event)
        book.head += len(events)
        return events

    def _moment(self, now: datetime) -> Moment:
        if not self._window.contains(now):
            self._window = DayWindow.of(self._window.clock, now)
        return moment_after(Head(), now, self._window)


class ServiceWithoutDatabase(Service):
    """A service that opens nothing."""

    key: NewKey

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.writer = cast("GroupCommit", MemoryWriter())
        self.keys = KeyRing(LEDGER, self._from_memory)

    async def start(self, *, simulate_from: datetime | None = None) -> None:  # noqa: ARG002
        """Be ready."""
        self.ready = True

    async def stop(self) -> None:
        """Leave nothing behind."""

    def _from_memory(self, key_id: str) -> Awaitable[Key | None]:
        return _given(self.key if key_id == self.key.key_id else None)


async def _given(key: NewKey | None) -> Key | None:
    if key is None:
        return None
    return Key(
        key_id=key.key_id,
        name="bench",
        scopes=frozenset(ROLES["manager"]),
        access=EVERYTHING,
        secret_hash=key.secret_hash,
        expires_at=None,
        revoked_at=None,
    )


def main() -> int:
    """Serve on a free port until told to stop."""
    ServiceWithoutDatabase.key = make_key(LEDGER)
    print(ServiceWithoutDatabase.key.text, flush=True)
    with mock.patch.object(serve, "Service", ServiceWithoutDatabase):
        return cli.main(
            [
                "serve",
                "--database-url",
                "postgresql:///",
                "--ledger",
                LEDGER,
                "--port",
                "0",
                "--log-level",
                "warning",
            ]
        )


if __name__ == "__main__":
    sys.exit(main())
