"""Claims about the memory of the service."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from api.embedded import EmbeddedPostgres
from bench import served
from bench.claim import Claim
from bench.deposits import CONNECTIONS
from bench.ground import Ground, small_ledger
from bench.process import Memory, memory
from bench.sample import Plan, Spread
from bench.served import Served

SETTLE_S = 1.0
EACH_S = 0.1


def footprint(ground: Ground, plan: Plan) -> list[Claim]:
    """Read the memory of a service started as `make run` does, idle and under load."""
    data = ground.directory / "own"
    with served.embedded(data) as service:
        time.sleep(SETTLE_S)
        idle = memory(service.pid)
        with EmbeddedPostgres(data).session() as url:
            keyed = msgspec.structs.replace(service, key=small_ledger(url, "main").key)
            loaded = list(_under_load(keyed, plan))
        after = memory(service.pid)
    return [
        Claim(
            name="memory-idle",
            says="the service's resident memory, just started",
            sense="at most",
            target=80,
            timed=False,
            unit=" MB",
            values=[idle.resident],
            notes=[_proportional("idle", [idle])],
        ),
        Claim(
            name="memory-load",
            says=f"the service's largest resident memory under {CONNECTIONS} connections of deposits",
            sense="at most",
            target=160,
            timed=False,
            unit=" MB",
            values=[max(reading.resident for reading in loaded)],
            notes=[_proportional("under load", loaded), f"afterwards {after.resident:.1f} MB resident"],
        ),
    ]


def _under_load(service: Served, plan: Plan) -> Iterator[Memory]:
    """Read the memory again and again while as many requests as in all rounds come in."""
    running = service.load(connections=CONNECTIONS, seconds=plan.seconds * plan.rounds).start()
    while not running.over:
        yield memory(service.pid)
        time.sleep(EACH_S)
    running.result()


def _proportional(when: str, readings: list[Memory]) -> str:
    spread = Spread.of(reading.shared_fairly for reading in readings)
    return f"{when}, shared pages divided among those who share them (PSS): {spread} MB"
