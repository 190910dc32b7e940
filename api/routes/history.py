"""GET /balances/...: history, operations, balances at a past instant; GET /requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any

from litestar import get
from litestar.params import FromPath
from litestar.response import Stream
from psycopg import AsyncConnection

from api import answers, bodies, history
from api.exchange import Answer, HttpRequest, NoQuery, ask_of, query_of, reply, service_of
from api.history import AsOfQuery, HistoryQuery
from api.middleware import Ask
from api.service import Service
from ledger.refusals import NotFound, ValidationError
from projections import asof, operations
from projections import history as reading
from projections.history import Filter
from projections.history_csv import csv_header, csv_lines
from projections.history_filter import read_cursor

LIMIT = 100
CSV_CHUNK = 1_000  # short enough not to hold up the event loop
CSV = "text/csv"
_TAG = "History"


@get("/balances/history", opt={"scope": "history:read", "query": HistoryQuery, "tag": _TAG})
async def read_history(request: HttpRequest) -> Answer:
    """Page through the legs of money operations, or stream them as CSV."""
    query, ask, service = query_of(request, HistoryQuery), ask_of(request), service_of(request)
    wanted = await _wanted(service, query, ask)
    if query.format == "csv" or "text/csv" in request.headers.get("accept", ""):
        return _csv(service, query, wanted, ask).to_asgi_response(app=None, request=request)
    return reply(ask, await _page(service, query, wanted))


@get("/balances/operations/{operation_id:str}", opt={"scope": "history:read", "query": NoQuery, "tag": _TAG})
async def read_operation(request: HttpRequest, operation_id: FromPath[str]) -> Answer:
    """Read an operation as it was answered, with its events and what corrects or reverses it."""
    query_of(request, NoQuery)
    ask, service = ask_of(request), service_of(request)
    async with service.reading() as connection:
        events = await operations.operation_events(connection, _position(operation_id))
        if not history.named(events, operation_id):
            raise NotFound("unknown_operation", f"there is no operation {operation_id}", field="operationId")
        await history.check_visible(connection, events, ask.access)
        beside = await history.answers_to(connection, events)
    return reply(ask, await service.answer(events, ask) | beside)


@get("/requests/{request_id:str}", opt={"scope": "history:read", "query": NoQuery, "tag": _TAG})
async def read_request(request: HttpRequest, request_id: FromPath[str]) -> Answer:
    """Read what a request caused: the answer to "timed out, did it happen?"."""
    query_of(request, NoQuery)
    bodies.clean(request_id, field="requestId")
    ask, service = ask_of(request), service_of(request)
    async with service.reading() as connection:
        events = await operations.requested(connection, request_id)
        if not events:
            raise NotFound("unknown_request", "no request with this id was applied", field="requestId")
        await history.check_visible(connection, events, ask.access)
        beside = await history.answers_to(connection, events)
    return reply(ask, await service.answer(events, ask) | beside)


@get("/balances/asof", opt={"scope": "history:read", "query": AsOfQuery, "tag": _TAG})
async def read_asof(request: HttpRequest) -> Answer:
    """Read what an account held at a past instant, as booked or as known now."""
    query, ask = query_of(request, AsOfQuery), ask_of(request)
    at = query.instant()
    async with service_of(request).reading() as connection:
        await history.check_login(connection, query.login, ask.access)
        held = await asof.as_of(connection, query.login, at, basis=query.basis)
    assert held is not None
    return reply(ask, history.asof_body(held, at))


async def _wanted(service: Service, query: HistoryQuery, ask: Ask) -> Filter:
    wanted = query.filter(ask.access)
    async with service.reading() as connection:
        if query.login is not None:
            await history.check_login(connection, query.login, ask.access)
        if query.basis == "effective" and (query.from_day or query.to_day):
            days = await service.days(connection)
            wanted = reading.by_instants(wanted, days.definitions.clock)
    if query.cursor is not None:
        read_cursor(query.cursor, wanted, query.order)  # a stream that has begun cannot be refused
    return wanted


async def _page(service: Service, query: HistoryQuery, wanted: Filter) -> answers.Body:
    limit = LIMIT if query.limit is None else query.limit
    async with service.reading() as connection, _one_moment(connection, query, wanted):
        page = await reading.page(
            connection, wanted, order=query.order, limit=limit, offset=query.offset, cursor=query.cursor
        )
        held = await reading.opening_closing(connection, wanted)
        totals = await reading.count_and_totals(connection, wanted) if query.totals else None
    body = {
        "rows": [history.row_body(row) for row in page.rows],
        "next": page.next,
        "opening": None if held is None else history.held_body(held[0]),
        "closing": None if held is None else history.held_body(held[1]),
    }
    return body if totals is None else body | {"count": totals.count, "totals": history.totals_body(totals)}


def _csv(service: Service, query: HistoryQuery, wanted: Filter, ask: Ask) -> Stream:
    return Stream(
        _lines(service, query, wanted),
        media_type=CSV,
        headers={"x-request-id": ask.request_id, "content-disposition": 'attachment; filename="history.csv"'},
    )


def _one_moment(
    connection: AsyncConnection[Any], query: HistoryQuery, wanted: Filter
) -> AbstractAsyncContextManager[None]:
    """Let a page and what is said beside it be of one moment; a page alone is so by itself."""
    beside = query.totals or (wanted.one_account and wanted.timed)
    return reading.snapshot(connection) if beside else nullcontext()


async def _lines(service: Service, query: HistoryQuery, wanted: Filter) -> AsyncIterator[bytes]:
    """Give all rows in short steps; with a limit, offset or cursor, the rows of that page."""
    yield csv_header()
    async with service.database.exporting() as connection:
        if query.limit is not None or query.cursor is not None or query.offset:
            limit = LIMIT if query.limit is None else query.limit
            page = await reading.page(
                connection, wanted, order=query.order, limit=limit, offset=query.offset, cursor=query.cursor
            )
            yield csv_lines(page.rows)
            return
        rows = reading.stream(connection, wanted, order=query.order, chunk=CSV_CHUNK)
        async with aclosing(rows):  # a caller that goes away leaves nothing open
            async for chunk in rows:
                yield csv_lines(chunk)


def _position(operation_id: str) -> int:
    kind, _, number = operation_id.partition("_")
    if kind not in {"bal", "op"} or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise ValidationError(
            "bad_operation_id", "an operation id reads bal_ or op_ and a number", field="operationId"
        )
    return int(number)


HANDLERS = [read_history, read_operation, read_request, read_asof]
