"""Claims about the users export: how fast it is, and what memory it takes."""

from __future__ import annotations

import asyncio
import subprocess
import time
from typing import Final

import msgspec
import psycopg
from psycopg import ClientCursor

from bench import served
from bench.broker import Broker, broker_of
from bench.caller import Beside, Caller
from bench.claim import Claim
from bench.ground import Ground
from bench.listing import reading
from bench.load import WrongAnswer
from bench.pgbench import environment, program
from bench.process import memory
from bench.sample import Plan, Spread, alternately, ratios
from bench.served import Served
from projections import users_export

PATH: Final = "/reports/users?groupFilter=*&format=csv"
ROUNDS_MAX: Final = 5
HANG_S: Final = 120
LOOK_S: Final = 0.05


def export(ground: Ground, plan: Plan) -> list[Claim]:
    """Compare the export with what PostgreSQL alone writes; watch the service's memory."""
    broker = broker_of(ground, plan)
    fewer = msgspec.structs.replace(plan, rounds=min(plan.rounds, ROUNDS_MAX))
    statement = asyncio.run(_copy_statement(broker))
    with served.durable(broker.ledger) as service:
        Caller(service).tell_quotes(broker)
        before, readings = memory(service.pid).resident, [0.0]
        with Beside(lambda: readings.append(memory(service.pid).resident), every_s=LOOK_S):
            rounds = alternately(
                fewer, lambda: _over_http(service, broker), lambda: _copied(broker, statement)
            )
    http, copied = zip(*rounds, strict=True)
    return [
        Claim(
            name="export",
            says="users export over HTTP, rows a second / COPY of the same SELECT by psql to nowhere",
            sense="at least",
            target=0.5,
            values=ratios(zip(http, copied, strict=True)),
            notes=[f"over HTTP {Spread.of(http)} rows/s, COPY {Spread.of(copied)} rows/s"],
        ),
        Claim(
            name="export-memory",
            says=f"what {fewer.rounds} users exports add to the service's resident memory at most",
            sense="at most",
            target=64,
            unit=" MB",
            timed=False,
            values=[max(readings) - before],
            notes=[f"before the first {before:.1f} MB resident"],
        ),
    ]


def check_whole(broker: Broker, lines: int) -> None:
    """Refuse an export that does not hold every account."""
    if lines != broker.size.accounts + 1:
        raise WrongAnswer(f"an export of {broker.size.accounts} accounts had {lines} lines")


def _over_http(service: Served, broker: Broker) -> float:
    taken = Caller(service).export(PATH)
    check_whole(broker, taken.lines)
    return broker.size.accounts / taken.seconds


def _copied(broker: Broker, statement: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        [str(program("psql")), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement],
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=HANG_S,
        env=environment(broker.ledger),
    )
    return broker.size.accounts / (time.perf_counter() - began)


async def _copy_statement(broker: Broker) -> str:
    """Give the export's own statement with its parameters written out."""
    async with reading(broker.ledger) as here:
        scope, moment = here.scope(everything=True), here.fresh
    statement, params = users_export.copy_of_all(scope, moment, form="csv", personal=True)
    with psycopg.connect(broker.ledger.superuser) as connection:
        return ClientCursor(connection).mogrify(statement, params)
