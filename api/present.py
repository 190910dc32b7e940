"""How the service stands at this moment: what /readyz and /metrics tell of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from api.database import PoolUse
from api.housekeeping import AWAY
from api.sealer import Sealing
from api.service import Service
from ledger.silence import within
from projections import audit, feed, valuation
from projections.feed import Stream

STALLED_S: Final = 3.0
STORED_S: Final = 1.0


class Stored(msgspec.Struct, frozen=True):
    """What only the database knows."""

    log_head: int
    streams: Sequence[Stream]
    valuations_waiting: int


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """One moment of a service; `stored` is None while the database is away."""

    at: datetime
    ready: bool
    writer_connected: bool
    queue_depth: int
    busy_s: float
    clock_behind_s: float
    followers: int
    feed_waiting: int
    refusals_waiting: int
    refusals_dropped: int
    pools: Mapping[str, PoolUse]
    stored: Stored | None
    sealing: Sealing | None


def hindrance(service: Service) -> str | None:
    """Say what keeps the service from booking, as far as it knows unasked."""
    if not service.ready:
        return "the service is starting or stopping"
    if service.writer.busy_s > STALLED_S:
        return "a commit does not come to its end"
    if service.writer.too_early:
        return "the clock is behind the ledger's last event"
    if not service.writer.connected:
        return "the ledger's database cannot be reached"
    return None


async def present(service: Service) -> Present:
    """Give this moment; a database that is away delays it by a second at most."""
    stored = None
    with contextlib.suppress(*AWAY):
        stored = await within(STORED_S, _stored(service))
    writer, refusal_log, sealer = service.writer, service.refusal_log, service.sealer
    return Present(
        at=service.now(),
        ready=stored is not None and hindrance(service) is None,
        writer_connected=writer.connected,
        queue_depth=writer.queue_depth,
        busy_s=writer.busy_s,
        clock_behind_s=max(0.0, writer.clock_behind.total_seconds()),
        followers=service.tail.open,
        feed_waiting=service.feed.waiting,
        refusals_waiting=refusal_log.waiting,
        refusals_dropped=refusal_log.dropped,
        pools=service.database.pools_in_use(),
        stored=stored,
        sealing=None if sealer is None else sealer.sealing,
    )


async def _stored(service: Service) -> Stored:
    async with service.database.following() as connection:
        return Stored(
            await audit.head(connection),
            await feed.streams(connection),
            await valuation.waiting(connection),
        )
