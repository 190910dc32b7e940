"""A batch whose connection is lost counts as not booked only where the server itself has said so in time."""

from __future__ import annotations

import asyncio
import struct
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import psycopg
import pytest

from ledger.silence import BoundedConnection
from ledger.wire import NO_PARAMS, Ended, Params, Prepared, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

BOUND_S = 60.0
LARGE = b"x" * 2_000_000
"""More than a socket takes at once."""

STATEMENTS = [Prepared(name, name) for name in ("begin", "lock", "append", "commit")]
BOOKS = Prepared("books", "%(data)s")
BEFORE_COMMIT = 3


def _message(kind: bytes, content: bytes = b"") -> bytes:
    return kind + struct.pack("!i", 4 + len(content)) + content


def _said(severity: bytes, code: bytes) -> bytes:
    fields = (b"S" + severity, b"V" + severity, b"C" + code, b"Mas the test wants it")
    return _message(b"E", b"\0".join(fields) + b"\0\0")


DONE: Final = _message(b"2") + _message(b"n") + _message(b"C", b"DONE\0")
"""What answers a statement that was carried out: bound, no rows, complete."""

GREETING: Final = _message(b"R", struct.pack("!i", 0)) + _message(b"Z", b"I")
ENDS: Final = _said(b"FATAL", b"57P01")
REFUSES: Final = _said(b"ERROR", b"23505")
POOLER_LOST_IT: Final = _said(b"FATAL", b"08P01")
UNREADABLE: Final = b"C" + struct.pack("!i", 100_000)
"""No completion is as long as that: libpq gives the connection up."""


class Server:
    """Says what it is told to, at once or after the whole batch has come, and hangs up."""

    def __init__(self, says: bytes, *, unasked: bool) -> None:
        self._says = says
        self._unasked = unasked
        self.is_to_speak, self.has_hung_up = asyncio.Event(), asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Greet, perhaps listen, speak, hang up."""
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        writer.write(GREETING)
        await (self.is_to_speak.wait() if self._unasked else _whole_batch(reader))
        writer.write(self._says)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        self.has_hung_up.set()


async def _whole_batch(reader: asyncio.StreamReader) -> None:
    kind = b""
    while kind != b"S":  # Sync
        kind, length = struct.unpack("!ci", await reader.readexactly(5))
        await reader.readexactly(length - 4)


@asynccontextmanager
async def wire_to(server: Server) -> AsyncIterator[Wire]:
    """Lend a wire to a server."""
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    where = f"host=127.0.0.1 port={port} user=writer dbname=books sslmode=disable gssencmode=disable"
    try:
        async with asyncio.timeout(BOUND_S), AsyncExitStack() as stack:
            connection = await BoundedConnection.connect(where, autocommit=True)
            stack.push_async_callback(connection.close)
            yield Wire(connection, meanwhile=lambda: None)
    finally:
        listening.close()


@pytest.mark.parametrize(
    ("says", "nothing_booked"),
    [
        pytest.param(ENDS, True, id="it ends before anything was done"),
        pytest.param(2 * DONE + ENDS, True, id="it ends at the gate"),
        pytest.param(2 * DONE + REFUSES, True, id="it refuses the batch and is gone"),
        pytest.param(3 * DONE + ENDS, False, id="it ends when only the commit is left"),
        pytest.param(4 * DONE + ENDS, False, id="it ends after the commit"),
        pytest.param(b"", False, id="it says nothing"),
        pytest.param(3 * DONE, False, id="it says nothing of the commit"),
        pytest.param(POOLER_LOST_IT, False, id="a pooler has lost the server"),
        pytest.param(2 * DONE + UNREADABLE + ENDS, False, id="what it says of the batch cannot be read"),
    ],
)
async def test_what_the_server_said_before_the_connection_was_lost_tells_what_was_booked(
    says: bytes, nothing_booked: bool
) -> None:
    async with wire_to(Server(says, unasked=False)) as wire:
        assert await says_nothing_is_booked(wire, NO_PARAMS) == nothing_booked


@pytest.mark.parametrize("data", [b"x", LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("says", "nothing_booked"),
    [
        pytest.param(ENDS, True, id="the server ends it"),
        pytest.param(3 * DONE + ENDS, False, id="the server seems to have done it"),
        pytest.param(POOLER_LOST_IT, False, id="a pooler has lost the server"),
        pytest.param(b"", False, id="nobody says anything"),
    ],
)
async def test_so_does_what_it_said_before_the_batch_was_sent(
    says: bytes, nothing_booked: bool, data: bytes
) -> None:
    server = Server(says, unasked=True)
    async with wire_to(server) as wire:
        server.is_to_speak.set()
        await server.has_hung_up.wait()
        assert await says_nothing_is_booked(wire, {"data": data}) == nothing_booked


async def says_nothing_is_booked(wire: Wire, params: Params) -> bool:
    """Send a batch whose connection is lost; tell whether the writer may take it for not booked."""
    append = BOOKS if params else STATEMENTS[2]
    begin, lock, _, commit = ((statement, NO_PARAMS) for statement in STATEMENTS)
    with pytest.raises(psycopg.OperationalError) as told:
        await wire.run(begin, lock, (append, params), commit)
    return isinstance(told.value, Ended) and wire.answered < BEFORE_COMMIT
