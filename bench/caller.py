"""A caller beside the load: it tells the feed, takes exports, and reads an answer now and then."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from http.client import HTTPConnection, HTTPResponse
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from bench.broker import Broker, Symbol
from bench.load import WrongAnswer
from bench.served import Served

PATIENCE_S: Final = 120
IDLE_S: Final = 2.0
TAKEN: Final = 256 * 1024
MOVES: Final = 20
"""How far quotes are from a symbol's first price at most, in ten-thousandths of it."""


class Export(msgspec.Struct, frozen=True):
    """An export that was read to its end."""

    lines: int
    size: int
    seconds: float


class Caller:
    """One connection to a service."""

    def __init__(self, service: Served) -> None:
        self._connection = HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE_S)
        self._headers = {"authorization": f"Bearer {service.key}"}
        self._used_at = time.monotonic()

    def get(self, path: str) -> Any:
        """Read an answer."""
        return self._answer(self._asked("GET", path))

    def post(self, path: str, body: object) -> Any:
        """Tell something; give the answer."""
        return self._answer(self._asked("POST", path, msgspec.json.encode(body)))

    def export(self, path: str) -> Export:
        """Take an export, counting its lines."""
        began, lines, size = time.perf_counter(), 0, 0
        response = self._asked("GET", path)
        if response.status != 200:
            self._answer(response)
        buffer = memoryview(bytearray(TAKEN))
        while taken := response.readinto(buffer):
            lines += bytes(buffer[:taken]).count(b"\n")
            size += taken
        return Export(lines, size, time.perf_counter() - began)

    def tell_quotes(self, broker: Broker, *, count: int | None = None) -> list[list[object]]:
        """Move the prices of some symbols, or of all; give the quotes."""
        symbols = broker.symbols if count is None else random.sample(broker.symbols, count)
        quotes = [_quote(symbol) for symbol in symbols]
        self._tell("/feed/quotes", {"quotes": quotes}, len(quotes))
        return quotes

    def tell_positions(self, positions: list[dict[str, object]]) -> None:
        """Tell that positions have changed."""
        self._tell("/feed/positions", {"kind": "delta", "positions": positions}, len(positions))

    def _tell(self, path: str, body: dict[str, object], items: int) -> None:
        receipt = self.post(path, body)
        if receipt["accepted"] != items:
            raise WrongAnswer(f"{path} took {receipt['accepted']} of {items} items: {receipt['errors'][:3]}")

    def _asked(self, method: str, path: str, body: bytes | None = None) -> HTTPResponse:
        headers = self._headers if body is None else self._headers | {"content-type": "application/json"}
        if time.monotonic() - self._used_at > IDLE_S:
            self._connection.close()  # the service closes it too, and a request may cross that
        self._connection.request(method, path, body, headers)
        self._used_at = time.monotonic()
        return self._connection.getresponse()

    def _answer(self, response: HTTPResponse) -> Any:
        body = response.read()
        if response.status != 200:
            raise WrongAnswer(f"{response.status} {body[:600].decode(errors='replace')}")
        return msgspec.json.decode(body)


class Beside:
    """Something that is done again and again beside what is measured, in a thread of its own."""

    def __init__(self, act: Callable[[], object], *, every_s: float = 0.0) -> None:
        self._act = act
        self._every_s = every_s
        self._over = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.done = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the last one come to its end; raise what went wrong."""
        self._over.set()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                self._act()
                self.done += 1
                self._over.wait(self._every_s)
        except Exception as failure:  # noqa: BLE001 - raised again by who waits
            self._failure = failure


def _quote(symbol: Symbol) -> list[object]:
    step = Decimal(1).scaleb(-symbol.digits)
    mid = round(symbol.mid * random.randint(10_000 - MOVES, 10_000 + MOVES) / 10_000, symbol.digits)
    return [symbol.name, str(mid - step), str(mid + step)]
