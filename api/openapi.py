"""The OpenAPI description: bodies and queries come from the structs that decode them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec
from litestar import MediaType, Request, Router
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.routes import HTTPRoute
from litestar.static_files import create_static_files_router

from api import problems

Document = dict[str, Any]
MONEY: Final[Document] = {
    "oneOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?$"}],
    "description": "a plain decimal with at most the currency's digits",
}
DESCRIPTION: Final = (
    "An event-sourced funding ledger for brokers. Money is exact; a request id is applied once, for ever."
)


ASSETS: Final = Path(__file__).parent / "static" / "swagger"
PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>fundledger API</title>
<link rel="icon" href="{schema}/assets/favicon-32x32.png">
<link rel="stylesheet" href="{schema}/assets/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="{schema}/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "{schema}/openapi.json", dom_id: "#page", deepLinking: true});</script>
</body>
</html>
"""


def config(base_path: str) -> OpenAPIConfig:
    """Describe the service at /schema/openapi.json under its base path."""
    path = f"{base_path.rstrip('/')}/schema"
    return OpenAPIConfig(
        title="fundledger",
        version="0.1.0",
        description=DESCRIPTION,
        path=path,
        render_plugins=[BrowsablePage(path=path), DescribedJson(path="/openapi.json")],
        components=Components(
            security_schemes={
                "key": SecurityScheme(type="http", scheme="bearer", description="a ledger's key")
            }
        ),
    )


def assets(base_path: str) -> Router:
    """Serve the page's script and style ourselves, so that it needs no outside host."""
    path = f"{base_path.rstrip('/')}/schema/assets"
    return create_static_files_router(path=path, directories=[ASSETS], include_in_schema=False)


class BrowsablePage(OpenAPIRenderPlugin):
    """The description as a page to read and to try."""

    def __init__(self, *, path: str) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)
        self._page = PAGE.replace("{schema}", path).encode()

    def render(self, request: Request[Any, Any, Any], openapi_schema: Document) -> bytes:  # noqa: ARG002
        """Give the page; it fetches the description itself."""
        return self._page


class DescribedJson(JsonRenderPlugin):
    """Adds to the framework's document what handlers decode for themselves."""

    def __init__(self, *, path: str) -> None:
        super().__init__(path=path)
        self._document: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: Document) -> bytes:
        """Give the document, made once."""
        if self._document is None:
            self._document = msgspec.json.encode(described(request.app.routes, openapi_schema))
        return self._document


def described(routes: Any, document: Document) -> Document:
    """Put bodies, queries, scopes and problems of the routes into the document."""
    components = document.setdefault("components", {}).setdefault("schemas", {})
    components["Problem"] = _PROBLEM
    for route in routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in handler.http_methods:
                    operation = document["paths"].get(_path(route), {}).get(method.lower())
                    if operation is not None:
                        _describe(operation, handler.opt, components)
    return document


def _path(route: HTTPRoute) -> str:
    return route.path_format


def _describe(operation: Document, opt: Document, components: Document) -> None:
    if "tag" in opt:
        operation["tags"] = [opt["tag"]]
    if "body" in opt:
        schema = _schema(opt["body"], components)
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    if "query" in opt:
        operation.setdefault("parameters", []).extend(_parameters(opt["query"]))
    scope = opt.get("scope")
    if scope is not None:
        operation["security"] = [{"key": [scope] if scope else []}]
    operation.setdefault("responses", {})["default"] = _DEFAULT


def _schema(body: type, components: Document) -> Document:
    [schema], found = msgspec.json.schema_components([body], ref_template="#/components/schemas/{name}")
    components |= {name: _with_money(part) for name, part in found.items()}
    return schema


def _with_money(schema: Document) -> Document:
    properties = schema.get("properties", {})
    return schema | {"properties": {name: part or MONEY for name, part in properties.items()}}


def _parameters(query: type) -> list[Document]:
    _, found = msgspec.json.schema_components([query])
    properties = found[query.__name__]["properties"]
    required = found[query.__name__].get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": part}
        for name, part in properties.items()
    ]


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
_DEFAULT: Final[Document] = {
    "description": "a problem",
    "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
