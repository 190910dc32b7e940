"""The OpenAPI description and its page, made from the routes and the structs that decode their bodies."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from api import batches, problems
from api.bodies import BatchBody
from api.exchange import Answer, HttpRequest, reply_to_anyone
from api.feed_bodies import DealItem, DealsBody, PositionItem, PositionsBody, QuoteItem, QuotesBody
from api.middleware import ANY_SCOPE
from ledger.refusals import NotFound

Document = dict[str, Any]
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
DESCRIPTION: Final = (
    "An event-sourced funding ledger for brokers. Money is exact; a request id is applied once, for ever."
)


def handlers(routes: list[HTTPRouteHandler], base_path: str) -> list[HTTPRouteHandler]:
    """Serve the description of the routes, and a page to read and try it, without any outside host."""
    base = base_path.rstrip("/")
    page = PAGE.replace("{base}", base).encode()
    description = msgspec.json.encode(document(routes, base))

    @get("/schema")
    async def read_page(request: HttpRequest) -> Answer:
        return reply_to_anyone(request, page, "text/html")

    @get("/schema/openapi.json")
    async def read_description(request: HttpRequest) -> Answer:
        return reply_to_anyone(request, description, "application/vnd.oai.openapi+json")

    return [read_page, read_description, read_asset]


@get("/schema/assets/{name:str}")
async def read_asset(request: HttpRequest, name: FromPath[str]) -> Answer:
    """Give a part of the page."""
    media_type = ASSETS.get(name)
    if media_type is None:
        raise NotFound("unknown_route", "there is no such route")
    return reply_to_anyone(request, await asyncio.to_thread((FOLDER / name).read_bytes), media_type)


def document(routes: list[HTTPRouteHandler], base: str) -> Document:
    """Describe the routes under their base path."""
    components: Document = {"Problem": _PROBLEM}
    paths: dict[str, Document] = {}
    for handler in routes:
        [path] = handler.paths
        for method in sorted(handler.http_methods - {"OPTIONS"}):
            item = paths.setdefault(f"{base}{_PARAMETER.sub(_public_name, path)}", {})
            item[method.lower()] = _operation(handler, path, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": "fundledger", "version": "0.1.0", "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "a ledger's key"}},
        },
    }


_PARAMETER = re.compile(r"\{(\w+):(\w+)\}")
_TYPES = {"int": {"type": "integer", "minimum": 1}, "str": {"type": "string"}}


def _public_name(found: re.Match[str]) -> str:
    return f"{{{_camel(found[1])}}}"


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def _operation(handler: HTTPRouteHandler, path: str, components: Document) -> Document:
    opt = handler.opt
    operation: Document = {
        "operationId": _camel(handler.handler_name),
        "summary": (handler.fn.__doc__ or "").strip().rstrip("."),
        "tags": [opt["tag"]],
        "parameters": [*_in_path(path), *_in_query(opt), *_in_headers(handler)],
        "responses": {str(handler.status_code): _DONE, "default": _REFUSED},
    }
    if "body" in opt:
        schema = _schema(opt["body"], components)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if (scope := opt.get("scope")) is not None:
        operation["security"] = [{"key": [] if scope == ANY_SCOPE else [scope]}]
    return operation


def _in_path(path: str) -> Iterator[Document]:
    for name, kind in _PARAMETER.findall(path):
        yield {"name": _camel(name), "in": "path", "required": True, "schema": _TYPES[kind]}


def _in_query(opt: Document) -> Iterator[Document]:
    if "query" not in opt:
        return
    name = opt["query"].__name__
    _, found = msgspec.json.schema_components([opt["query"]])
    for parameter, schema in found[name]["properties"].items():
        required = parameter in found[name].get("required", [])
        yield {"name": parameter, "in": "query", "required": required, "schema": schema}


def _in_headers(handler: HTTPRouteHandler) -> Iterator[Document]:
    if handler.opt.get("scope") is None:
        return
    yield from _HEADERS if handler.http_methods & {"POST", "PUT", "PATCH"} else _HEADERS[-1:]


def _schema(body: type, components: Document) -> Document:
    [schema], found = msgspec.json.schema_components([body], ref_template="#/components/schemas/{name}")
    components |= {name: _with_money(part) for name, part in found.items()}
    if body in _ITEMS:
        field, item = _ITEMS[body]
        [items], parts = msgspec.json.schema_components([item], ref_template="#/components/schemas/{name}")
        components |= {name: _with_money(part) for name, part in parts.items()}
        components[body.__name__]["properties"][field]["items"] = items
    return schema


def _with_money(schema: Document) -> Document:
    if "prefixItems" in schema:
        return schema | {"prefixItems": [part or _MONEY for part in schema["prefixItems"]]}
    properties = schema.get("properties", {})
    return schema | {"properties": {name: part or _MONEY for name, part in properties.items()}}


_ITEMS: Final[dict[type, tuple[str, Any]]] = {
    BatchBody: ("operations", batches.Item),
    QuotesBody: ("quotes", QuoteItem),
    PositionsBody: ("positions", PositionItem),
    DealsBody: ("deals", DealItem),
}
"""Bodies whose items are decoded one by one: the field that holds them, and what they are."""

_REQUEST_ID: Final[Document] = {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}
_HEADERS: Final[list[Document]] = [
    {"name": "x-request-id", "in": "header", "schema": _REQUEST_ID},
    {"name": "Idempotency-Key", "in": "header", "schema": _REQUEST_ID},
    {"name": "x-operator-id", "in": "header", "schema": {"type": "string", "maxLength": 128}},
]
_MONEY: Final[Document] = {
    "oneOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"}],
    "description": "a plain decimal with at most the currency's digits",
}
_PROBLEM: Final[Document] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "requestId"],
    "properties": {
        "type": {"type": "string"},
        "title": {"enum": sorted(family.title for family in problems.STATUS)},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "field": {"type": "string"},
        "requestId": {"type": ["string", "null"]},
        "operationId": {"type": "string"},
        "operation": {"type": "object"},
    },
}
_DONE: Final[Document] = {
    "description": "what was done or found",
    "content": {"application/json": {"schema": {"type": "object"}}},
}
_REFUSED: Final[Document] = {
    "description": "a refusal",
    "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
