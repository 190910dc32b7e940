"""/groups, /symbols and /server: the templates of accounts, what is traded, the server's clock."""

from __future__ import annotations

from litestar import get, put
from litestar.params import FromPath

from api import bodies, profiles
from api.exchange import Answer, HttpRequest, NoQuery, ask_of, body_of, carry_out, query_of, reply, service_of
from projections.symbols import symbols

_group = bodies.decoder(bodies.GroupBody)
_symbol = bodies.decoder(bodies.SymbolBody)
_server = bodies.decoder(bodies.ServerBody)


@get("/groups", opt={"scope": "groups:read", "tag": "Groups"})
async def read_groups(request: HttpRequest) -> Answer:
    """List the groups that the key may see."""
    query_of(request, NoQuery)
    ask, service = ask_of(request), service_of(request)
    async with service.reading() as connection:
        definitions = (await service.days(connection)).definitions
    groups = sorted(definitions.groups.values(), key=lambda group: group.group)
    seen = [group for group in groups if ask.access.mask.selects(group.group)]
    return reply(ask, {"groups": [profiles.group_body(group) for group in seen]})


@put(
    "/groups/{group:str}",
    opt={"scope": "groups:write", "body": bodies.GroupBody, "tag": "Groups"},
)
async def define_group(request: HttpRequest, group: FromPath[str]) -> Answer:
    """Define a group, or give it another definition."""
    return await carry_out(request, _group(await body_of(request)).command_for(group), status=200)


@get("/symbols", opt={"scope": "symbols:read", "tag": "Symbols"})
async def read_symbols(request: HttpRequest) -> Answer:
    """List the symbols."""
    query_of(request, NoQuery)
    async with service_of(request).reading() as connection:
        found = await symbols(connection)
    return reply(ask_of(request), {"symbols": found})


@put(
    "/symbols/{symbol:str}",
    opt={"scope": "symbols:write", "body": bodies.SymbolBody, "tag": "Symbols"},
)
async def define_symbol(request: HttpRequest, symbol: FromPath[str]) -> Answer:
    """Define a symbol, or give it another definition."""
    return await carry_out(request, _symbol(await body_of(request)).command_for(symbol), status=200)


@get("/server", opt={"scope": "server:read", "tag": "Server"})
async def read_server(request: HttpRequest) -> Answer:
    """Read the ledger's clock and book currency."""
    query_of(request, NoQuery)
    ask, service = ask_of(request), service_of(request)
    async with service.reading() as connection:
        days = await service.days(connection)
    now = {"now": service.now(), "serverDay": days.server_day, "tradingDay": days.trading_day}
    return reply(ask, profiles.server_body(days.definitions) | {"ledger": service.ledger} | now)


@put(
    "/server",
    opt={"scope": "server:write", "body": bodies.ServerBody, "tag": "Server"},
)
async def define_server(request: HttpRequest) -> Answer:
    """Set the ledger's clock and book currency."""
    return await carry_out(request, _server(await body_of(request)).command(), status=200)


HANDLERS = [read_groups, define_group, read_symbols, define_symbol, read_server, define_server]
