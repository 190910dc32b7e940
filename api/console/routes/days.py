"""/console/days: each server day, what it began with, what moved, what it ended with."""

from __future__ import annotations

from litestar import get
from litestar.response.base import ASGIResponse

from api.console.day import results_of
from api.console.exchange import asked, results_page
from api.exchange import HttpRequest, ask_of, service_of


@get("/days", opt={"console": ("reports:read",)})
async def read_day(request: HttpRequest) -> ASGIResponse:
    """Show a server day by currency and by group."""
    fields = asked(request)
    results = results_of(service_of(request), ask_of(request), fields)
    return await results_page(request, "day.html", results, {"fields": fields})


HANDLERS = [read_day]
