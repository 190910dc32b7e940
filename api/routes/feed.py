"""/feed: what the trading server tells: quotes, open positions, closed deals, who is online."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from litestar import get, post

from api import bodies, deals, feed, problems
from api.bodies import BULK_BODY_MAX
from api.exchange import Answer, HttpRequest, NoQuery, ask_of, body_of, query_of, reply, service_of
from api.feed_bodies import DealsBody, OnlineBody, PositionsBody, QuotesBody
from projections import feed as reading

Told = QuotesBody | PositionsBody | OnlineBody

_TAG = "Feed"
_quotes = bodies.decoder(QuotesBody)
_positions = bodies.decoder(PositionsBody)
_online = bodies.decoder(OnlineBody)
_deals = bodies.decoder(DealsBody)


@post(
    "/feed/quotes",
    opt={"scope": "feed:write", "body": QuotesBody, "query": NoQuery, "tag": _TAG},
    status_code=200,
)
async def quote(request: HttpRequest) -> Answer:
    """Tell the latest quotes; figures that they move are readable with the answer."""
    return await _take(request, _quotes)


@post(
    "/feed/positions",
    opt={"scope": "feed:write", "body": PositionsBody, "query": NoQuery, "tag": _TAG},
    status_code=200,
)
async def place_positions(request: HttpRequest) -> Answer:
    """Tell the open positions: all of them, in parts if need be, or what has changed."""
    return await _take(request, _positions)


@post(
    "/feed/online",
    opt={"scope": "feed:write", "body": OnlineBody, "query": NoQuery, "tag": _TAG},
    status_code=200,
)
async def tell_online(request: HttpRequest) -> Answer:
    """Tell who is online."""
    return await _take(request, _online)


@post(
    "/feed/deals",
    opt={"scope": "feed:write", "body": DealsBody, "query": NoQuery, "tag": _TAG},
    status_code=200,
)
async def book_deals(request: HttpRequest) -> Answer:
    """Book closed deals, each once."""
    query_of(request, NoQuery)
    body = _deals(await body_of(request, limit=BULK_BODY_MAX))
    service, ask = service_of(request), ask_of(request)
    keep = partial(problems.keep_items, request, request_id=ask.request_id)
    return reply(ask, await deals.book_deals(service, ask, body, keep=keep))


@get("/feed/status", opt={"scope": "feed:write", "query": NoQuery, "tag": _TAG})
async def read_status(request: HttpRequest) -> Answer:
    """Read how far each stream has come, what it missed and how old it is."""
    query_of(request, NoQuery)
    ask, service = ask_of(request), service_of(request)
    async with service.reading() as connection:
        streams = await reading.streams(connection)
    return reply(ask, feed.status_body(streams, service.now()))


async def _take(request: HttpRequest, decode: Callable[[bytes], Told]) -> Answer:
    query_of(request, NoQuery)
    body = decode(await body_of(request, limit=BULK_BODY_MAX))
    ask = ask_of(request)
    receipt = await service_of(request).feed.take(body.message(ask.access))
    refused = (item.refusal for item in receipt.refused)
    await problems.keep_items(request, refused, request_id=ask.request_id)
    return reply(ask, await feed.receipt_body(receipt))


HANDLERS = [quote, place_positions, book_deals, tell_online, read_status]
