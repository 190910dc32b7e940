"""Refusals on the wire: the one table of HTTP statuses, and problem+json for everything that fails."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import eventsourcing.persistence
import psycopg
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.routes import HTTPRoute
from psycopg_pool import PoolTimeout

from api import answers
from api.database import PoolFull
from api.middleware import request_id_in
from api.refused import refused_attempt
from ledger import refusals
from ledger.events import to_json
from ledger.refusals import Refusal

log = logging.getLogger("fundledger.api")

STATUS: Final[dict[type[Refusal], int]] = {
    refusals.Unauthorized: 401,
    refusals.ValidationError: 400,
    refusals.NotFound: 404,
    refusals.PermissionDenied: 403,
    refusals.AlreadyApplied: 409,
    refusals.TooLarge: 413,
    refusals.TooManyRequests: 429,
    refusals.ManagerOffline: 503,
    refusals.Fault: 500,
}
MEDIA_TYPE: Final = "application/problem+json"
ITEMS_KEPT: Final = 1_000
"""How many refused items of one call are kept of each code: they must not flush out those of others."""
ITEMS_AT_ONCE: Final = 100
_ROUTING = {
    404: refusals.NotFound("unknown_route", "there is no such route"),
    405: refusals.ValidationError("method_not_allowed", "this route does not take this method"),
}


def problem(refusal: Refusal, request_id: str | None) -> dict[str, Any]:
    """Give the problem object of a refusal."""
    body: dict[str, Any] = {
        "type": f"urn:fundledger:problem:{refusal.code}",
        "title": refusal.title,
        "status": STATUS[type(refusal)],
        "code": refusal.code,
        "detail": refusal.detail,
        "requestId": request_id,
    }
    if refusal.field is not None:
        body["field"] = refusal.field
    return body | _extra(refusal)


def keep(request: Request[Any, Any, Any], refusal: Refusal, *, request_id: str | None) -> None:
    """Count a refusal, and keep it where it is a refused attempt; an item of an atomic call names itself."""
    service = request.app.state.service
    service.metrics.refusals[refusal.code] += 1
    if refusal.attempted:
        service.refusal_log.note(
            refused_attempt(
                request.scope,
                refusal,
                request_id=refusal.extra.get("item", request_id),
                status=STATUS[type(refusal)],
                refused_at=service.now(),
            )
        )


class Items:
    """The refused items of one call: of each code so many are kept, the others are counted."""

    def __init__(self, request: Request[Any, Any, Any]) -> None:
        self._request = request
        self._seen: Counter[str] = Counter()

    def keep(self, refusal: Refusal, request_id: str | None) -> None:
        """Count an item's refusal, and keep it while there is room for its code."""
        self._seen[refusal.code] += 1
        if self._seen[refusal.code] <= ITEMS_KEPT:
            keep(self._request, refusal, request_id=request_id)
        else:
            self._request.app.state.service.metrics.refusals[refusal.code] += 1


async def keep_items(
    request: Request[Any, Any, Any], refused: Iterable[Refusal], *, request_id: str | None
) -> None:
    """Keep the refused items of one call under its request id, giving way now and then."""
    items = Items(request)
    for number, refusal in enumerate(refused, start=1):
        items.keep(refusal, request_id)
        if number % ITEMS_AT_ONCE == 0:
            await asyncio.sleep(0)


def response(
    request: Request[Any, Any, Any], refusal: Refusal, *, status: int | None = None
) -> Response[bytes]:
    """Give the answer that carries a refusal."""
    request_id = request_id_of(request)
    keep(request, refusal, request_id=request_id)
    body = problem(refusal, request_id)
    body["status"] = status or body["status"]
    headers = {"x-request-id": request_id}
    if (retry_after := refusal.extra.get("retry_after")) is not None:
        headers["retry-after"] = str(retry_after)
    return Response(to_json(body), status_code=body["status"], media_type=MEDIA_TYPE, headers=headers)


def on_refusal(request: Request[Any, Any, Any], refusal: Refusal) -> Response[bytes]:
    """Answer a refusal raised by a handler or the gatekeeper."""
    return response(request, refusal)


def on_database_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer for a database that is away."""
    log.warning("a read met a database that is away: %s", type(error).__name__)
    offline = refusals.ManagerOffline(
        "database_away", "the ledger's database cannot be reached", retry_after=1
    )
    return response(request, offline)


def on_full_pool(request: Request[Any, Any, Any], _: Exception) -> Response[bytes]:
    """Answer for a database that has enough to do."""
    log.warning("a read found all connections in use")
    busy = refusals.ManagerOffline("readers_busy", "as many reads run as may at a time", retry_after=1)
    return response(request, busy)


def on_long_read(request: Request[Any, Any, Any], _: Exception) -> Response[bytes]:
    """Answer for a read that was ended for its length."""
    log.warning("a read was ended for its length")
    long = refusals.ManagerOffline("read_too_long", "the read took too long and was ended", retry_after=10)
    return response(request, long)


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what the framework refuses: unknown routes, wrong methods, undecodable input."""
    refusal = _ROUTING.get(error.status_code)
    if refusal is None and error.status_code < 500:
        refusal = refusals.ValidationError("bad_request", "the request cannot be understood")
    if refusal is None:
        return on_fault(request, error)
    answer = response(request, refusal, status=error.status_code)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["allow"] = ", ".join(_allowed(request))
    return answer


def _allowed(request: Request[Any, Any, Any]) -> list[str]:
    """Name the methods that the path takes."""
    routes = [route for route in request.app.routes if isinstance(route, HTTPRoute)]
    found = {
        method
        for route in routes
        if _pattern(route).fullmatch(request.scope["path"])
        for method in route.methods
    }
    return sorted(found)


def _pattern(route: HTTPRoute) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(route.path_format)) + "/?")


def on_fault(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer for a bug: it is logged, nothing of it leaks."""
    log.error("a request met a fault", exc_info=error)
    fault = refusals.Fault("fault", "the service met a fault of its own")
    return response(request, fault)


HANDLERS: Final[dict[int | type[Exception], Any]] = {
    Refusal: on_refusal,
    eventsourcing.persistence.OperationalError: on_database_error,
    eventsourcing.persistence.InterfaceError: on_database_error,
    psycopg.errors.QueryCanceled: on_long_read,
    psycopg.OperationalError: on_database_error,
    psycopg.InterfaceError: on_database_error,
    PoolFull: on_full_pool,
    PoolTimeout: on_database_error,
    HTTPException: on_http_error,
    Exception: on_fault,
}


def request_id_of(request: Request[Any, Any, Any]) -> str:
    """Give the request id that the answer carries."""
    ask = request.scope.get("state", {}).get("ask")
    return request_id_in(request.scope["headers"]) if ask is None else str(ask.request_id)


def _extra(refusal: Refusal) -> dict[str, Any]:
    """Give what a refusal says beyond its sentence, in the form of the wire."""
    extra = refusal.extra
    body: dict[str, Any] = {}
    if (available := extra.get("available")) is not None:
        assert isinstance(available, tuple)
        body["available"] = answers.money(*available)
    if extra.get("stale"):
        body["stale"] = True
    if extra.get("fields") is not None:
        body["fields"] = extra["fields"]
    if "index" in extra:
        body["index"] = extra["index"]
    if "answered" in extra:
        assert isinstance(extra["answered"], dict)
        body["operation"] = extra["answered"]
        body["operationId"] = extra["answered"]["operationId"]
    return body
