"""/console/accounts: the list, and its files."""

from __future__ import annotations

from litestar import get
from litestar.response.base import ASGIResponse

from api.console import csv_file
from api.console.accounts_list import OPERATORS, PAGES, ListQuery, Results, choices, results_of, rules_in
from api.console.exchange import asked, download, loaded, results_page
from api.console.pace import pace_of
from api.exchange import HttpRequest, ask_of, service_of

_NEEDS = ("accounts:read",)


@get("/accounts", opt={"console": _NEEDS})
async def list_accounts(request: HttpRequest) -> ASGIResponse:
    """List accounts with their totals by currency."""
    ask, fields = ask_of(request), asked(request)
    told = {
        "fields": fields,
        "rules": rules_in(fields),
        "operators": OPERATORS,
        "pages": PAGES,
        "choices": choices(ask),
        "shown": (fields["columns"] or ListQuery().columns).split(","),
    }
    return await results_page(request, "accounts.html", results_of(service_of(request), ask, fields), told)


@get("/accounts.csv", opt={"console": _NEEDS})
async def accounts_as_csv(request: HttpRequest) -> ASGIResponse:
    """Give what is shown as CSV."""
    results = await _exported(request)
    content = await csv_file.csv_of(results.table, pace_of(service_of(request)))
    return download(content, media_type=csv_file.MEDIA_TYPE, name="accounts.csv")


@get("/accounts.xlsx", opt={"console": _NEEDS})
async def accounts_as_workbook(request: HttpRequest) -> ASGIResponse:
    """Give what is shown as a workbook."""
    results = await _exported(request)
    workbook = await loaded("workbook")
    service = service_of(request)
    content = await workbook.xlsx_of(results.table, pace_of(service), title="Accounts", made_at=service.now())
    return download(content, media_type=workbook.MEDIA_TYPE, name="accounts.xlsx")


async def _exported(request: HttpRequest) -> Results:
    service = service_of(request)
    return await results_of(service, ask_of(request), asked(request), lend=service.database.exporting)


HANDLERS = [list_accounts, accounts_as_csv, accounts_as_workbook]
