"""Concurrent clients at work: each asks, and asks again under the same ids until it is told for good."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Protocol

from tests.faults.wire import BOUND_S, Caller, Gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tests.faults.memory import Answer, Memory
    from tests.faults.orders import Call

CLIENTS = 8
PAUSE_S = 0.02
PAUSE_MAX_S = 1.0
_POLL_S = 0.01


class Sender(Protocol):
    """Whoever carries calls to a ledger; Gone where no answer comes."""

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Carry a call there, and the answer back."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class Load:
    """Clients at work until they are stopped. One whose service is gone turns to its next."""

    def __init__(
        self, memory: Memory, calls: Callable[[], Call], senders: Sequence[Sequence[Sender]]
    ) -> None:
        self.memory = memory
        self._calls = calls
        self._senders = senders
        self._stopped = False
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Let the clients begin."""
        self._tasks = [asyncio.create_task(self._client(deque(senders))) for senders in self._senders]

    async def until_acknowledged(self, more: int) -> None:
        """Wait until that many more orders are acknowledged."""
        wanted = len(self.memory.acknowledged) + more
        await self.until(lambda: len(self.memory.acknowledged) >= wanted)

    async def until_given_up(self, more: int = CLIENTS) -> None:
        """Wait until clients have hung up that many times more."""
        wanted = self.memory.hung_up + more
        await self.until(lambda: self.memory.hung_up >= wanted)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, or a client has failed."""
        await until(lambda: condition() or any(task.done() for task in self._tasks))
        await asyncio.gather(*(task for task in self._tasks if task.done()))

    async def end(self) -> None:
        """Let each client bring its last call to an end."""
        self._stopped = True
        async with asyncio.timeout(BOUND_S):
            await asyncio.gather(*self._tasks)

    async def send(self, calls: Iterable[Call]) -> None:
        """Send these calls, whatever was answered to them before."""
        left = iter(calls)

        async def work(senders: deque[Sender]) -> None:
            for call in left:
                await self._deliver(senders, call)
            _close(senders)

        await asyncio.gather(*(work(deque(senders)) for senders in self._senders))

    async def _client(self, senders: deque[Sender]) -> None:
        while not self._stopped:
            await self._deliver(senders, self._calls())
        _close(senders)

    async def _deliver(self, senders: deque[Sender], call: Call) -> None:
        """Send a call until the answer is final, waiting longer each time."""
        self.memory.asks(call)
        pause = PAUSE_S
        while not await self._send(senders, call):
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_MAX_S)

    async def _send(self, senders: deque[Sender], call: Call) -> bool:
        try:
            answer = await senders[0].post(call.path, call.body, call.headers)
        except Gone:
            self.memory.left(call)
            senders.rotate(-1)
            return False
        return self.memory.told(call, answer)


def callers(
    urls: Sequence[str], key: str, *, clients: int = CLIENTS, patience_s: float = BOUND_S
) -> list[list[Caller]]:
    """Give clients their connections: each has one to every service, and they begin at different ones."""
    return [
        [Caller(urls[(number + n) % len(urls)], key, patience_s=patience_s) for n in range(len(urls))]
        for number in range(clients)
    ]


async def until(condition: Callable[[], bool], *, bound_s: float = BOUND_S) -> None:
    """Ask again and again until a condition holds."""
    async with asyncio.timeout(bound_s):
        while not condition():  # noqa: ASYNC110 - also of another process's doing
            await asyncio.sleep(_POLL_S)


def _close(senders: Iterable[Sender]) -> None:
    for sender in senders:
        sender.close()
