"""/console/history, /console/restatements and /console/operations: what was booked, and by whom."""

from __future__ import annotations

from litestar import get
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from api import history_reading
from api.console.exchange import UNKEPT, asked, page, query_as, results_page
from api.console.history_list import restatements_of, results_of, sums_of
from api.console.operation import told_of
from api.console.period import after, before
from api.exchange import HttpRequest, ask_of, service_of
from api.exports import export
from api.history import KINDS, HistoryQuery

_NEEDS = ("history:read",)


@get("/history", opt={"console": _NEEDS})
async def list_history(request: HttpRequest) -> ASGIResponse:
    """List operations across accounts."""
    fields = asked(request)
    results = results_of(service_of(request), ask_of(request), fields)
    told = {"fields": fields, "all_kinds": sorted(KINDS), "sums_of": sums_of}
    return await results_page(request, "history.html", results, told)


@get("/history.csv", opt={"console": _NEEDS})
async def history_as_csv(request: HttpRequest) -> ASGIResponse:
    """Stream all that matches as CSV, as the API does."""
    ask, service = ask_of(request), service_of(request)
    fields = {
        name: value for name, value in asked(request).items() if name not in {"limit", "cursor", "totals"}
    }
    query = query_as(fields, HistoryQuery)
    lines = history_reading.csv_text(service, query, await history_reading.wanted_by(service, ask, query))
    return await export(lines, headers=UNKEPT, media_type="text/csv", name="history.csv")


@get("/restatements", opt={"console": _NEEDS})
async def list_restatements(request: HttpRequest) -> ASGIResponse:
    """List what was booked after a day or month was over, with an effective time in it."""
    fields = asked(request)
    results = restatements_of(service_of(request), ask_of(request), fields)
    told = {"fields": fields, "sums_of": sums_of, "before": before, "after": after}
    return await results_page(request, "restatements.html", results, told)


@get("/operations/{operation_id:str}", opt={"console": _NEEDS})
async def read_operation(request: HttpRequest, operation_id: FromPath[str]) -> ASGIResponse:
    """Show an operation: what it did, who asked for it, its events as stored, what answers it."""
    ask, service = ask_of(request), service_of(request)
    told = await told_of(service, ask, operation_id)
    return await page(request, "operation.html", told | {"booked": asked(request)["booked"]})


HANDLERS = [list_history, history_as_csv, list_restatements, read_operation]
