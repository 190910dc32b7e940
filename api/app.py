"""The composition root of the HTTP side: one ledger's service behind its routes."""

from __future__ import annotations

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.middleware import DefineMiddleware

from api import openapi, problems
from api.console.app import router as console_router
from api.console.console import Console
from api.middleware import Gatekeeper
from api.routes import accounts, audit, batch, feed, funding, health, history, ledger, reports, users
from api.service import Service

ROUTES = [
    *funding.HANDLERS,
    *batch.HANDLERS,
    *history.HANDLERS,
    *users.HANDLERS,
    *accounts.HANDLERS,
    *ledger.HANDLERS,
    *reports.HANDLERS,
    *audit.HANDLERS,
    *feed.HANDLERS,
    *health.HANDLERS,
]


def create_app(service: Service, *, base_path: str = "/") -> Litestar:
    """Build the application around a service that its caller starts and stops."""
    handlers = [*ROUTES, *openapi.handlers(ROUTES, base_path), console_router()]
    return Litestar(
        route_handlers=[Router(base_path, route_handlers=handlers)],
        middleware=[DefineMiddleware(Gatekeeper, keys=service.keys)],
        exception_handlers=problems.HANDLERS,
        before_send=[service.metrics.count_answer],
        openapi_config=None,
        state=State({"service": service, "console": Console(service, base_path=base_path)}),
        logging_config=None,
    )
