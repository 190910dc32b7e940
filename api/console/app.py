"""The console mounted: its routes behind the doorkeeper, with refusals as pages."""

from __future__ import annotations

from litestar import Router
from litestar.exceptions import HTTPException

from api.console.doorkeeper import Doorkeeper
from api.console.refused import on_error
from api.console.routes import account, accounts, assets, days, history, posting, signing

ROUTES = [
    *signing.HANDLERS,
    *accounts.HANDLERS,
    *account.HANDLERS,
    *history.HANDLERS,
    *days.HANDLERS,
    *posting.HANDLERS,
    *assets.HANDLERS,
]


def router() -> Router:
    """Give the routes; the doorkeeper stands before these alone, so that no call of the API pays for it."""
    return Router(
        "/console",
        route_handlers=ROUTES,
        middleware=[Doorkeeper],
        exception_handlers={Exception: on_error, HTTPException: on_error},
    )
