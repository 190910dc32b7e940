"""GET /balances/...: history, operations, balances at a past instant; GET /requests."""

from __future__ import annotations

from litestar import get
from litestar.params import FromPath

from api import history, history_reading
from api.exchange import Answer, HttpRequest, NoQuery, ask_of, header_of, query_of, reply, service_of
from api.exports import export
from api.history import AsOfQuery, HistoryQuery
from projections import asof

CSV = "text/csv"
_TAG = "History"


@get("/balances/history", opt={"scope": "history:read", "query": HistoryQuery, "tag": _TAG})
async def read_history(request: HttpRequest) -> Answer:
    """Page through the legs of money operations, or stream them as CSV."""
    query, ask, service = query_of(request, HistoryQuery), ask_of(request), service_of(request)
    wanted = await history_reading.wanted_by(service, ask, query)
    if query.format == "csv" or CSV in header_of(request, b"accept"):
        lines = history_reading.csv_text(service, query, wanted)
        headers = {"x-request-id": ask.request_id}
        return await export(lines, headers=headers, media_type=CSV, name="history.csv")
    return reply(ask, await history_reading.page_body(service, query, wanted))


@get("/balances/operations/{operation_id:str}", opt={"scope": "history:read", "query": NoQuery, "tag": _TAG})
async def read_operation(request: HttpRequest, operation_id: FromPath[str]) -> Answer:
    """Read an operation as it was answered, with its events and what corrects or reverses it."""
    query_of(request, NoQuery)
    ask = ask_of(request)
    return reply(ask, await history_reading.operation_body(service_of(request), ask, operation_id))


@get("/requests/{request_id:str}", opt={"scope": "history:read", "query": NoQuery, "tag": _TAG})
async def read_request(request: HttpRequest, request_id: FromPath[str]) -> Answer:
    """Read what a request caused: the answer to "timed out, did it happen?"."""
    query_of(request, NoQuery)
    ask = ask_of(request)
    return reply(ask, await history_reading.request_body(service_of(request), ask, request_id))


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


HANDLERS = [read_history, read_operation, read_request, read_asof]
