"""The users export on the wire: lines framed as CSV, as one JSON object, or as they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

from api import answers
from api.answers import Body
from api.middleware import Ask
from api.reports import UsersQuery, moment_of
from api.service import Service
from ledger.events import to_json
from projections import audit
from projections.accounts import STRUCTURE
from projections.history import snapshot
from projections.totals import Moment, Totals, read_totals
from projections.users_export import Format, export_lines, read_start

MEDIA_TYPES: Final[dict[Format, str]] = {
    "csv": "text/csv",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
}

REST_S: Final = 0.03
"""How long an export rests every few lines while money is being booked: that goes first."""

Lines = AsyncGenerator[list[bytes], None]
Text = AsyncGenerator[bytes, None]


async def users_text(service: Service, ask: Ask, query: UsersQuery) -> Text:
    """Yield the export: all money in it is that of one position."""

    async def rest() -> None:
        if service.writer.queue_depth:
            await asyncio.sleep(REST_S)

    async with service.database.exporting() as connection:
        async with snapshot(connection):
            days = await service.days(connection)
            moment, definitions = moment_of(service, days), days.definitions
            scope = query.scope(ask.access, definitions)
            totals = await read_totals(connection, scope, definitions, moment)
            beside = _beside(await audit.head(connection), moment, totals)
            start = await read_start(connection)
        personal = "users:pii" in ask.scopes
        lines = export_lines(
            connection, scope, moment, start, form=query.format, personal=personal, rest=rest
        )
        async with aclosing(_FRAMES[query.format](lines, beside)) as text:
            async for chunk in text:
                yield chunk


def _beside(position: int, moment: Moment, totals: Totals) -> Body:
    return {
        "position": position,
        "asOf": answers.utc(moment.now),
        "stale": totals.stale,
        "warnings": [warning for warning in totals.warnings if warning.startswith("figures_stale")],
    }


async def _csv(lines: Lines, beside: Body) -> Text:  # noqa: ARG001 - one shape for all formats
    yield ",".join(STRUCTURE).encode() + b"\n"
    async with aclosing(lines):
        async for some in lines:
            yield b"".join(some)


async def _ndjson(lines: Lines, beside: Body) -> Text:  # noqa: ARG001 - one shape for all formats
    async with aclosing(lines):
        async for some in lines:
            yield b"".join(some)


async def _json(lines: Lines, beside: Body) -> Text:
    """Write what GET /accounts answers, but for the totals. The count comes last: without it, rows lack."""
    yield b'{"structure":' + to_json(STRUCTURE) + b',"rows":['
    count, comma = 0, b""
    async with aclosing(lines):
        async for some in lines:
            yield comma + b",".join(some)
            count, comma = count + len(some), b","
    yield b"]," + to_json({"count": count, **beside})[1:]


_FRAMES: Final[dict[Format, Callable[[Lines, Body], Text]]] = {"csv": _csv, "json": _json, "ndjson": _ndjson}
