"""Exports: text that one task takes from the database while another sends it to the caller.

Whoever reads nothing, or goes away, holds a connection of the database for a limited time only. An export
that fails is cut off, never ended as if it were whole.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Final

import psycopg
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send
from psycopg_pool import PoolTimeout

from ledger.refusals import ManagerOffline

log = logging.getLogger("fundledger.exports")

AHEAD: Final = 1
"""Chunks taken from the database before the caller has taken those before."""

PATIENCE_S: Final = 30.0

Chunks = AsyncGenerator[bytes, None]


class Export(ASGIStreamingResponse):
    """The answer that carries an export."""

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send until the export ends or the caller goes; after a failure the connection is cut."""
        assert isinstance(self.iterator, Relay)
        try:
            await super().send_body(send, receive)
        # Without a last chunk the server closes the connection: the caller sees that something lacks.
        except* (TimeoutError, psycopg.OperationalError) as failures:
            log.warning("an export was cut off: %s", type(failures.exceptions[0]).__name__)
        except* Exception:
            log.exception("an export met a fault")
        finally:
            self.iterator.close()


class Relay:
    """Chunks on their way: a task of its own takes them, so that no caller's leaving disturbs its end."""

    def __init__(self, chunks: Chunks, *, patience_s: float = PATIENCE_S) -> None:
        self._patience_s = patience_s
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(AHEAD)
        self._first: bytes | None = None
        self._task = asyncio.create_task(self._take(chunks), name="export")
        self._task.add_done_callback(_seen)

    async def begin(self) -> None:
        """Wait for the first chunk: what fails before it can still be refused."""
        try:
            self._first = await self._next()
        except BaseException:
            self.close()
            raise

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the chunks; raises what went wrong with taking them."""
        chunk = self._first
        while chunk is not None:
            yield chunk
            chunk = await self._next()

    def close(self) -> None:
        """Let go of the database."""
        self._task.cancel()

    async def _next(self) -> bytes | None:
        chunk = await self._queue.get()
        if chunk is None:
            await self._task
        return chunk

    async def _take(self, chunks: Chunks) -> None:
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    await self._put(chunk)
            await self._put(None)
        except BaseException:
            while not self._queue.empty():
                self._queue.get_nowait()
            self._queue.put_nowait(None)
            raise

    async def _put(self, chunk: bytes | None) -> None:
        async with asyncio.timeout(self._patience_s):
            await self._queue.put(chunk)


async def export(chunks: Chunks, *, headers: Mapping[str, str], media_type: str, name: str) -> Export:
    """Give the answer that streams the chunks, once the first of them has come."""
    relay = Relay(chunks)
    try:
        await relay.begin()
    except PoolTimeout as error:
        detail = "as many exports as may run at a time are running, or the database is away"
        raise ManagerOffline("exports_busy", detail, retry_after=10) from error
    found = {**headers, "content-disposition": f'attachment; filename="{name}"'}
    return Export(iterator=relay, media_type=media_type, headers=found)


def _seen(task: asyncio.Task[None]) -> None:
    """Take note of a failure that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
