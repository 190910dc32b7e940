"""GET /reports/...: exposure, the users export, the daily report."""

from __future__ import annotations

from litestar import get

from api.exchange import Answer, HttpRequest, ask_of, query_of, reply, service_of
from api.exports import export
from api.reports import DailyQuery, ExposureQuery, UsersQuery, daily_body, exposure_body
from api.users_export import MEDIA_TYPES, users_text

_TAG = "Reports"


@get("/reports/exposure", opt={"scope": "reports:read", "query": ExposureQuery, "tag": _TAG})
async def read_exposure(request: HttpRequest) -> Answer:
    """Add up the open positions by symbol, by group or by currency."""
    query, ask = query_of(request, ExposureQuery), ask_of(request)
    return reply(ask, await exposure_body(service_of(request), ask, query))


@get("/reports/users", opt={"scope": "reports:read", "query": UsersQuery, "tag": _TAG})
async def export_users(request: HttpRequest) -> Answer:
    """Stream all accounts with the fields of GET /accounts, as CSV, JSON or NDJSON."""
    query, ask, service = query_of(request, UsersQuery), ask_of(request), service_of(request)
    return await export(
        users_text(service, ask, query),
        headers={"x-request-id": ask.request_id},
        media_type=MEDIA_TYPES[query.format],
        name=f"users.{query.format}",
    )


@get("/reports/daily", opt={"scope": "reports:read", "query": DailyQuery, "tag": _TAG})
async def read_daily_report(request: HttpRequest) -> Answer:
    """Tell what each group began a server day with, what moved, and what it ended with."""
    query, ask = query_of(request, DailyQuery), ask_of(request)
    return reply(ask, await daily_body(service_of(request), ask, query))


HANDLERS = [read_exposure, export_users, read_daily_report]
