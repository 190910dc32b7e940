"""GET /audit/...: the mirror of the log, page by page and as a stream, and the refused attempts."""

from __future__ import annotations

from typing import Final

from litestar import get

from api.audit import EventsQuery, EventStream, Follower, StreamQuery
from api.exchange import Answer, HttpRequest, ask_of, query_of, reply, service_of
from api.refused import RefusalsQuery, refusals_body
from ledger.refusals import ValidationError

POSITION_DIGITS: Final = 15
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


def _follower(request: HttpRequest) -> Follower:
    authorization = dict(request.scope["headers"]).get(b"authorization")
    return Follower(service_of(request), ask_of(request), authorization)


def _last_received(request: HttpRequest, after: int) -> int:
    """Give the position to start after: what a reconnecting reader last received wins over the query."""
    given = request.headers.get("last-event-id", "")
    if not given:
        return after
    if not (given.isascii() and given.isdigit() and len(given) <= POSITION_DIGITS):
        raise ValidationError(
            "wrong_type", "Last-Event-ID is the position of an event", field="Last-Event-ID"
        )
    return int(given)


HANDLERS = [read_events, stream_events, read_refusals]
