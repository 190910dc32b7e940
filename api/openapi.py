"""The page that describes the API to people, and the document that describes it to machines."""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import Final

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api.exchange import Answer, HttpRequest, reply_to_anyone
from ledger.refusals import NotFound

FOLDER: Final = Path(__file__).parent / "static" / "swagger"
ASSETS: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon-32x32.png": "image/png",
}
PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>fundledger API</title>
<link rel="icon" href="{base}/schema/assets/favicon-32x32.png">
<link rel="stylesheet" href="{base}/schema/assets/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="{base}/schema/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "{base}/schema/openapi.json", dom_id: "#page", deepLinking: true});</script>
</body>
</html>
"""


def handlers(routes: list[HTTPRouteHandler], base_path: str) -> list[HTTPRouteHandler]:
    """Serve the description of the routes, and a page to read and try it, without any outside host."""
    base = base_path.rstrip("/")
    page = PAGE.replace("{base}", base).encode()

    @cache
    def description() -> bytes:
        from api.description import document  # noqa: PLC0415 - megabytes, for those who ask for it

        return msgspec.json.encode(document(routes, base))

    @get("/schema")
    async def read_page(request: HttpRequest) -> Answer:
        return reply_to_anyone(request, page, "text/html")

    @get("/schema/openapi.json")
    async def read_description(request: HttpRequest) -> Answer:
        told = await asyncio.to_thread(description)
        return reply_to_anyone(request, told, "application/vnd.oai.openapi+json")

    return [read_page, read_description, read_asset]


@get("/schema/assets/{name:str}")
async def read_asset(request: HttpRequest, name: FromPath[str]) -> Answer:
    """Give a part of the page."""
    media_type = ASSETS.get(name)
    if media_type is None:
        raise NotFound("unknown_route", "there is no such route")
    return reply_to_anyone(request, await asyncio.to_thread((FOLDER / name).read_bytes), media_type)
