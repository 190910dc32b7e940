"""Which clock a ledger runs on: the real one, or a simulated one that only goes on."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from api.clocks import Now, real_now, simulated_from
from api.startup import CLOCK_BEHIND_MAX, check_clock
from ledger.definitions import Definitions
from ledger.refusals import ValidationError
from projections import accounts, feed, operations


async def choose_clock(
    connection: AsyncConnection[Any],
    definitions: Definitions,
    simulate_from: datetime | None,
    *,
    behind_max: timedelta = CLOCK_BEHIND_MAX,
) -> Now:
    """Give the clock to serve by, or say what of the ledger's past speaks against it."""
    if definitions.simulated_from is None:
        if simulate_from is None:
            check_clock(real_now(), await last_recorded(connection), behind_max)
            return real_now
        await _check_not_real(connection)
        return simulated_from(simulate_from)
    last = await _last_seen(connection)
    if simulate_from is not None and simulate_from < last:
        detail = f"the ledger's last recorded time is {last.isoformat()}"
        raise ValidationError("simulation_goes_back", detail, field="simulate-from")
    return simulated_from(simulate_from or last)


async def last_recorded(connection: AsyncConnection[Any]) -> datetime | None:
    """Give the ledger's last recorded time."""
    last = await operations.last_event(connection)
    return None if last is None else last.recorded_at


async def _last_seen(connection: AsyncConnection[Any]) -> datetime:
    """Give the last time of anything kept: the feed goes on between events, also while nothing is booked."""
    recorded, told = await last_recorded(connection), await feed.last_told(connection)
    assert recorded is not None
    return recorded if told is None else max(recorded, told)


async def _check_not_real(connection: AsyncConnection[Any]) -> None:
    if await accounts.any_account(connection):
        detail = "a ledger with real operations cannot be simulated"
        raise ValidationError("ledger_is_real", detail, field="simulate-from")
