"""Which clock a ledger runs on: the real one, or a simulated one that only goes on."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from api.clocks import Now, real_now, simulated_from
from ledger.codec import read_event
from ledger.definitions import Definitions
from ledger.refusals import ValidationError

_LAST = "SELECT notification_id, topic, state FROM ledger_events ORDER BY notification_id DESC LIMIT 1"
_REAL = "SELECT 1 FROM accounts LIMIT 1"


async def choose_clock(
    connection: AsyncConnection[Any], definitions: Definitions, simulate_from: datetime | None
) -> Now:
    """Give the clock to serve by; ValidationError where the ledger's past speaks against it."""
    if definitions.simulated_from is None:
        if simulate_from is None:
            return real_now
        await _check_not_real(connection)
        return simulated_from(simulate_from)
    last = await last_recorded(connection)
    assert last is not None
    if simulate_from is not None and simulate_from < last:
        detail = f"the ledger's last recorded time is {last.isoformat()}"
        raise ValidationError("simulation_goes_back", detail, field="simulate-from")
    return simulated_from(simulate_from or last)


async def last_recorded(connection: AsyncConnection[Any]) -> datetime | None:
    """Give the ledger's last recorded time."""
    row = await (await connection.execute(_LAST, binary=True)).fetchone()
    return None if row is None else read_event(row[2], topic=row[1], position=row[0]).recorded_at


async def _check_not_real(connection: AsyncConnection[Any]) -> None:
    if await (await connection.execute(_REAL)).fetchone() is not None:
        detail = "a ledger with real operations cannot be simulated"
        raise ValidationError("ledger_is_real", detail, field="simulate-from")
