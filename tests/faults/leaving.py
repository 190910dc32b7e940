"""Under load clients hang up in the middle of a request, or in the middle of its commit."""

from __future__ import annotations

import re
import socket
import struct
from contextlib import contextmanager
from itertools import count, cycle
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import psycopg

from tests.faults.load import Load, callers
from tests.faults.orders import Mix, single
from tests.faults.outcome import more
from tests.faults.shop import shop_in
from tests.service import BOUND_S, rows, superuser_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.faults.memory import Memory
    from tests.faults.orders import Call
    from tests.faults.outcome import Outcome
    from tests.faults.shop import Shop

LEAVERS = 40
PATIENCE_S = 0.5
_RESET = struct.pack("ii", 1, 0)
_DEPTH = re.compile(r"^fundledger_queue_depth (\S+)$", re.MULTILINE)


def clients_leave(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Hang up while a batch is being booked, while it waits at the gate, and before a request is whole."""
    with shop_in(scratch) as shop:
        leavers = _Leavers(shop)
        for fault in cycle((leavers.while_booking, leavers.at_the_gate, leavers.amid_the_request)):
            if not more(shop.outcome.rounds, rounds, until):
                break
            shop.round(fault, patience_s=PATIENCE_S)
        return shop.finish()


class _Leavers:
    """Clients that do not wait for what becomes of their requests."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._url = superuser_url(shop.data)
        self._numbers = count(1)

    async def while_booking(self, load: Load) -> None:
        """Leave while the statement that books waits for accounts; COMMIT is sent with it."""
        with _locked(self._url, "SELECT FROM accounts FOR UPDATE"):
            await load.until_given_up()
        await load.until(lambda: bool(load.memory.repeated))  # booked though nobody waited for it

    async def at_the_gate(self, load: Load) -> None:
        """Leave while requests wait for a batch that waits for the gate; all are booked all the same."""
        calls = self._calls(load.memory)
        with _locked(self._url, "LOCK TABLE gate IN EXCLUSIVE MODE"):
            connections = [self._ask(call) for call in calls]
            await load.until(lambda: self._queue_depth() >= _open(load.memory))
            for number, connection in enumerate(connections):
                _hang_up(connection, reset=number % 2 == 1)
        await load.until(lambda: self._booked(calls) == len(calls))
        await self._ask_again(calls, load.memory)
        names = {call.orders[0].request_id for call in calls}
        self._shop.expect(names <= load.memory.repeated, "what was booked for nobody was booked anew")

    async def amid_the_request(self, load: Load) -> None:
        """Leave before the last bytes of a request: nobody has asked for anything."""
        calls = self._calls(load.memory)
        for number, call in enumerate(calls):
            _hang_up(self._ask(call, without=1 + number % 3), reset=number % 2 == 1)
        await load.until_acknowledged(1)
        self._shop.expect(not self._booked(calls), "something was booked that was never asked for whole")
        await self._ask_again(calls, load.memory)

    def _calls(self, memory: Memory) -> list[Call]:
        mix = Mix(f"leaving-{next(self._numbers)}")
        calls = [single(mix.deposit()) for _ in range(LEAVERS)]
        for call in calls:
            memory.asks(call)
            memory.left(call)
        return calls

    def _ask(self, call: Call, *, without: int = 0) -> socket.socket:
        """Send a request, perhaps without its last bytes."""
        address = urlsplit(self._shop.service.url)
        head = (
            f"POST {call.path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {self._shop.key}\r\n"
            f"x-request-id: {call.orders[0].request_id}\r\nContent-Length: {len(call.body)}\r\n\r\n"
        )
        content = head.encode() + call.body
        connection = socket.create_connection((address.hostname, address.port), timeout=10)
        connection.sendall(content[: len(content) - without])
        return connection

    async def _ask_again(self, calls: Sequence[Call], memory: Memory) -> None:
        """Ask once more, and wait for the answers."""
        patient = callers(self._shop.urls, self._shop.key, clients=2)
        await Load(memory, lambda: calls[0], patient).send(calls)

    def _queue_depth(self) -> float:
        metrics = httpx.get(f"{self._shop.service.url}/metrics", timeout=BOUND_S, trust_env=False)
        found = _DEPTH.search(metrics.text)
        assert found is not None
        return float(found[1])

    def _booked(self, calls: Sequence[Call]) -> int:
        names = ", ".join(f"'{call.orders[0].request_id}'" for call in calls)
        [(number,)] = rows(self._url, f"SELECT count(*) FROM requests WHERE request_id IN ({names})")
        return int(str(number))


def _open(memory: Memory) -> int:
    """Give the number of orders that were sent and are not answered for good."""
    return len(memory.sent.keys() - memory.acknowledged.keys() - memory.refused)


@contextmanager
def _locked(url: str, lock: str) -> Iterator[None]:
    """Hold a lock that the writer needs."""
    with psycopg.connect(url, options="-c search_path=ledger_main") as holder:
        holder.execute(lock.encode())
        yield
        holder.rollback()


def _hang_up(connection: socket.socket, *, reset: bool) -> None:
    """Close without reading, politely or by a reset."""
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    connection.close()
