"""Under load the service or its PostgreSQL is killed, or told to stop: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.load import (
    Load,
    Memory,
    faults,
    open_accounts,
    read_balances,
    read_books,
    until,
    wrong_balances,
)
from tests.service import Service, alive, embedded_service, postmaster_pid, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

ROUNDS = 3
ENOUGH = 150


class Shop:
    """A service on its own data directory, with accounts, and all that its clients remember."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.key = service.key()
        self.memory = Memory()
        with service.client(self.key) as client:
            open_accounts(client)

    @property
    def data(self) -> Path:
        return self.service.log.parent / "data"

    def load(self, meanwhile: Callable[[Load], Awaitable[None]], *, persistent: bool = False) -> None:
        """Let clients deposit; do something meanwhile."""
        load = Load(self.memory, [self.service.url], self.key, persistent=persistent)

        async def run() -> None:
            load.begin()
            await load.until_acknowledged(ENOUGH)
            await meanwhile(load)
            await load.end()

        asyncio.run(run())
        assert self.memory.unexpected == []

    def send_again(self) -> None:
        """Send everything again."""
        asyncio.run(Load(self.memory, [self.service.url], self.key, persistent=True).send_again())
        assert self.memory.unexpected == []

    def check(self, *, all_of_it: bool = False) -> None:
        """Hold the books against the clients' memory and against themselves."""
        with self.service.client(self.key) as client:
            booked, held = read_books(client), read_balances(client)
        assert faults(self.memory.sent, self.memory.acknowledged, booked, all_of_it=all_of_it) == []
        assert wrong_balances(held, booked) == {}

    def verify(self) -> None:
        """Have the log and the read models verified."""
        done = self.service.run("verify")
        assert (done.code, done.errors) == (0, ""), done.output

    def postgres_log(self) -> str:
        """Read what PostgreSQL has written since it was started first."""
        return (self.data / "postgres.log").read_text()


@pytest.fixture
def shop() -> Iterator[Shop]:
    with embedded_service() as service:
        yield Shop(service)


def test_a_killed_service_has_lost_nothing_and_booked_nothing_twice(shop: Shop) -> None:
    async def kill(_: Load) -> None:
        await asyncio.to_thread(shop.service.kill)

    for _ in range(ROUNDS):
        shop.load(kill)
        shop.service.start()
        shop.check()
    assert shop.memory.uncertain
    shop.send_again()
    shop.check(all_of_it=True)
    shop.verify()
    shop.service.stop()


def test_a_killed_postgresql_is_brought_back_by_the_service_and_nothing_is_lost(shop: Shop) -> None:
    async def kill(load: Load) -> None:
        killed = postmaster_pid(shop.data)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await until(lambda: postmaster_pid(shop.data) not in {None, killed})
        await load.until_acknowledged(ENOUGH)

    service_pid = shop.service.pid
    for _ in range(2):
        shop.load(kill, persistent=True)
        shop.check(all_of_it=True)
    assert (shop.service.pid, shop.service.running()) == (service_pid, True)
    assert shop.memory.broken == []
    assert shop.memory.offline
    for answer in shop.memory.offline:
        assert answer.json()["title"] == "ManagerOffline"
        assert int(answer.headers["Retry-After"]) > 0
    shop.send_again()
    shop.check(all_of_it=True)
    shop.verify()
    shop.service.stop()
    assert "Traceback" not in shop.service.logged()


def test_reads_wait_or_say_503_while_postgresql_is_away_and_answer_when_it_is_back(shop: Shop) -> None:
    pid = postmaster_pid(shop.data)
    assert pid is not None
    with shop.service.client(shop.key) as client:
        os.kill(pid, signal.SIGKILL)
        seen: list[int] = []

        def back() -> bool:
            answers = [client.get(path) for path in ("/readyz", "/balances/history", "/users/1001")]
            for answer in answers:
                assert answer.status_code == 200 or "Retry-After" in answer.headers, answer.text
            seen.extend(answer.status_code for answer in answers)
            return postmaster_pid(shop.data) != pid and {a.status_code for a in answers} == {200}

        within(30, back)
        assert client.get("/healthz").status_code == 200
    assert set(seen) <= {200, 503}  # a read may wait for the server instead


def test_told_to_stop_it_answers_what_it_has_accepted_and_ends_cleanly(shop: Shop) -> None:
    async def stop(_: Load) -> None:
        assert await asyncio.to_thread(shop.service.signal, signal.SIGTERM) == 0

    postgres = postmaster_pid(shop.data)
    shop.load(stop)
    assert postgres is not None
    assert not alive(postgres)
    assert "database system is shut down" in shop.postgres_log().splitlines()[-1]
    shop.service.start()
    assert "was not properly shut down" not in shop.postgres_log()
    with shop.service.client(shop.key) as client:
        booked = {line.request_id for line in read_books(client)}
    assert booked == shop.memory.acknowledged.keys()
    shop.check()
    shop.send_again()
    shop.check(all_of_it=True)
    shop.service.stop()
    assert "Traceback" not in shop.service.logged()
