"""Connections that do not wait for ever: where the server falls silent, their socket is shut.

No cancel is sent then: a COMMIT that waits for a standby would end as if it were done.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.abc import PQGen
from psycopg.pq.abc import PGconn

SILENCE_MAX_S: Final = 15.0
"""How long an answer may take before the connection counts as lost."""

T = TypeVar("T")


class Silence(psycopg.OperationalError):
    """The server has not answered in time: what it was asked may have been done."""


class Listening:
    """Waits for an answer only so long: then the socket is shut, and whoever waits on it fails."""

    __slots__ = ("_libpq", "_over", "_seconds", "_timer")

    def __init__(self, libpq: PGconn, seconds: float) -> None:
        self._libpq = libpq
        self._seconds = seconds
        self._over = False

    def __enter__(self) -> Self:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self.give_up)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self.blame(error)

    def give_up(self) -> None:
        """Shut the socket."""
        self._over = True
        _shut(self._libpq)

    def blame(self, error: BaseException | None) -> None:
        """Raise Silence where that is what an error came from."""
        if self._over and isinstance(error, psycopg.Error | OSError):
            raise silence_of(self._seconds) from error


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """Wait so long for work that ends by itself; TimeoutError where it goes on.

    It is not cancelled: psycopg would first wait until the server has taken note.
    """
    task = asyncio.create_task(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.add_done_callback(_seen)
        raise TimeoutError
    return task.result()


class BoundedConnection(AsyncConnection[Any]):
    """A connection on which no statement waits for ever.

    One timer watches it while it is in use, and none a single wait: an export waits for each of its rows.
    """

    silence_max_s = SILENCE_MAX_S
    heard_at = 0.0
    """When it was last asked something that was answered, on the monotonic clock."""

    _asked_at: float | None = None
    _watch: asyncio.TimerHandle | None = None
    _over = False

    async def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        """Wait for what psycopg has asked the server, but only so long."""
        self._asked_at = asked_at = time.monotonic()
        if self._watch is None:
            self._look_in(self.silence_max_s)
        try:
            answered = await super().wait(gen, *args, **options)
        except psycopg.Error as error:
            if self._over:
                raise silence_of(self.silence_max_s) from error
            raise
        finally:
            self._asked_at = None
        self.heard_at = asked_at
        return answered

    async def close(self) -> None:
        """Close it, and watch it no longer."""
        if self._watch is not None:
            self._watch.cancel()
        await super().close()

    def _look_in(self, seconds: float) -> None:
        self._watch = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Shut the socket where an answer is overdue; watch on where one is awaited."""
        self._watch = None
        if self._asked_at is None:
            return
        left_s = self._asked_at + self.silence_max_s - time.monotonic()
        if left_s > 0:
            self._look_in(left_s)
        else:
            self._over = True
            _shut(self.pgconn)


class BoundedThreadConnection(Connection[Any]):
    """The same for threads."""

    silence_max_s = SILENCE_MAX_S

    def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        """Wait for what psycopg has asked the server, but only so long."""
        listening = Listening(self.pgconn, self.silence_max_s)
        timer = threading.Timer(self.silence_max_s, listening.give_up)
        timer.start()
        try:
            return super().wait(gen, *args, **options)
        except psycopg.Error as error:
            listening.blame(error)
            raise
        finally:
            timer.cancel()


def silence_of(seconds: float) -> Silence:
    """Say how long the server has said nothing."""
    return Silence(f"the server has said nothing for {seconds:g} s")


def _seen(task: asyncio.Task[Any]) -> None:
    """Take note of a failure that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


def _shut(libpq: PGconn) -> None:
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(libpq.socket)) as own:
        own.shutdown(socket.SHUT_RDWR)
