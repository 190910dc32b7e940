"""/users: open, change, read, disable and enable accounts."""

from __future__ import annotations

from litestar import get, patch, post
from litestar.params import FromPath

from api import bodies
from api.exchange import (
    Answer,
    HttpRequest,
    NoQuery,
    ask_of,
    body_of,
    carry_out,
    carry_out_on,
    check_in_path,
    query_of,
    reply,
    service_of,
)
from ledger.commands import DisableAccount, EnableAccount

_open = bodies.decoder(bodies.OpenBody)
_update = bodies.decoder(bodies.UpdateBody)
_TAG = "Accounts"


@post(
    "/users",
    opt={"scope": "users:write", "body": bodies.OpenBody, "tag": _TAG},
    status_code=201,
)
async def open_account(request: HttpRequest) -> Answer:
    """Open an account, at the given login or the next free one."""
    return await carry_out(request, _open(await body_of(request)).command(), status=201)


@patch(
    "/users/{login:int}",
    opt={"scope": "users:write", "body": bodies.UpdateBody, "tag": _TAG},
)
async def update_account(request: HttpRequest, login: FromPath[int]) -> Answer:
    """Change the given fields of an account."""
    return await carry_out_on(request, login, _update(await body_of(request)).command_for(login))


@get("/users/{login:int}", opt={"scope": "users:read", "tag": _TAG})
async def read_account(request: HttpRequest, login: FromPath[int]) -> Answer:
    """Read an account's profile and figures."""
    check_in_path(request, login)
    query_of(request, NoQuery)
    ask = ask_of(request)
    return reply(ask, await service_of(request).profile(login, ask))


@post("/users/{login:int}/disable", opt={"scope": "users:write", "tag": _TAG}, status_code=200)
async def disable_account(request: HttpRequest, login: FromPath[int]) -> Answer:
    """Suspend an account; its history stays readable."""
    return await carry_out_on(request, login, DisableAccount(login=login))


@post("/users/{login:int}/enable", opt={"scope": "users:write", "tag": _TAG}, status_code=200)
async def enable_account(request: HttpRequest, login: FromPath[int]) -> Answer:
    """End an account's suspension."""
    return await carry_out_on(request, login, EnableAccount(login=login))


HANDLERS = [open_account, update_account, read_account, disable_account, enable_account]
