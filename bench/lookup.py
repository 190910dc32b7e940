"""Claims about finding one thing: an account, and a balance at a past instant, beside one index lookup."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import cycle
from typing import Any, Final

import psycopg
import uvloop
from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from api.database import Database
from bench.claim import Claim
from bench.ground import Ledger
from bench.load import WrongAnswer
from bench.sample import Plan, Waits, alternately, ratios, told
from bench.served import Served
from projections.asof import as_of

_EVERY: Final = 997
_PLACES: Final = b'SELECT login, "position", recorded_at FROM history WHERE "position" %% %s = 0 ORDER BY 2'
_ROW: Final = b'SELECT balance, credit FROM history WHERE "position" = %s'

Place = tuple[int, int, datetime]
"""A row of history: its login, position and recorded time."""


def lookups(ledger: Ledger, service: Served, plan: Plan) -> list[Claim]:
    """Compare what finds one thing with PostgreSQL's search of one index for one row."""
    with psycopg.connect(ledger.superuser) as connection:
        places = connection.execute(_PLACES, [_EVERY]).fetchall()
    path, seconds = f"/users/{places[0][0]}", plan.seconds / 4
    rounds = alternately(
        plan,
        lambda: service.answers(connections=1, seconds=seconds, what="get", path=path).waits,
        lambda: uvloop.run(_timed(ledger, places, seconds, _as_of)),
        lambda: uvloop.run(_timed(ledger, places, seconds, _row)),
    )
    account, past, row = zip(*rounds, strict=True)
    return [
        _figure("lookup", "one account over HTTP", account, row),
        _figure("lookup-asof", "a balance at a past instant in process", past, row),
    ]


def _figure(name: str, says: str, ours: tuple[Waits, ...], row: tuple[Waits, ...]) -> Claim:
    return Claim(
        name=name,
        says=f"{says}, p50 / one row found in one index through psycopg, p50",
        sense="at most",
        values=ratios((one.p50_us, other.p50_us) for one, other in zip(ours, row, strict=True)),
        notes=[f"{says}: {told(ours)}", f"the row: {told(row)}"],
    )


async def _timed(
    ledger: Ledger,
    places: list[Place],
    seconds: float,
    find: Callable[[AsyncConnection[Any], Place], Awaitable[object]],
) -> Waits:
    """Find row after row for a time, on one of the readers' connections."""
    database, turns, times = Database(ledger.url, ledger.name), cycle(places), list[float]()
    await database.open()
    async with database.reading() as connection:
        began = time.perf_counter()
        while (start := time.perf_counter()) - began < seconds:
            if await find(connection, next(turns)) is None:
                raise WrongAnswer("there is no such row")
            times.append((time.perf_counter() - start) * 1e6)
    await database.close()
    return Waits.of(times)


async def _as_of(connection: AsyncConnection[Any], place: Place) -> object:
    login, _, at = place
    return await as_of(connection, login, at)


async def _row(connection: AsyncConnection[Any], place: Place) -> object:
    cursor = connection.cursor(binary=True)
    await cursor.execute(_ROW, [Int8(place[1])], prepare=True)
    return await cursor.fetchone()
