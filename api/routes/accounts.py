"""The accounts list: GET /accounts by query parameters or a JSON body, POST /accounts/query."""

from __future__ import annotations

from litestar import get, post

from api import accounts
from api.accounts_query import AccountsBody, AccountsQuery, decode
from api.exchange import Answer, HttpRequest, NoQuery, ask_of, body_of, query_of, reply, service_of
from ledger.refusals import ValidationError

_TAG = "Accounts"


@get("/accounts", opt={"scope": "accounts:read", "query": AccountsQuery, "tag": _TAG})
async def list_accounts(request: HttpRequest) -> Answer:
    """List accounts with totals over all that match; the question may also stand in a JSON body."""
    return await _listed(request, await _asked(request))


@post("/accounts/query", opt={"scope": "accounts:read", "body": AccountsBody, "tag": _TAG}, status_code=200)
async def query_accounts(request: HttpRequest) -> Answer:
    """List accounts as GET /accounts does, for callers that cannot send a body with GET."""
    query_of(request, NoQuery)
    return await _listed(request, decode(await body_of(request)))


async def _listed(request: HttpRequest, asked: AccountsBody) -> Answer:
    ask = ask_of(request)
    return reply(ask, await accounts.answer(service_of(request), ask, asked))


async def _asked(request: HttpRequest) -> AccountsBody:
    """Read the question from the query or from the body, whichever there is."""
    body = await body_of(request)
    if not body:
        return query_of(request, AccountsQuery).body()
    if request.scope["query_string"]:
        detail = "the question stands in the query or in the body, not in both"
        raise ValidationError("query_and_body", detail, field="body")
    return decode(body)


HANDLERS = [list_accounts, query_accounts]
