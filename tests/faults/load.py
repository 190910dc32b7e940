"""Concurrent depositors who remember what they were told, and the books held against their memory."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

CLIENTS = 8
LOGINS = range(1001, 1006)
BOUND_S = 60.0
_POLL_S = 0.01


class Deposit(msgspec.Struct, frozen=True):
    """What a client wants booked."""

    request_id: str
    login: int
    amount: Decimal

    def body(self) -> bytes:
        """Give the body that asks for it."""
        return b'{"login":%d,"amount":%s}' % (self.login, str(self.amount).encode())


class Booked(msgspec.Struct, frozen=True):
    """A line of history."""

    request_id: str
    login: int
    amount: Decimal
    operation_id: str
    position: int


class Memory:
    """What all clients together have sent, and what each was told."""

    def __init__(self, mark: str = "load") -> None:
        self.sent: dict[str, Deposit] = {}
        self.acknowledged: dict[str, str] = {}
        self.offline: list[httpx.Response] = []
        self.broken: list[str] = []
        self.unexpected: list[str] = []
        self._mark = mark
        self._numbers = count(1)

    def new(self) -> Deposit:
        """Make up the next deposit: each has an amount of its own."""
        number = next(self._numbers)
        deposit = Deposit(
            f"{self._mark}:{number}", LOGINS[number % len(LOGINS)], Decimal(100 + number) / Decimal(100)
        )
        self.sent[deposit.request_id] = deposit
        return deposit

    @property
    def uncertain(self) -> bool:
        """Whether there is a request of which nobody knows whether it was booked."""
        return len(self.acknowledged) < len(self.sent)

    def told(self, deposit: Deposit, answer: httpx.Response) -> None:
        """Take note of a final answer: 201, or 409 where an earlier attempt was left without one."""
        body = json.loads(answer.text)
        if (answer.status_code, body.get("code")) in {(201, None), (409, "request_applied")}:
            self.acknowledged[deposit.request_id] = body["operationId"]
        else:
            self.unexpected.append(answer.text)


class Gone(Exception):
    """The service hung up, or is not there."""


class Load:
    """Clients at work on a service, until they are stopped or the service is gone."""

    def __init__(self, memory: Memory, urls: Sequence[str], key: str, *, persistent: bool) -> None:
        self._memory = memory
        self._urls = urls
        self._headers = {"Authorization": f"Bearer {key}"}
        self._persistent = persistent
        self._stopped = False
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self) -> None:
        """Let the clients begin."""
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(CLIENTS)]

    async def until_acknowledged(self, more: int) -> None:
        """Wait until that many more deposits are acknowledged."""
        wanted = len(self._memory.acknowledged) + more
        await until(lambda: len(self._memory.acknowledged) >= wanted or all(t.done() for t in self._tasks))
        assert len(self._memory.acknowledged) >= wanted, "the clients ended too early"

    async def end(self) -> None:
        """Let each client bring its last deposit to an end, or find that the service is gone."""
        self._stopped = True
        async with asyncio.timeout(BOUND_S):
            await asyncio.gather(*self._tasks)

    async def _client(self, number: int) -> None:
        async with self._open(self._urls[number % len(self._urls)]) as http:
            while not self._stopped:
                try:
                    await self._deliver(http, self._memory.new())
                except Gone:
                    return

    @asynccontextmanager
    async def _open(self, url: str) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(
            base_url=url, headers=self._headers, timeout=BOUND_S, trust_env=False
        ) as http:
            yield http

    async def _deliver(self, http: httpx.AsyncClient, deposit: Deposit) -> None:
        """Send a deposit; a persistent client sends it until it knows."""
        while (answer := await self._send(http, deposit)) is None:
            if not self._persistent:
                raise Gone
            await asyncio.sleep(_POLL_S)
        self._memory.told(deposit, answer)

    async def _send(self, http: httpx.AsyncClient, deposit: Deposit) -> httpx.Response | None:
        headers = {"x-request-id": deposit.request_id}
        try:
            answer = await http.post("/balances/deposit", content=deposit.body(), headers=headers)
        except httpx.TransportError:
            self._memory.broken.append(deposit.request_id)
            return None
        if answer.status_code == 503:
            self._memory.offline.append(answer)
            return None
        return answer

    async def send_again(self) -> None:
        """Send everything again, with the same ids, whatever was answered before."""
        deposits = iter(list(self._memory.sent.values()))

        async def repeat(url: str) -> None:
            async with self._open(url) as http:
                for deposit in deposits:
                    await self._deliver(http, deposit)

        async with asyncio.timeout(BOUND_S):
            await asyncio.gather(*(repeat(self._urls[n % len(self._urls)]) for n in range(CLIENTS)))


def open_accounts(client: httpx.Client) -> None:
    """Define a group, and open the accounts that the clients deposit to."""
    assert client.put("/groups/standard", json={"currency": "USD"}).status_code == 200
    for login in LOGINS:
        assert client.post("/users", json={"login": login, "group": "standard"}).status_code == 201


def read_books(client: httpx.Client) -> list[Booked]:
    """Read the whole history, in the order of booking."""
    booked: list[Booked] = []
    query: dict[str, Any] = {"order": "asc", "limit": 10_000}
    while True:
        page = json.loads(client.get("/balances/history", params=query).text, parse_float=Decimal)
        booked += [
            Booked(r["requestId"], r["login"], r["balanceChange"], r["operationId"], r["position"])
            for r in page["rows"]
        ]
        if page["next"] is None:
            return booked
        query["cursor"] = page["next"]


def read_balances(client: httpx.Client) -> dict[int, Decimal]:
    """Read what the accounts hold."""
    answers = {login: client.get(f"/users/{login}").text for login in LOGINS}
    return {
        login: Decimal(json.loads(text, parse_float=Decimal)["balance"]) for login, text in answers.items()
    }


def faults(
    sent: Mapping[str, Deposit],
    acknowledged: Mapping[str, str],
    booked: Iterable[Booked],
    *,
    all_of_it: bool = False,
) -> list[str]:
    """Name what is wrong with the books: what was acknowledged and is not there, and what is there twice.

    With `all_of_it`, everything that was sent must be there.
    """
    lines: dict[str, list[Booked]] = defaultdict(list)
    for line in booked:
        lines[line.request_id].append(line)
    found = [f"{name} was never sent" for name in lines.keys() - sent.keys()]
    for name, deposit in sent.items():
        there = lines[name]
        if not there and (all_of_it or name in acknowledged):
            found.append(f"{name} is lost")
        if len(there) > 1:
            found.append(f"{name} is booked {len(there)} times")
        found += [f"{name} is booked as {line}" for line in there if not _is(line, deposit)]
        operations = {line.operation_id for line in there}
        if operations and acknowledged.get(name, there[0].operation_id) not in operations:
            found.append(f"{name} was acknowledged as {acknowledged[name]}")
    positions = Counter(line.position for line in lines_of(lines))
    return found + [f"position {position} is taken twice" for position, n in positions.items() if n > 1]


def wrong_balances(held: Mapping[int, Decimal], booked: Iterable[Booked]) -> dict[int, Decimal]:
    """Give the accounts that hold something else than the sum of their lines, and by how much."""
    sums: dict[int, Decimal] = defaultdict(Decimal)
    for line in booked:
        sums[line.login] += line.amount
    logins = held.keys() | sums.keys()
    off = {login: held.get(login, Decimal(0)) - sums[login] for login in logins}
    return {login: by for login, by in off.items() if by}


def lines_of(lines: Mapping[str, list[Booked]]) -> list[Booked]:
    """Give all lines, whatever request they are of."""
    return [line for some in lines.values() for line in some]


async def until(condition: Callable[[], bool]) -> None:
    """Ask again and again until a condition holds."""
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110 - also of another process's doing
            await asyncio.sleep(_POLL_S)


def _is(line: Booked, deposit: Deposit) -> bool:
    return (line.login, line.amount) == (deposit.login, deposit.amount)
