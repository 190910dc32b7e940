"""Under load the service, or its PostgreSQL, is killed and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.faults import load as clients
from tests.faults.outcome import more
from tests.faults.shop import shop_in
from tests.faults.stops import children
from tests.service import postmaster_pid

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.load import Load
    from tests.faults.outcome import Outcome


def service_killed(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Kill the service and start it again; PostgreSQL goes on, and is taken over."""
    with shop_in(scratch) as shop:

        async def kill(_: Load) -> None:
            await asyncio.to_thread(shop.service.kill)
            await asyncio.to_thread(shop.service.start)

        while more(shop.outcome.rounds, rounds, until):
            shop.round(kill)
        return shop.finish()


def postgres_killed(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Kill PostgreSQL, or one of its processes; the service goes on, and the server comes back."""
    with shop_in(scratch) as shop:
        service_pid = shop.service.pid

        async def kill_first(_: Load) -> None:
            killed = shop.postgres_pid
            os.kill(killed, signal.SIGKILL)
            await clients.until(lambda: postmaster_pid(shop.data) not in {None, killed})

        async def kill_any(_: Load) -> None:
            with suppress(ProcessLookupError):  # it has ended by itself
                os.kill(shop.dice.choice(children(shop.postgres_pid)), signal.SIGKILL)

        while more(shop.outcome.rounds, rounds, until):
            memory = shop.round((kill_first, kill_first, kill_any)[shop.outcome.rounds % 3])
            shop.expect(not memory.hung_up, "the service hung up on a client")
        shop.expect(shop.memory.unanswered, "nobody was told to come again")
        shop.expect(shop.service.running(), "the service did not outlive PostgreSQL")
        shop.expect(shop.service.pid == service_pid, "the service is another one")
        return shop.finish()
