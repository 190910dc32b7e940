"""The other side of the claim on pages of accounts: `fundledger serve`, which asks each question once.

`python -m bench.page_from_memory URL LEDGER` is the very `serve` of the command line: the same application,
gatekeeper, key check, reading of the question, and writing of the answer, rows and all. Only what the
database said to a question the first time is kept, and no connection is asked for after that.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

from psycopg import AsyncConnection

from api import accounts, cli
from api.cli import serve
from api.service import Days, Service
from ledger.definitions import Definitions
from projections.accounts_list import AccountsPage, Question, read_accounts
from projections.history import snapshot
from projections.totals import Moment


class ServiceFromMemory(Service):
    """Reads the ledger's days once, and lends a connection to nobody who could do without."""

    _days: Days | None = None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection[Any]]:
        """Lend one connection to everybody: nobody uses it."""
        if not self.ready:
            async with super().reading() as connection:
                yield connection
        else:
            yield _NO_CONNECTION

    async def days(self, connection: AsyncConnection[Any]) -> Days:  # noqa: ARG002 - the service's signature
        """Give the days as they were when first asked for."""
        if self._days is None:
            async with super().reading() as own:
                self._days = await super().days(own)
        return self._days

    async def start(self, **named: Any) -> None:
        """Start, and be whom the pages ask."""
        await super().start(**named)
        pages.service = self


class Pages:
    """Pages by their question."""

    service: Service

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], AccountsPage] = {}

    async def read(
        self, _: AsyncConnection[Any], question: Question, definitions: Definitions, moment: Moment
    ) -> AccountsPage:
        """Stand in for read_accounts."""
        key = question.filter.group_mask.text, question.limit, question.offset
        if key not in self._known:
            async with self.service.database.reading() as connection, snapshot(connection):
                self._known[key] = await read_accounts(connection, question, definitions, moment)
        return self._known[key]


@asynccontextmanager
async def _no_snapshot(_: AsyncConnection[Any]) -> AsyncIterator[None]:
    yield


_NO_CONNECTION: Any = None
pages = Pages()


def main() -> int:
    """Serve on a free port until told to stop."""
    url, ledger = sys.argv[1:]
    instead = mock.patch.multiple(accounts, read_accounts=pages.read, snapshot=_no_snapshot)
    with mock.patch.object(serve, "Service", ServiceFromMemory), instead:
        return cli.main(["serve", "--database-url", url, "--ledger", ledger, "--port", "0"])


if __name__ == "__main__":
    sys.exit(main())
