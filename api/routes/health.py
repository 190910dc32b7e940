"""/healthz, /readyz and /metrics: is the process there, can it book and read, and what does it count."""

from __future__ import annotations

from litestar import get

from api import metrics
from api.exchange import Answer, HttpRequest, reply_to_anyone, service_of
from api.present import STALLED_S, hindrance, present
from api.service import Service
from ledger.events import to_json
from ledger.refusals import ManagerOffline
from ledger.silence import within


@get("/healthz", opt={"tag": "Health"})
async def healthz(request: HttpRequest) -> Answer:
    """Say that the process is there."""
    return reply_to_anyone(request, to_json({"status": "ok"}))


@get("/readyz", opt={"tag": "Health"})
async def readyz(request: HttpRequest) -> Answer:
    """Say that the database answers, the schema is right and what was due is booked."""
    service = service_of(request)
    if (found := hindrance(service)) is not None:
        raise ManagerOffline("not_ready", found, retry_after=1)
    try:
        await within(STALLED_S, _look(service))
    except TimeoutError as error:
        raise ManagerOffline("not_ready", "the ledger's database says nothing", retry_after=1) from error
    said = {"status": "ready", "ledger": service.ledger, "sealing": _sealing(service)}
    return reply_to_anyone(request, to_json(said))


def _sealing(service: Service) -> str:
    return "off" if service.sealer is None else service.sealer.sealing.state


async def _look(service: Service) -> None:
    async with service.database.checking() as connection:
        await connection.execute("SELECT 1 FROM server LIMIT 1")


@get("/metrics", opt={"tag": "Health"})
async def read_metrics(request: HttpRequest) -> Answer:
    """Give what the service counts of itself, for Prometheus."""
    service = service_of(request)
    exposition = service.metrics.exposition(await present(service))
    return reply_to_anyone(request, exposition, metrics.MEDIA_TYPE)


HANDLERS = [healthz, readyz, read_metrics]
