"""The chart of an account: what it held at the close of each server day of a period."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Final

from api.answers import Body, money
from api.console.period import ONE_DAY, Period
from api.history import Basis, check_login
from api.middleware import Ask
from api.service import Service
from ledger.clock import ServerClock
from projections.asof import held_before
from projections.history_filter import LAST, Key

POINTS_MAX: Final = 180


async def points_of(service: Service, ask: Ask, login: int, period: Period, basis: Basis) -> Body:
    """Give the points as exact numbers: the chart places them by what is near, and shows them as they are."""
    async with service.reading() as connection:
        await check_login(connection, login, ask.access)
        days = await service.days(connection)
        closes = list(_closes(days.definitions.clock, period, today=days.server_day))
        held = [await held_before(connection, login, key, basis=basis) for _, key in closes]
    found = [one for one in held if one is not None]
    return {
        "days": [day for day, _ in closes],
        "balance": [str(money(one.balance, one.digits), "ascii") for one in found],
        "credit": [str(money(one.credit, one.digits), "ascii") for one in found],
        "currency": found[0].currency if found else "",
    }


def _closes(clock: ServerClock, period: Period, *, today: date) -> Iterator[tuple[date, Key]]:
    """Give days with their closes, the last one always, in steps where there are many; today has none yet."""
    last = min(period.to_day, today)
    days = max((last - period.from_day).days + 1, 0)
    step = max(-(-days // POINTS_MAX), 1)
    for back in reversed(range(0, days, step)):
        day = last - back * ONE_DAY
        yield day, LAST if day == today else (clock.close_of(day), 0)
