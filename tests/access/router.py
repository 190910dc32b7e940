"""Every route as the router has it, and what can be asked of one without knowing what it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from litestar.routes import HTTPRoute

from api.app import create_app
from api.database import Database
from api.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator

UNKNOWN: dict[str, object] = {
    "login": 999_999_999,
    "operation_id": "bal_999999999",
    "request_id": "none",
    "group": "nowhere",
    "symbol": "NOTHING",
}
"""What may stand in the places of a path and names nothing; a place of another name gets `x`."""


class Route(msgspec.Struct, frozen=True):
    """One method of one path. `body` and `query` are the structs that it decodes."""

    method: str
    path: str
    scope: str | None
    body: type[Any] | None
    query: type[Any] | None
    places: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def reads(self) -> bool:
        """Whether it only tells."""
        return self.method == "GET" or (self.scope or "").endswith(":read")

    def at(self, **values: object) -> str:
        """Give the path with something in its places: the values given, else what names nothing."""
        found = {name: values.get(name, UNKNOWN.get(name, "x")) for name in self.places}
        return self.path.format(**{name: quote(str(value), safe="") for name, value in found.items()})


def routes() -> list[Route]:
    """Give every route of the API, those of its description too; tests/console holds the console's."""
    app = create_app(Service(Database("postgresql:///", "main"), ledger="main"))
    found = [
        route
        for path in app.routes
        if isinstance(path, HTTPRoute) and not path.path.startswith("/console")
        for route in _methods(path)
    ]
    return sorted(found, key=lambda route: (route.path, route.method))


def _methods(found: HTTPRoute) -> Iterator[Route]:
    for handler in found.route_handlers:
        for method in sorted(handler.http_methods - {"OPTIONS"}):
            opt = handler.opt
            yield Route(
                str(method),
                found.path_format,
                opt.get("scope"),
                opt.get("body"),
                opt.get("query"),
                tuple(found.path_parameters),
            )


ROUTES = routes()
GUARDED = [route for route in ROUTES if route.scope is not None]
OPEN = [route for route in ROUTES if route.scope is None]


class Probe(msgspec.Struct, frozen=True):
    """A request that a key with the scope gets through to the handler, which then refuses it, exactly so."""

    path: str
    body: bytes | None
    said: tuple[int, str]


def probe(route: Route) -> Probe:
    """Ask a route for what no route can answer: half a body, else a parameter that is none."""
    if route.body is not None and route.method != "GET":
        return Probe(route.at(), b"{", (400, "body_malformed"))
    return Probe(f"{route.at()}?nonsense=1", None, (400, "unknown_field"))
