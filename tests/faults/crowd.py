"""More requests wait than the ledger takes: the rest is told to come again, and in the end all is booked."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from ledger.writer import BULK_MAX, QUEUE_MAX
from tests.faults.load import Load, callers
from tests.faults.orders import Mix, batch
from tests.faults.outcome import more
from tests.faults.shop import shop_in
from tests.service import superuser_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.orders import Call
    from tests.faults.outcome import Outcome
    from tests.faults.shop import Shop

BULK_CLIENTS = QUEUE_MAX // BULK_MAX + 5


def full_queue(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Hold the gate until callers are turned away, then let go."""
    with shop_in(scratch) as shop:
        while more(shop.outcome.rounds, rounds, until):
            memory = shop.round(_Crowd(shop))
            shop.expect(memory.codes["queue_full"], "nobody was turned away")
            shop.expect(len(memory.acknowledged) > QUEUE_MAX, "fewer were booked than have waited")
        return shop.finish()


class _Crowd:
    """Clients with large batches come while nothing can be booked."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._mix = Mix(f"crowd-{shop.outcome.rounds}")

    async def __call__(self, load: Load) -> None:
        senders = callers(self._shop.urls, self._shop.key, clients=BULK_CLIENTS)
        crowd = Load(load.memory, self._call, senders)
        with _gate_held(superuser_url(self._shop.data)):
            crowd.begin()
            await crowd.until(lambda: load.memory.codes["queue_full"] > 0)
            await asyncio.to_thread(self._look)
        await crowd.end()

    def _call(self) -> Call:
        return batch(self._mix.deposit() for _ in range(BULK_MAX))

    def _look(self) -> None:
        """Reads go on."""
        with self._shop.client() as client:
            self._shop.expect(client.get("/balances/history").status_code == 200, "history could not be read")


@contextmanager
def _gate_held(url: str) -> Iterator[None]:
    """Hold the lock that lets one writer through at a time, as one that stands still would."""
    with psycopg.connect(url, options="-c search_path=ledger_main") as holder:
        holder.execute("LOCK TABLE gate IN EXCLUSIVE MODE")
        yield
        holder.rollback()
