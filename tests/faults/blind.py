"""A control: the same clients, and a table that neither knows what it has seen nor keeps what it has."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import psycopg

from tests.faults.books import Line
from tests.faults.memory import Answer
from tests.faults.wire import Gone

if TYPE_CHECKING:
    from collections.abc import Mapping

TABLE = "control (id bigserial, request_id text, login bigint, amount numeric)"
INSERT = "INSERT INTO control (request_id, login, amount) VALUES (%s, %s, %s) RETURNING id"
LINES = "SELECT request_id, login, amount, 0::numeric, 'bal_' || id, id FROM control"


class Blind:
    """Carries deposits into the table. What it gave up may still arrive, as it may on a network."""

    def __init__(self, url: str, *, patience_s: float) -> None:
        self._url = url
        self._patience_s = patience_s
        self._given_up: list[asyncio.Task[int]] = []

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Insert a row; Gone where the server says nothing for long, or is not there."""
        inserting = asyncio.create_task(self._insert(headers["x-request-id"], body))
        await asyncio.wait({inserting}, timeout=self._patience_s)
        if not inserting.done():
            self._given_up.append(inserting)
            raise Gone
        try:
            return Answer(201, {}, b'{"operationId":"bal_%d"}' % inserting.result())
        except psycopg.Error as error:
            raise Gone from error

    def close(self) -> None:
        """Nothing is open between two rows."""

    async def end(self) -> None:
        """Wait for what was given up."""
        await asyncio.gather(*self._given_up)

    async def _insert(self, name: str, body: bytes) -> int:
        fields = json.loads(body)
        async with await psycopg.AsyncConnection.connect(self._url) as connection:
            rows = await connection.execute(INSERT, (name, fields["login"], fields["amount"]))
            found = await rows.fetchone()
        assert found is not None
        return int(found[0])


def create_table(url: str, *, kind: str = "") -> None:
    """Create the table; an UNLOGGED one is empty after a crash."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE {kind} TABLE {TABLE}".encode())


def read_table(url: str) -> list[Line]:
    """Read the table as if it were the books."""
    with psycopg.connect(url, autocommit=True) as connection:
        return [Line(*row) for row in connection.execute(LINES)]
