"""A ledger with accounts, the services on it, and clients at work there, round after round."""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.faults.books import Findings, final, findings, read_held, read_lines, sums, wrong_accounts
from tests.faults.load import Load, callers
from tests.faults.memory import Memory
from tests.faults.orders import LOGINS, Mix, batch, single
from tests.faults.outcome import Outcome
from tests.faults.wire import BOUND_S
from tests.service import postmaster_pid, service_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    import httpx

    from tests.faults.books import Held, Line
    from tests.faults.orders import Call
    from tests.service import Service

    Meanwhile = Callable[[Load], Awaitable[None]]

ENOUGH = 150
CALLS_KEPT = 300
FAULT_BEFORE, FAULT_MAX = 200, 3_000
"""That much of a log is told where a service met a fault."""


class Shop:
    """Lets clients work while something happens, and holds the books against what they remember."""

    def __init__(self, services: Sequence[Service]) -> None:
        self.services = services
        self.key = services[0].key()
        self.dice = random.Random()
        self.memory = Memory()
        self.outcome = Outcome()
        self._mix = Mix()
        self._calls: list[Call] = []
        self._last: Line | None = None
        self._sums: Held = {}
        self._found = Findings()
        self._logins = list(LOGINS)
        with self.client() as client:
            open_accounts(client)

    @property
    def service(self) -> Service:
        """The first service, or the only one."""
        return self.services[0]

    @property
    def data(self) -> Path:
        """The data directory, where the service has one of its own."""
        return self.service.log.parent / "data"

    @property
    def postgres_pid(self) -> int:
        """The first process of the embedded PostgreSQL."""
        pid = postmaster_pid(self.data)
        assert pid is not None
        return pid

    @property
    def urls(self) -> list[str]:
        """Where the services are."""
        return [service.url for service in self.services]

    def client(self) -> httpx.Client:
        """Open a client of the first service."""
        return self.service.client(self.key)

    @property
    def deposits(self) -> list[str]:
        """The request ids of deposits that are booked, and will be sent again, alone, at the end."""
        alone = [call.orders[0] for call in self._calls if call.way == "single"]
        return [order.request_id for order in alone if order.op == "deposit"]

    def open_account(self) -> int:
        """Open an account beside those that clients deal with; give its login."""
        login = self._logins[-1] + 1
        with self.client() as client:
            _open(client, login)
        self._logins.append(login)
        return login

    def expect(self, right: object, words: str) -> None:
        """Take note of what is wrong where something does not hold."""
        if not right:
            self._found.other.add(words)

    def round(self, meanwhile: Meanwhile, *, patience_s: float = BOUND_S) -> Memory:
        """Let clients work, do something meanwhile, and check; give what these clients remember."""
        memory = Memory()
        load = Load(memory, self._call, callers(self.urls, self.key, patience_s=patience_s))

        async def run() -> None:
            load.begin()
            await load.until_acknowledged(self.dice.randint(1, ENOUGH))
            await meanwhile(load)
            await load.until_acknowledged(ENOUGH)
            await load.end()
            await self._drain(memory)

        asyncio.run(run())
        self.check(memory)
        self.outcome.rounds += 1
        return memory

    def check(self, memory: Memory) -> None:
        """Hold the new lines against what some clients remember, and what accounts hold against all lines."""
        with self.client() as client:
            lines, held = read_lines(client, after=self._last), read_held(client, self._logins)
        self._last = lines[-1] if lines else self._last
        self._sums = sums(lines, self._sums)
        self._found.take_over(findings(memory, lines, all_of_it=True))
        self._found.other |= wrong_accounts(held, self._sums)
        self.memory.take_over(memory)
        self.outcome.acknowledged += len(memory.acknowledged)
        self.outcome.gap_longest_s = max(self.outcome.gap_longest_s, memory.gap_longest_s)

    def finish(self) -> Outcome:
        """Send some calls again, hold everything against everything, have it verified, end the services."""
        load = Load(self.memory, self._call, callers(self.urls, self.key))
        asyncio.run(load.send(self._calls))
        with self.client() as client:
            lines, held = read_lines(client), read_held(client, self._logins)
        self._found.take_over(findings(self.memory, lines, all_of_it=True))
        self._found.other |= wrong_accounts(held, sums(lines))
        self._verify()
        return self.judged()

    def judged(self) -> Outcome:
        """Give the outcome with what was found so far."""
        self.outcome.lost, self.outcome.doubled = len(self._found.lost), len(self._found.doubled)
        self.outcome.other = tuple(sorted(self._found.all))
        return self.outcome

    async def _drain(self, memory: Memory) -> None:
        """Wait until what clients have given up is through: it was in the same queues before these."""
        for url in self.urls:
            last = Load(memory, self._call, callers([url], self.key, clients=1))
            await last.send([single(self._mix.deposit()), batch([self._mix.deposit()])])

    def _call(self) -> Call:
        """Make up the next call; some are kept, to be sent again at the end."""
        call = self._mix.call()
        if len(self._calls) < CALLS_KEPT:
            self._calls.append(call)
        else:
            self._calls[self.dice.randrange(CALLS_KEPT)] = call
        return call

    def _verify(self) -> None:
        """Have the log and the read models verified; then the services must end cleanly."""
        done = self.service.run("verify", bound_s=10 * BOUND_S)
        self.expect((done.code, done.errors) == (0, ""), f"verify: {done.output}{done.errors}")
        for service in self.services:
            service.stop()
            logged = service.logged()
            fault = logged[max(0, logged.find("Traceback") - FAULT_BEFORE) :][:FAULT_MAX]
            self.expect("Traceback" not in logged, f"a service logged a fault: {fault}")


@contextmanager
def shop_in(scratch: Path) -> Iterator[Shop]:
    """Open a shop with one service on a data directory of its own."""
    with service_in(scratch / "data") as service:
        yield Shop([service])


def open_accounts(client: httpx.Client) -> None:
    """Define a group, and open the accounts that clients deal with."""
    assert final(client, "PUT", "/groups/standard", json={"currency": "USD"}).status_code == 200
    for login in LOGINS:
        _open(client, login)


def _open(client: httpx.Client, login: int) -> None:
    named = {"x-request-id": f"open:{login}"}
    asked = {"login": login, "group": "standard"}
    opened = final(client, "POST", "/users", json=asked, headers=named)
    known = opened.status_code == 409 and opened.json()["code"] == "request_applied"
    assert opened.status_code == 201 or known, opened.text  # known: it was opened, and nobody was told
