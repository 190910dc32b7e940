"""The load generator: `python -m bench.generator` reads a Load from standard input, sends it, tells.

It shares the processors with what it measures, so it does little: raw sockets, requests of prebuilt
bytes, no parsing beyond status, length and the number of booked items.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import re
import sys
import time
from collections.abc import Callable
from typing import cast

import msgspec
import uvloop

from bench.load import Answered, Load
from bench.sample import Waits

BOOKED = b'"httpStatus":201'
DRAIN_S = 20
_LENGTH = re.compile(rb"content-length: (\d+)")

Make = Callable[[], bytes]


class Tally:
    """What all connections together saw; tells them when to stop."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.wanted = {"deposit": b"HTTP/1.1 201 ", "batch": b"HTTP/1.1 200 ", "get": b"HTTP/1.1 200 "}[
            load.what
        ]
        self.times: list[float] = []
        self.answered = 0
        self.counting = False
        self.stopping = False
        self.wrong = ""
        self.open = 0
        self.closed = asyncio.get_running_loop().create_future()

    def note(self, answer: bytes, took: float) -> None:
        """Count an answer, or stop everything at a wrong one."""
        right = answer.startswith(self.wanted)
        if not right or (self.load.what == "batch" and answer.count(BOOKED) != self.load.size):
            self.fail(f"wanted {self.wanted.decode()}, got {answer[:600].decode(errors='replace')}")
            return
        self.answered += 1
        if self.counting:
            self.times.append(took)

    def fail(self, words: str) -> None:
        """Remember the first failure."""
        self.wrong = self.wrong or words
        self.stopping = True

    def lost(self) -> None:
        """Take note of a connection's end."""
        self.open -= 1
        if not self.stopping:
            self.fail("the service closed a connection")
        if not self.open and not self.closed.done():
            self.closed.set_result(None)


class Connection(asyncio.Protocol):
    """One connection with one request under way."""

    def __init__(self, tally: Tally, make: Make) -> None:
        self._tally = tally
        self._make = make
        self._rest = b""
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport = cast("asyncio.Transport", transport)
        self._tally.open += 1
        self._send()

    def data_received(self, data: bytes) -> None:
        """Note a whole answer, and send the next request."""
        answer = self._rest + data if self._rest else data
        if not _whole(answer):
            self._rest = answer
            return
        self._rest = b""
        self._tally.note(answer, time.perf_counter() - self._sent)
        if self._tally.stopping:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the library's signature
        """Say that it is over."""
        self._tally.lost()

    def _send(self) -> None:
        request = self._make()
        self._sent = time.perf_counter()
        self._transport.write(request)


def _whole(answer: bytes) -> bool:
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    length = _LENGTH.search(answer, 0, head)
    return length is None or len(answer) >= head + 4 + int(length[1])


def maker(load: Load) -> Make:
    """Give what makes the next request's bytes."""
    head = f"HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {load.key}\r\n"
    if load.what == "get":
        request = f"GET {load.path} {head}\r\n".encode()
        return lambda: request
    head += "content-type: application/json\r\n"
    return _deposits(load, head) if load.what == "deposit" else _batches(load, head)


def _deposits(load: Load, head: str) -> Make:
    start = f"POST /balances/deposit {head}x-request-id: {load.mark}-".encode()
    ends = [_with_length(f'{{"login":{login},{_booking(load)}}}'.encode()) for login in _shuffled(load)]
    numbers, turn = itertools.count(1), itertools.cycle(ends)
    return lambda: b"%b%d\r\n%b" % (start, next(numbers), next(turn))


def _batches(load: Load, head: str) -> Make:
    start = f"POST /balances/batch {head}".encode()
    items = [
        f'{{"op":"deposit","login":{login},{_booking(load)},"requestId":"{load.mark}-'
        for login in _shuffled(load)
    ]
    numbers, turn = itertools.count(1), itertools.cycle(items)

    def make() -> bytes:
        body = ",".join([f'{item}{next(numbers)}"}}' for item in itertools.islice(turn, load.size)])
        return start + _with_length(f'{{"operations":[{body}]}}'.encode())

    return make


def _booking(load: Load) -> str:
    return f'"amount":{load.amount},"comment":"card payment"'


def _shuffled(load: Load) -> list[int]:
    first, count = load.logins
    logins = list(range(first, first + count))
    random.Random(count).shuffle(logins)
    return logins


def _with_length(body: bytes) -> bytes:
    return b"content-length: %d\r\n\r\n%b" % (len(body), body)


async def send(load: Load) -> Answered:
    """Send a load."""
    loop, tally, make = asyncio.get_running_loop(), Tally(load), maker(load)
    used = time.process_time()
    for _ in range(load.connections):
        await loop.create_connection(lambda: Connection(tally, make), "127.0.0.1", load.port)
    await asyncio.sleep(load.warm)
    tally.counting, began = True, time.perf_counter()
    await asyncio.sleep(load.seconds)
    tally.counting, took = False, time.perf_counter() - began
    tally.stopping = True
    async with asyncio.timeout(DRAIN_S):
        await tally.closed
    if not tally.times:
        tally.fail("nothing was answered in the time that was measured")
    return _result(load, tally, took, cpu=time.process_time() - used)


def _result(load: Load, tally: Tally, took: float, *, cpu: float) -> Answered:
    return Answered(
        operations=len(tally.times) * load.size,
        sent=tally.answered * load.size,
        seconds=took,
        waits=Waits.of(time * 1e6 for time in tally.times),
        cpu_us=cpu * 1e6,
        wrong=tally.wrong,
    )


if __name__ == "__main__":
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Load)
    gc.disable()
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(send(asked))))
