"""A mirror beside two services that book at once, die and come back: every event once, in order."""

from __future__ import annotations

import asyncio
import random
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.faults.load import Load, callers, until
from tests.faults.memory import Memory
from tests.faults.orders import Mix
from tests.faults.shop import open_accounts
from tests.mirror import Away, Mirror
from tests.service import Service, rows, service_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENOUGH = 200
HANGS_UP_AFTER = 300
GONE = (httpx.TransportError, httpx.StreamError, Away)


class Reader:
    """Mirrors the log now from one service, now from the other; what it has, it never asks for again."""

    def __init__(self, urls: list[str], key: str) -> None:
        self._mirrors = [Mirror(url, key) for url in urls]
        self._luck = random.Random(7)
        self.positions: list[int] = []
        self.broken = 0
        self.ended = False

    @property
    def last(self) -> int:
        return self.positions[-1] if self.positions else 0

    def follow(self) -> None:
        """Follow streams until told to end, each for some events; a service that has gone is left alone."""
        while not self.ended:
            wanted = self._luck.randint(1, HANGS_UP_AFTER)
            try:
                with self._mirror().stream(last=self.last, timeout=2) as items:
                    self.positions += (item.position for item in islice(items, wanted))
            except GONE:
                self.broken += 1

    def page(self) -> None:
        """Read pages until told to end, waiting for what comes next."""
        while not self.ended:
            try:
                wanted = self._luck.randint(1, HANGS_UP_AFTER)
                page = self._mirror().page(after=self.last, limit=wanted, wait=1)
            except GONE:
                self.broken += 1
            else:
                self.positions += (item.position for item in page.events)

    def _mirror(self) -> Mirror:
        return self._luck.choice(self._mirrors)


@pytest.fixture
def services(database_url: str, template: str, tmp_path: Path) -> Iterator[list[Service]]:
    with ExitStack() as stack:
        both = [stack.enter_context(service_on(database_url, tmp_path / f"log{n}")) for n in (1, 2)]
        yield both
        for service in both:
            service.stop()
            assert "Traceback" not in service.logged()


def test_a_mirror_misses_nothing_and_has_nothing_twice(
    services: list[Service], database_url: str, template: str
) -> None:
    key, urls = services[0].key(), [service.url for service in services]
    readers, memory = [Reader(urls, key), Reader(urls, key)], Memory()
    with services[0].client(key) as client:
        open_accounts(client)
    load = Load(memory, Mix().call, callers(urls, key, clients=2))

    async def run() -> None:
        ways = (readers[0].follow, readers[1].page)
        reading = [asyncio.create_task(asyncio.to_thread(way)) for way in ways]
        try:
            await work()
        finally:
            for reader in readers:
                reader.ended = True
        await asyncio.gather(*reading)

    async def work() -> None:
        load.begin()
        await load.until_acknowledged(ENOUGH)
        await asyncio.to_thread(services[1].kill)  # its clients go on at the other
        await until(lambda: all(reader.broken for reader in readers))
        await asyncio.to_thread(services[1].start)
        await load.until_acknowledged(ENOUGH)
        await asyncio.to_thread(services[0].stop)
        await asyncio.to_thread(services[0].start)
        await load.until_acknowledged(ENOUGH)
        await load.end()
        head = _head(database_url)
        await until(lambda: all(reader.last == head for reader in readers))

    asyncio.run(run())
    assert memory.unexpected == []
    for reader in readers:
        assert reader.positions == list(range(1, _head(database_url) + 1))
        assert reader.broken > 0
    assert _head(database_url) > 3 * ENOUGH


def _head(database_url: str) -> int:
    [(head,)] = rows(database_url, "SELECT max(notification_id) FROM ledger_events")
    return int(str(head))
