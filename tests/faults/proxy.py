"""A relay in the path of connections: it refuses, cuts, swallows or slows what goes through it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from psycopg.conninfo import conninfo_to_dict, make_conninfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator

CHUNK = 65_536
SLICES_A_S = 20
"""A slow way passes what it has in so many slices a second."""

COMMIT = b"\x00commit\x00"
"""How the writer asks for a commit: it binds its prepared statement of that name."""

T = TypeVar("T")


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How a relay treats what comes."""

    refuses: bool = False
    loses_questions: bool = False
    loses_answers: bool = False
    bytes_a_s: int | None = None
    delay_s: float = 0.0

    def loses(self, *, answer: bool) -> bool:
        """Tell whether what goes in a direction gets lost, also that a connection was closed."""
        return self.loses_answers if answer else self.loses_questions


CLEAR = Way()
REFUSING = Way(refuses=True)
HALF_OPEN = Way(loses_questions=True, loses_answers=True)
MUTE = Way(loses_answers=True)
SLOW = Way(bytes_a_s=20_000)
LATE = Way(delay_s=0.02)


class Target(msgspec.Struct, frozen=True):
    """Where a relay leads: a TCP address, or a Unix socket by its path."""

    host: str
    port: int = 0

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection."""
        if self.host.startswith("/"):
            return await asyncio.open_unix_connection(self.host)
        return await asyncio.open_connection(self.host, self.port)


class Proxy:
    """A relay with a thread of its own; its way is changed while it runs."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._reserved = _bound(0)  # nobody else gets the port while it refuses
        self.port: int = self._reserved.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._way = CLEAR
        self._changed = asyncio.Event()
        self._next: tuple[int, Way] | None = None
        self._cut_after: int | None = None
        self._mark: bytes | None = None
        self.accepted = 0
        """How many connections have come in all."""

        self.questions = 0
        """How many have come in all, as far as they came one by one."""

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._do(self._take(CLEAR))
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._reserved.close()

    @property
    def connections(self) -> int:
        """The number of connections that there are."""
        return len(self._pairs)

    @property
    def armed(self) -> bool:
        """Whether something that was asked for has not happened yet."""
        return (self._next, self._cut_after, self._mark) != (None, None, None)

    def take(self, way: Way, *, after: int = 0) -> None:
        """Take another way: at once, or when so many more questions have come, with the last of them."""
        if after:
            self._next = (after, way)
        else:
            self._next = self._cut_after = self._mark = None
            self._do(self._take(way))

    def cut(self) -> None:
        """Cut all connections."""
        self._do(self._cut())

    def freeze(self) -> None:
        """Let all present connections fall silent for ever, as after a failover; new ones pass."""
        for pair in list(self._pairs):
            pair.way = HALF_OPEN

    def cut_after(self, size: int) -> None:
        """Cut a connection when so many bytes more have gone in either direction, be it amid a message."""
        self._cut_after = size

    def lose_answer(self, mark: bytes = COMMIT) -> None:
        """Pass the next question that holds these bytes on, and cut instead of passing its answer."""
        self._mark = mark

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _take(self, way: Way) -> None:
        self._way = way
        self._changed.set()
        self._changed = asyncio.Event()
        if way.refuses and self._server is not None:
            self._server.close()
            self._server = None
        elif not way.refuses and self._server is None:
            self._server = await asyncio.start_server(self._accept, sock=_bound(self.port), backlog=512)

    async def _cut(self) -> None:
        for pair in self._pairs:
            pair.abort()
        await asyncio.sleep(0)  # sockets are closed in the loop's next turn

    async def _end(self) -> None:
        await self._take(REFUSING)
        await self._cut()
        for pair in self._pairs:
            pair.way = CLEAR
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(writer)
        self.accepted += 1
        self._pairs.add(pair)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._relay(pair, reader)
        finally:
            self._pairs.discard(pair)
            pair.close()

    async def _relay(self, pair: _Pair, questions: asyncio.StreamReader) -> None:
        while pair.way_or(self._way).loses_questions:  # nobody is called either
            await self._changed.wait()
        answers, pair.server = await self._target.connect()
        ways = (
            self._pass_on(pair, questions, pair.server, answer=False),
            self._pass_on(pair, answers, pair.caller, answer=True),
        )
        pumps = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()

    async def _pass_on(
        self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if not answer:
                    self._count()
                async for part in self._slices(chunk, pair.way_or(self._way)):
                    if self._cuts(pair, part, answer=answer):
                        await _flushed(writer)
                        pair.abort()
                        return
                    if not pair.way_or(self._way).loses(answer=answer):
                        writer.write(part)
                        await writer.drain()
        while pair.way_or(self._way).loses(answer=answer):
            await self._changed.wait()

    def _count(self) -> None:
        """Count a question; with the last that was to come as before, take the way that was asked for."""
        self.questions += 1
        if self._next is None:
            return
        left, way = self._next
        self._next = (left - 1, way) if left > 1 else None
        if self._next is None:
            self._way = way

    async def _slices(self, chunk: bytes, way: Way) -> AsyncIterator[bytes]:
        """Give a chunk as fast as the way is."""
        if way.delay_s:
            await asyncio.sleep(way.delay_s)
        size = len(chunk) if way.bytes_a_s is None else max(way.bytes_a_s // SLICES_A_S, 1)
        for start in range(0, len(chunk), size):
            if way.bytes_a_s is not None:
                await asyncio.sleep(1 / SLICES_A_S)
            yield chunk[start : start + size]

    def _cuts(self, pair: _Pair, part: bytes, *, answer: bool) -> bool:
        """Tell whether the connection is to be cut here; what goes through before that is sent."""
        if answer and pair.marked:
            return True
        if not answer and self._mark is not None and self._mark in part:
            self._mark, pair.marked = None, True
        if self._cut_after is None:
            return False
        left, self._cut_after = self._cut_after, self._cut_after - len(part)
        if self._cut_after > 0:
            return False
        self._cut_after = None
        (pair.caller if answer else pair.out).write(part[:left])
        return True


class _Pair:
    """A caller's connection and the one that it is passed on through."""

    def __init__(self, caller: asyncio.StreamWriter) -> None:
        self.caller = caller
        self.server: asyncio.StreamWriter | None = None
        self.way: Way | None = None
        self.marked = False

    def way_or(self, way: Way) -> Way:
        """Give its own way, or the one of all."""
        return way if self.way is None else self.way

    @property
    def out(self) -> asyncio.StreamWriter:
        """The way to the server."""
        assert self.server is not None
        return self.server

    def abort(self) -> None:
        """Cut both ends, whatever is left to be sent."""
        for writer in self._ends():
            writer.transport.abort()

    def close(self) -> None:
        """Close both ends."""
        for writer in self._ends():
            writer.close()

    def _ends(self) -> list[asyncio.StreamWriter]:
        return [self.caller] if self.server is None else [self.caller, self.server]


@contextlib.contextmanager
def before_database(url: str) -> Iterator[tuple[Proxy, str]]:
    """Yield a relay before a PostgreSQL server, and the URL that leads through it."""
    given = conninfo_to_dict(url)
    host, port = str(given.get("host", "127.0.0.1")), int(str(given.get("port", 5432)))
    target = Target(f"{host}/.s.PGSQL.{port}") if host.startswith("/") else Target(host, port)
    with Proxy(target) as proxy:
        yield proxy, make_conninfo(url, host="127.0.0.1", port=proxy.port, sslmode="disable")


async def _flushed(writer: asyncio.StreamWriter) -> None:
    """Let go what was written."""
    with contextlib.suppress(OSError):
        await writer.drain()
        await asyncio.sleep(0)


def _bound(port: int) -> socket.socket:
    """Take a port of this machine; others of us may take it too, and one of them listen."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound
