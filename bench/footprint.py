"""Claims about the memory of the service."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

import msgspec

from api.embedded import EmbeddedPostgres
from bench import served
from bench.broker import AMOUNT, LOGIN_FIRST, Broker, broker_of
from bench.caller import Caller
from bench.claim import Claim
from bench.deposits import BATCH_SIZE, CONNECTIONS
from bench.ground import Ground, small_ledger
from bench.listing import PATH
from bench.load import WrongAnswer
from bench.process import Memory, memory
from bench.sample import Plan, Spread
from bench.served import Served

SETTLE_S: Final = 1.0
EACH_S: Final = 0.1
CREATED: Final = 201


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
            values=[_largest(loaded)],
            notes=[_proportional("under load", loaded), f"afterwards {after.resident:.1f} MB resident"],
        ),
    ]


def of_accounts(ground: Ground, plan: Plan) -> list[Claim]:
    """Read the memory of a service that booked to each account of the big broker, and lists them."""
    broker = broker_of(ground, plan)
    with served.durable(broker.ledger) as service:
        caller = Caller(service)
        caller.tell_quotes(broker)
        readings = {
            "a deposit to each account, in batches": list(_over_all(service, caller, broker)),
            "single deposits": list(_under_load(service, plan, **broker.deposits)),
        }
        caller.get(PATH)
        readings["then a first page with totals"] = [memory(service.pid)]
    return [
        Claim(
            name="memory-accounts",
            says=f"the largest resident memory with {broker.size.accounts:,} accounts, each booked to",
            sense="at most",
            target=200,
            timed=False,
            unit=" MB",
            values=[_largest(chain(*readings.values()))],
            notes=[
                broker.note,
                *(f"{when}: {_largest(some):.1f} MB resident at most" for when, some in readings.items()),
            ],
        )
    ]


def _over_all(service: Served, caller: Caller, broker: Broker) -> Iterator[Memory]:
    """Book a deposit to every account, a thousand a call, and read the memory after each call."""
    last = LOGIN_FIRST + broker.size.accounts
    for first in range(LOGIN_FIRST, last, BATCH_SIZE):
        logins = range(first, min(first + BATCH_SIZE, last))
        told = caller.post("/balances/batch", {"operations": [_deposit(login) for login in logins]})
        if any(result["httpStatus"] != CREATED for result in told["results"]):
            raise WrongAnswer(f"not all deposits from login {first} on were booked")
        yield memory(service.pid)


def _deposit(login: int) -> dict[str, object]:
    return {"op": "deposit", "login": login, "amount": int(AMOUNT), "requestId": f"memory-{login}"}


def _largest(readings: Iterable[Memory]) -> float:
    return max(reading.resident for reading in readings)


def _under_load(service: Served, plan: Plan, **what: Any) -> Iterator[Memory]:
    """Read the memory again and again while as many requests as in all rounds come in."""
    running = service.load(connections=CONNECTIONS, seconds=plan.seconds * plan.rounds, **what).start()
    while not running.over:
        yield memory(service.pid)
        time.sleep(EACH_S)
    running.result()


def _proportional(when: str, readings: list[Memory]) -> str:
    spread = Spread.of(reading.shared_fairly for reading in readings)
    return f"{when}, shared pages divided among those who share them (PSS): {spread} MB"
