"""Two services on one ledger: one log without a gap, each request once, no balance wrong."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from tests.faults.load import (
    LOGINS,
    Load,
    Memory,
    faults,
    open_accounts,
    read_balances,
    read_books,
    wrong_balances,
)
from tests.service import Service, rows, service_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

ENOUGH = 300


class Pair:
    """Two services, a client of each, and a key that both know."""

    def __init__(self, database_url: str, services: list[Service], stack: ExitStack) -> None:
        self.database_url = database_url
        self.services = services
        self.key = services[0].key()
        self.clients = [stack.enter_context(service.client(self.key)) for service in services]
        open_accounts(self.clients[0])

    @property
    def urls(self) -> list[str]:
        return [service.url for service in self.services]

    def check(self, memory: Memory) -> None:
        """Hold the books against what the clients of both remember."""
        booked = [line for line in read_books(self.clients[0]) if line.request_id in memory.sent]
        assert memory.unexpected == []
        assert faults(memory.sent, memory.acknowledged, booked, all_of_it=True) == []
        for client in self.clients:
            assert wrong_balances(read_balances(client), read_books(client)) == {}
        positions = [position for (position,) in rows(self.database_url, _POSITIONS)]
        assert positions == list(range(1, len(positions) + 1))

    def both(self, path: str, body: dict[str, object], *request_ids: str) -> list[httpx.Response]:
        """Send one request to each at once, under these request ids."""
        with ThreadPoolExecutor(2) as threads:
            return list(
                threads.map(
                    lambda client, name: client.post(path, json=body, headers=_named(name)),
                    self.clients,
                    request_ids,
                )
            )


def _named(request_id: str) -> dict[str, str]:
    return {"x-request-id": request_id}


_POSITIONS = "SELECT notification_id FROM ledger_events ORDER BY notification_id"


@pytest.fixture
def pair(database_url: str, template: str, tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        services = [
            stack.enter_context(service_on(database_url, tmp_path / f"log{number}")) for number in (1, 2)
        ]
        yield Pair(database_url, services, stack)
        for service in services:
            service.stop()
            assert "Traceback" not in service.logged()


def test_two_services_on_one_ledger_book_as_one(pair: Pair) -> None:
    memory = Memory("both")
    load = Load(memory, pair.urls, pair.key, persistent=True)

    async def run() -> None:
        load.begin()
        await load.until_acknowledged(ENOUGH)
        await load.end()
        await load.send_again()

    asyncio.run(run())
    assert memory.offline == []
    pair.check(memory)
    _copies_at_both_are_booked_once(pair)
    _withdrawals_at_both_cannot_overdraw(pair)
    _when_one_is_killed_the_other_goes_on(pair)
    done = pair.services[0].run("verify")
    assert (done.code, done.errors) == (0, ""), done.output


def _copies_at_both_are_booked_once(pair: Pair) -> None:
    for number in range(25):
        body: dict[str, object] = {"login": LOGINS[0], "amount": f"{number + 1}.00"}
        answers = pair.both("/balances/deposit", body, f"copy:{number}", f"copy:{number}")
        assert sorted(answer.status_code for answer in answers) == [201, 409]
        assert len({answer.json()["operationId"] for answer in answers}) == 1


def _withdrawals_at_both_cannot_overdraw(pair: Pair) -> None:
    login = LOGINS[1]
    for number in range(10):
        more_than_half = (read_balances(pair.clients[0])[login] / 2).quantize(Decimal("0.01")) + 1
        body: dict[str, object] = {"login": login, "amount": str(more_than_half)}
        answers = pair.both("/balances/withdraw", body, f"race:{number}:a", f"race:{number}:b")
        assert sorted(answer.status_code for answer in answers) == [201, 400]
        [refused] = [answer for answer in answers if answer.status_code == 400]
        assert refused.json()["code"] == "not_enough_money"
        assert (
            pair.clients[0].post("/balances/deposit", json=body, headers=_named(f"back:{number}")).is_success
        )


def _when_one_is_killed_the_other_goes_on(pair: Pair) -> None:
    memory = Memory("one")
    first, second = pair.services
    load = Load(memory, pair.urls, pair.key, persistent=False)

    async def run() -> None:
        load.begin()
        await load.until_acknowledged(ENOUGH // 2)
        await asyncio.to_thread(second.kill)
        await load.until_acknowledged(ENOUGH // 2)
        await load.end()

    asyncio.run(run())
    assert first.running()
    second.start()
    asyncio.run(Load(memory, pair.urls, pair.key, persistent=True).send_again())
    pair.check(memory)
