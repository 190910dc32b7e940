"""/console/accounts/{login}: one account, its chart, its statement."""

from __future__ import annotations

from litestar import get
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from api.console.account import PeriodQuery, period_of, results_of
from api.console.chart import points_of
from api.console.exchange import UNKEPT, asked, download, loaded, login_of, query_as, results_page
from api.console.frame import POSTING
from api.console.pace import pace_of
from api.console.statement import statement_of
from api.exchange import HttpRequest, ask_of, service_of
from ledger.events import to_json


@get("/accounts/{login:str}", opt={"console": ("users:read",)})
async def read_account(request: HttpRequest, login: FromPath[str]) -> ASGIResponse:
    """Show an account's figures, and its history where the key may see that."""
    ask, service, fields = ask_of(request), service_of(request), asked(request)
    number = login_of(login)
    profile = await service.profile(number, ask)
    posting = [scope for scope in POSTING if scope in ask.scopes]
    told = {"login": number, "profile": profile, "fields": fields, "posting": posting}
    return await results_page(request, "account.html", results_of(service, ask, number, fields), told)


@get("/accounts/{login:str}/chart", opt={"console": ("history:read",)})
async def read_chart(request: HttpRequest, login: FromPath[str]) -> ASGIResponse:
    """Give what the chart of an account shows."""
    ask, service, query = ask_of(request), service_of(request), query_as(asked(request), PeriodQuery)
    period, _ = await period_of(service, query)
    points = await points_of(service, ask, login_of(login), period, query.basis)
    return ASGIResponse(body=to_json(points), media_type="application/json", headers=UNKEPT)


@get("/accounts/{login:str}/statement.pdf", opt={"console": ("users:read", "history:read")})
async def read_statement(request: HttpRequest, login: FromPath[str]) -> ASGIResponse:
    """Give an account's statement over a period."""
    ask, service, query = ask_of(request), service_of(request), query_as(asked(request), PeriodQuery)
    period, _ = await period_of(service, query)
    statement = await statement_of(service, ask, login_of(login), period)
    paper = await loaded("statement_pdf")
    name = f"statement-{login}-{period.from_day}-{period.to_day}.pdf"
    return download(await paper.pdf_of(statement, pace_of(service)), media_type="application/pdf", name=name)


HANDLERS = [read_account, read_chart, read_statement]
