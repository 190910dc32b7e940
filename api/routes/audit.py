"""GET /audit/...: the mirror of the log, page by page and as a stream, proofs of it, the refused attempts."""

from __future__ import annotations

from typing import Final

from litestar import get
from litestar.params import FromPath

from api import proofs
from api.audit import EventsQuery, EventStream, Follower, StreamQuery
from api.exchange import (
    Answer,
    HttpRequest,
    ask_of,
    header_of,
    query_of,
    reply,
    reply_to_anyone,
    service_of,
)
from api.proofs import CheckpointQuery, ConsistencyQuery
from api.refused import RefusalsQuery, refusals_body
from ledger.refusals import ValidationError

POSITION_DIGITS: Final = 15
NOTE: Final = "text/plain"
_TAG = "Audit"
_STREAMED: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}


@get("/audit/events", opt={"scope": "audit:read", "query": EventsQuery, "tag": _TAG})
async def read_events(request: HttpRequest) -> Answer:
    """Read the log on from a position, or wait for what comes after it."""
    query, ask = query_of(request, EventsQuery), ask_of(request)
    step = await _follower(request).page(query)
    return reply(ask, {"events": step.items, "next": step.next})


@get("/audit/stream", opt={"scope": "audit:read", "query": StreamQuery, "tag": _TAG})
async def stream_events(request: HttpRequest) -> Answer:
    """Follow the log as server-sent events, on from a position or from the last one received."""
    query, follower = query_of(request, StreamQuery), _follower(request)
    after = _last_received(request, query.after)
    await follower.check(after)
    headers = _STREAMED | {"x-request-id": ask_of(request).request_id}
    return EventStream(iterator=follower.stream(after), media_type="text/event-stream", headers=headers)


@get("/audit/refusals", opt={"scope": "audit:read", "query": RefusalsQuery, "tag": _TAG})
async def read_refusals(request: HttpRequest) -> Answer:
    """Read the refused attempts on from a number."""
    query, ask = query_of(request, RefusalsQuery), ask_of(request)
    return reply(ask, await refusals_body(service_of(request), ask, query))


@get("/audit/checkpoint", opt={"scope": "audit:read", "query": CheckpointQuery, "tag": _TAG})
async def read_checkpoint(request: HttpRequest) -> Answer:
    """Read the newest signed checkpoint, or the one over so many events."""
    query, ask = query_of(request, CheckpointQuery), ask_of(request)
    found = await proofs.read_checkpoint(service_of(request), query.size)
    if NOTE in header_of(request, b"accept"):
        return reply_to_anyone(request, found.note.encode(), NOTE)
    return reply(ask, found)


@get("/audit/proof/{operation_id:str}", opt={"scope": "audit:read", "query": CheckpointQuery, "tag": _TAG})
async def read_proof(request: HttpRequest, operation_id: FromPath[str]) -> Answer:
    """Prove that an operation is under a checkpoint."""
    query, ask = query_of(request, CheckpointQuery), ask_of(request)
    return reply(ask, await proofs.read_proof(service_of(request), ask, operation_id, query.size))


@get("/audit/consistency", opt={"scope": "audit:read", "query": ConsistencyQuery, "tag": _TAG})
async def read_consistency(request: HttpRequest) -> Answer:
    """Prove that the log has only grown between two sizes."""
    query, ask = query_of(request, ConsistencyQuery), ask_of(request)
    return reply(ask, await proofs.read_consistency(service_of(request), query))


def _follower(request: HttpRequest) -> Follower:
    authorization = dict(request.scope["headers"]).get(b"authorization")
    return Follower(service_of(request), ask_of(request), authorization)


def _last_received(request: HttpRequest, after: int) -> int:
    """Give the position to start after: what a reconnecting reader last received wins over the query."""
    given = header_of(request, b"last-event-id")
    if not given:
        return after
    if not (given.isascii() and given.isdigit() and len(given) <= POSITION_DIGITS):
        raise ValidationError(
            "wrong_type", "Last-Event-ID is the position of an event", field="Last-Event-ID"
        )
    return int(given)


HANDLERS = [read_events, stream_events, read_checkpoint, read_proof, read_consistency, read_refusals]
