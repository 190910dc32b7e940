"""/healthz, /readyz and /metrics: is the process there, can it book and read, and what does it count."""

from __future__ import annotations

from litestar import get

from api import metrics
from api.exchange import Answer, HttpRequest, reply_to_anyone, service_of
from ledger.events import to_json
from ledger.refusals import ManagerOffline

STALLED_S = 3.0


@get("/healthz", opt={"tag": "Health"})
async def healthz(request: HttpRequest) -> Answer:
    """Say that the process is there."""
    return reply_to_anyone(request, to_json({"status": "ok"}))


@get("/readyz", opt={"tag": "Health"})
async def readyz(request: HttpRequest) -> Answer:
    """Say that the database answers, the schema is right and what was due is booked."""
    service = service_of(request)
    if not service.ready:
        raise ManagerOffline("not_ready", "the service is starting or stopping", retry_after=1)
    if service.writer.busy_s > STALLED_S:
        raise ManagerOffline("not_ready", "a commit does not come to its end", retry_after=1)
    async with service.database.checking() as connection:
        await connection.execute("SELECT 1 FROM server LIMIT 1")
    return reply_to_anyone(request, to_json({"status": "ready", "ledger": service.ledger}))


@get("/metrics", opt={"tag": "Health"})
async def read_metrics(request: HttpRequest) -> Answer:
    """Give what the service counts of itself, for Prometheus."""
    service = service_of(request)
    exposition = service.metrics.exposition(await service.present())
    return reply_to_anyone(request, exposition, metrics.MEDIA_TYPE)


HANDLERS = [healthz, readyz, read_metrics]
