"""The writer's way to the server: prepared statements in pipelines, straight on libpq.

psycopg's cursors cost more Python for the round trips of a small batch than its decisions do. The
connection stays psycopg's: it opens, closes and runs rare statements.
"""

from __future__ import annotations

import asyncio
import re
import select
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import psycopg
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from ledger.silence import BoundedConnection, Listening

Params = Mapping[str, bytes | None]
NO_PARAMS: Final[Params] = {}

_PLACEHOLDER = re.compile(r"%\((\w+)\)s")
_FINE = (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK)
_NO_CONNECTION = b"08"
"""The class of what is said of a connection that is gone."""


class Ended(psycopg.OperationalError):
    """The server said of a statement that it ends the connection: what came after was not done."""


class Prepared:
    """A statement with named placeholders, as the server knows it; parameters are in binary form."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name.encode()
        self.parameters = list(dict.fromkeys(_PLACEHOLDER.findall(text)))
        numbers = {parameter: f"${number}" for number, parameter in enumerate(self.parameters, start=1)}
        self.text = _PLACEHOLDER.sub(lambda found: numbers[found[1]], text).encode()
        self.formats = [Format.BINARY] * len(self.parameters)

    def values(self, params: Params) -> list[bytes | None]:
        """Give the parameters in the order of the placeholders."""
        return [params[parameter] for parameter in self.parameters]


class Wire:
    """Runs prepared statements on one connection, several in one round trip; `meanwhile`, something else."""

    def __init__(self, connection: BoundedConnection, *, meanwhile: Callable[[], None]) -> None:
        self._connection = connection
        self._meanwhile = meanwhile
        self._libpq: PGconn = connection.pgconn
        self._loop = asyncio.get_running_loop()
        self._idle = select.poll()
        self._idle.register(self._libpq.socket, select.POLLIN)
        self.sent = False
        """Whether libpq has sent all of the last round trip: the server need not wait for the rest."""
        self.answered = 0
        """How many statements of the last round trip were answered without an error."""

    def quiet(self) -> bool:
        """Whether the server says nothing, unasked: what it would say is that the connection ends."""
        return not self._idle.poll(0)

    async def prepare(self, statements: Sequence[Prepared]) -> None:
        """Have the server parse the statements, once for the connection."""

        def send() -> None:
            for statement in statements:
                self._libpq.send_prepare(statement.name, statement.text)

        await self._round_trip(send, len(statements))

    async def run(self, *steps: tuple[Prepared, Params]) -> list[PGresult]:
        """Run statements in one round trip; raises the first one's error that failed."""

        def send() -> None:
            for statement, params in steps:
                self._libpq.send_query_prepared(
                    statement.name, statement.values(params), statement.formats, Format.BINARY
                )

        return await self._round_trip(send, len(steps))

    def rows(self, result: PGresult) -> list[tuple[Any, ...]]:
        """Give the rows of a result."""
        transformer = Transformer(self._connection)
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    async def _round_trip(self, send: Callable[[], None], expected: int) -> list[PGresult]:
        with Listening(self._libpq, self._connection.silence_max_s):
            results = await self._results(send, expected)
        self._libpq.exit_pipeline_mode()
        if (failed := _first_failed(results)) is not None:
            raise error_from_result(failed)
        return results

    async def _results(self, send: Callable[[], None], expected: int) -> list[PGresult]:
        self.sent, self.answered = False, 0
        self._libpq.enter_pipeline_mode()
        results: list[PGresult] = []
        try:
            send()
            self._libpq.pipeline_sync()
            await self._send()
            self.sent = True
            self._meanwhile()
            for _ in range(expected):
                results.append(await self._result())  # noqa: PERF401 - one by one: a failure keeps those before
            if (await self._result()).status != ExecStatus.PIPELINE_SYNC:
                raise psycopg.OperationalError("the server has not ended the round trip")
        except psycopg.OperationalError as error:
            failed = _first_failed(results if self.sent else self._last_word())
            if failed is None:
                raise
            raise _loss(failed) from error
        return results

    def _last_word(self) -> list[PGresult]:
        """Give the first answer, had it come when the send lost the connection; libpq keeps no other."""
        said = None if self._libpq.status == ConnStatus.OK else self._libpq.get_result()
        return [] if said is None else [said]

    async def _send(self) -> None:
        """Push everything out; a server that answers meanwhile must be listened to."""
        while self._libpq.flush():
            await self._ready(writing=True)
            self._libpq.consume_input()

    async def _result(self) -> PGresult:
        """Wait for one statement's result; in a pipeline each is followed by a None."""
        libpq = self._libpq
        while libpq.is_busy():
            await self._ready(writing=False)
            libpq.consume_input()
        result = libpq.get_result()
        if result is None:
            raise psycopg.OperationalError("the connection ended in the middle of a pipeline")
        if result.status == ExecStatus.FATAL_ERROR and libpq.status != ConnStatus.OK:
            raise _loss(result) from error_from_result(result)
        if result.status != ExecStatus.PIPELINE_SYNC:
            await self._end_of_result()
        self.answered += result.status in _FINE
        return result

    async def _end_of_result(self) -> None:
        libpq = self._libpq
        while libpq.is_busy():
            await self._ready(writing=False)
            libpq.consume_input()
        libpq.get_result()

    async def _ready(self, *, writing: bool) -> None:
        """Wait until the socket can be read, or, where something is left to send, written."""
        socket, loop = self._libpq.socket, self._loop
        ready: asyncio.Future[None] = loop.create_future()
        loop.add_reader(socket, _wake, ready)
        if writing:
            loop.add_writer(socket, _wake, ready)
        try:
            await ready
        finally:
            loop.remove_reader(socket)
            if writing:
                loop.remove_writer(socket)


def _loss(failed: PGresult) -> psycopg.OperationalError:
    """Give the error of a connection that was lost so: Ended where the server itself has said it.

    What libpq says where no answer came, or none that it could read, may have been a success; so may what a
    pooler in between says of a server that it has lost.
    """
    state = failed.error_field(DiagnosticField.SQLSTATE)
    of_server = state is not None and not state.startswith(_NO_CONNECTION)
    return (Ended if of_server else psycopg.OperationalError)(failed.get_error_message())


def _first_failed(results: Sequence[PGresult]) -> PGresult | None:
    return next((result for result in results if result.status not in _FINE), None)


def _wake(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
