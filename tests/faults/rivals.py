"""Two services fight over one ledger: both under load, and now one, now the other dies or stands still."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from api.embedded import EmbeddedPostgres
from projections import install
from tests.faults.outcome import more
from tests.faults.shop import ENOUGH, Shop
from tests.faults.stops import PATIENCE_S, longer, stopped
from tests.service import service_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.load import Load
    from tests.faults.outcome import Outcome
    from tests.service import Service


def two_services(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Stop one, perhaps while it holds the gate, or kill it; the other goes on, and the first comes back."""
    with two_in(scratch) as shop:

        async def stop(load: Load) -> None:
            turn = shop.outcome.rounds
            with stopped(_one(shop).pid):
                await load.until_given_up(1)
                if longer(turn):
                    await asyncio.sleep(longer(turn))
                    await load.until_acknowledged(ENOUGH)

        async def kill(load: Load) -> None:
            await asyncio.to_thread(_one(shop).kill)
            await load.until_acknowledged(ENOUGH)
            await asyncio.to_thread(_one(shop).start)

        while more(shop.outcome.rounds, rounds, until):
            shop.round((stop, kill)[shop.outcome.rounds % 2], patience_s=PATIENCE_S)
        shop.expect(shop.memory.repeated, "no client repeated what had been booked: nothing was tried")
        return shop.finish()


@contextmanager
def two_in(scratch: Path) -> Iterator[Shop]:
    """Open a shop with two services on one database."""
    postgres = EmbeddedPostgres(scratch / "data")
    postgres.start()
    try:
        postgres.create_database_if_missing()
        install.migrate(postgres.url(), "main")
        with ExitStack() as stack:
            logs = (scratch / "one.log", scratch / "other.log")
            yield Shop([stack.enter_context(service_on(postgres.url(), log)) for log in logs])
    finally:
        postgres.stop()


def _one(shop: Shop) -> Service:
    """Give now the first service, now the second, for two rounds each."""
    return shop.services[shop.outcome.rounds // 2 % 2]
