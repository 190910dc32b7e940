"""Ledgers on PostgreSQL, served over HTTP by a thread of this process, on clocks that are put on by hand."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import socket
import threading
from concurrent.futures import Future
from datetime import datetime
from decimal import Decimal
from http.client import HTTPConnection
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg
import uvicorn
import uvloop
from psycopg.sql import SQL, Identifier

from api.app import create_app
from api.cli import main
from api.clocks import SteppedClock
from api.database import Database
from api.housekeeping import Housekeeping
from api.service import Service
from projections import install
from projections.schema import schema_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from email.message import Message
    from types import TracebackType

BOUND_S = 60
T = TypeVar("T")
_numbers = count(1)


class Answer:
    """What the service answered, its numbers digit by digit."""

    def __init__(self, status: int, headers: Message, content: bytes) -> None:
        self.status = status
        self.headers = headers
        self.text = content.decode()
        self.body: Any = json.loads(self.text, parse_float=Decimal)


class Stage:
    """One HTTP server in a thread; ledgers are played on it one after the other."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self._app: Any = None
        self._played: _Played | None = None
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="service under the model", daemon=True
        )
        self._socket = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(
            self._play,
            interface="asgi3",
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=BOUND_S,
        )
        self._server = uvicorn.Server(config)
        self._served: Future[None] = Future()

    def __enter__(self) -> Stage:
        self._thread.start()
        self._served = asyncio.run_coroutine_threadsafe(
            self._server.serve(sockets=[self._socket]), self._loop
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._served.result(BOUND_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND_S)
        self._loop.close()

    def play(self, service: Service) -> None:
        """Answer from a service from now on. The application is built once, for that takes its time."""
        if self._played is None:
            self._played = _Played(service)
            self._app = create_app(cast("Service", self._played))
        self._played.service = service

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have something done by the server's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(BOUND_S)

    def connect(self) -> HTTPConnection:
        """Open a connection to whatever is played."""
        return HTTPConnection("127.0.0.1", self._socket.getsockname()[1], timeout=BOUND_S)

    async def _play(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)


class Play:
    """A ledger of its own, served from an instant on until it is over."""

    def __init__(self, stage: Stage, begins: datetime) -> None:
        self.ledger = f"model_{next(_numbers)}"
        self._stage = stage
        self._where = ("--database-url", stage.database_url, "--ledger", self.ledger)
        install.migrate(stage.database_url, self.ledger)
        self.key = self._command("keys", "create", "--role", "admin", "--name", "model").split()[-1]
        self.clock = SteppedClock(begins)
        self._service = _Stepped(self.clock, Database(stage.database_url, self.ledger), ledger=self.ledger)
        stage.run(self._service.start(simulate_from=begins))
        stage.play(self._service)
        self._http = stage.connect()
        self.calls = 0

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Call a route."""
        self.calls += 1
        self._http.request(method, path, body, {"authorization": f"Bearer {self.key}"} | dict(headers or {}))
        answer = self._http.getresponse()
        return Answer(answer.status, answer.headers, answer.read())

    def go_to(self, instant: datetime) -> None:
        """Put the clock on, and have done what the service does unasked within a second."""
        self.clock.step_to(instant)
        self.settle()

    def settle(self) -> None:
        """Wait until credit that has expired by now is booked."""
        service = self._service
        chores = Housekeeping(service.database, service.writer, now=service.now, keeper=None)
        self._stage.run(chores.sweep())

    def verify(self) -> str:
        """Have log and read models verified; give what was found."""
        return self._command("verify", code=None)

    def end(self) -> None:
        """Stop the service; nothing is left of the ledger."""
        self._http.close()
        self._stage.run(self._service.stop())
        with psycopg.connect(self._stage.database_url, autocommit=True) as connection:
            connection.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema_of(self.ledger))))

    def _command(self, *words: str, code: int | None = 0) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            ended = main([*words, *self._where])
        assert code is None or ended == code, printed.getvalue()
        return printed.getvalue()


class _Played:
    """Whichever service is played now."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.keys = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.service, name)

    async def check(self, key: bytes | None) -> Any:
        return await self.service.keys.check(key)


class _Stepped(Service):
    """A service that lives by a clock which is put on by hand."""

    def __init__(self, clock: SteppedClock, database: Database, *, ledger: str) -> None:
        self._stepped = clock
        super().__init__(database, ledger=ledger)

    def now(self) -> datetime:
        return self._stepped()
