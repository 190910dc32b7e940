"""History as it is read for a key: a page, an operation, what a request caused, the lines of an export."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any, Final

from psycopg import AsyncConnection

from api import bodies, history
from api.answers import Body
from api.history import HistoryQuery
from api.middleware import Ask
from api.service import Service
from ledger.events import Event
from ledger.refusals import NotFound, ValidationError
from projections import history as reading
from projections import operations
from projections.history import Filter, Row
from projections.history_csv import csv_header, csv_lines
from projections.history_filter import read_cursor
from projections.history_text import history_text

LIMIT: Final = 100
CHUNK: Final = 250  # rows written without giving way to other callers
REST_S: Final = 0.03
"""How long an export rests after each step while money is being booked: that goes first."""


async def wanted_by(service: Service, ask: Ask, query: HistoryQuery) -> Filter:
    """Give what a query asks for, checked against what the key reaches."""
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


async def page_body(service: Service, query: HistoryQuery, wanted: Filter) -> Body:
    """Give a page, and what is said beside it, of one moment."""
    limit = LIMIT if query.limit is None else query.limit
    async with service.reading() as connection, _one_moment(connection, query, wanted):
        page = await reading.page(
            connection, wanted, order=query.order, limit=limit, offset=query.offset, cursor=query.cursor
        )
        held = await reading.opening_closing(connection, wanted)
        totals = await reading.count_and_totals(connection, wanted) if query.totals else None
    body = {
        "rows": await _rows(page.rows),
        "next": page.next,
        "opening": None if held is None else history.held_body(held[0]),
        "closing": None if held is None else history.held_body(held[1]),
    }
    return body if totals is None else body | {"count": totals.count, "totals": history.totals_body(totals)}


async def operation_body(service: Service, ask: Ask, operation_id: str) -> Body:
    """Give an operation as it was answered, with its events and what corrects or reverses it."""
    async with service.reading() as connection:
        events = await operations.operation_events(connection, position_of(operation_id))
        if not history.named(events, operation_id):
            raise NotFound("unknown_operation", f"there is no operation {operation_id}", field="operationId")
        beside = await _beside(connection, events, ask)
    return await service.answer(events, ask) | beside


async def request_body(service: Service, ask: Ask, request_id: str) -> Body:
    """Give the operation that a request caused, in the same form."""
    bodies.clean(request_id, field="requestId")
    async with service.reading() as connection:
        events = await operations.requested(connection, request_id)
        if not events:
            raise NotFound("unknown_request", "no request with this id was applied", field="requestId")
        beside = await _beside(connection, events, ask)
    await service.writer.confirm(events[-1].position)  # the caller takes it for an acknowledgement
    return await service.answer(events, ask) | beside


async def csv_text(service: Service, query: HistoryQuery, wanted: Filter) -> AsyncGenerator[bytes, None]:
    """Yield all rows in short steps; with a limit, offset or cursor, the rows of that page."""

    async def rest() -> None:
        if service.writer.queue_depth:
            await asyncio.sleep(REST_S)

    async with service.database.exporting() as connection:
        yield csv_header()  # only now: an answer that has begun cannot be refused
        if query.limit is not None or query.cursor is not None or query.offset:
            limit = LIMIT if query.limit is None else query.limit
            page = await reading.page(
                connection, wanted, order=query.order, limit=limit, offset=query.offset, cursor=query.cursor
            )
            yield csv_lines(page.rows)
            return
        lines = history_text(connection, wanted, order=query.order, rest=rest)
        async with aclosing(lines):  # a caller that goes away leaves nothing open
            async for chunk in lines:
                yield chunk


async def _rows(rows: Sequence[Row]) -> list[Body]:
    """Write rows, giving way now and then: no deposit waits for a long page."""
    written: list[Body] = []
    for start in range(0, len(rows), CHUNK):
        written += map(history.row_body, rows[start : start + CHUNK])
        await asyncio.sleep(0)
    return written


async def _beside(connection: AsyncConnection[Any], events: Sequence[Event], ask: Ask) -> Body:
    ask.key.need_to_read(events[0])
    await history.check_visible(connection, events, ask.access)
    return await history.answers_to(connection, events)


def _one_moment(
    connection: AsyncConnection[Any], query: HistoryQuery, wanted: Filter
) -> AbstractAsyncContextManager[None]:
    """Let a page and what is said beside it be of one moment; a page alone is so by itself."""
    beside = query.totals or (wanted.one_account and wanted.timed)
    return reading.snapshot(connection) if beside else nullcontext()


def position_of(operation_id: str) -> int:
    """Give the position that an operation id of either sort names."""
    kind, _, number = operation_id.partition("_")
    if kind not in {"bal", "op"} or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise ValidationError(
            "bad_operation_id", "an operation id reads bal_ or op_ and a number", field="operationId"
        )
    return int(number)
