"""/console/assets: style and scripts."""

from __future__ import annotations

from typing import Final

from litestar import get
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from api.console.doorkeeper import ANYBODY, OPEN
from api.console.exchange import HEADERS, console_of
from api.exchange import HttpRequest
from ledger.refusals import NotFound

KEPT: Final = HEADERS | {"cache-control": "public, max-age=31536000, immutable"}


@get("/assets/{name:str}", opt={"console": OPEN})
async def read_asset(request: HttpRequest, name: FromPath[str]) -> ASGIResponse:
    """Give a part of the pages; pages name it with its hash, so it may be kept for ever."""
    asset = console_of(request).assets.get(name)
    if asset is None:
        raise NotFound("unknown_route", "there is no such page")
    return ASGIResponse(body=asset.content, media_type=asset.media_type, headers=KEPT)


@get("/{rest:path}", opt={"console": ANYBODY})
async def read_nothing(request: HttpRequest, rest: FromPath[str]) -> ASGIResponse:  # noqa: ARG001 - any path
    """Say that there is no such page, and show those that there are."""
    raise NotFound("unknown_route", "there is no such page")


HANDLERS = [read_asset, read_nothing]
