"""Refusals on the wire: the one table of HTTP statuses, and problem+json for everything that fails."""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable
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
from api.log_lines import tell_refused
from api.middleware import operator_in, request_id_in
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
    service, status = request.app.state.service, STATUS[type(refusal)]
    service.metrics.refusals[refusal.code] += 1
    operator_id = operator_in(request.scope["headers"])
    tell_refused(refusal, request.scope, status=status, request_id=request_id, operator_id=operator_id)
    if refusal.attempted:
        service.refusal_log.note(
            refused_attempt(
                request.scope,
                refusal,
                request_id=refusal.extra.get("item", request_id),
                status=status,
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


def refusal_of(error: Exception) -> Refusal:
    """Give the refusal that an error amounts to; what is none of a caller's is logged."""
    return next(_MEANINGS[family](error) for family in type(error).__mro__ if family in _MEANINGS)


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer what a handler or the gatekeeper raised."""
    return response(request, refusal_of(error).at_rest())


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Answer what the framework refuses: unknown routes, wrong methods, undecodable input."""
    answer = response(request, refusal_of(error), status=error.status_code)
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
        if method != "OPTIONS"
    }
    return sorted(found)


def _pattern(route: HTTPRoute) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(route.path_format)) + "/?")


def _database_away(error: Exception) -> Refusal:
    log.warning("a read met a database that is away: %s", type(error).__name__)
    return refusals.ManagerOffline("database_away", "the ledger's database cannot be reached", retry_after=1)


def _pool_full(_: Exception) -> Refusal:
    log.warning("a read found all connections in use")
    return refusals.ManagerOffline("readers_busy", "as many reads run as may at a time", retry_after=1)


def _long_read(_: Exception) -> Refusal:
    log.warning("a read was ended for its length")
    return refusals.ManagerOffline("read_too_long", "the read took too long and was ended", retry_after=10)


def _refused_by_framework(error: HTTPException) -> Refusal:
    refusal = _ROUTING.get(error.status_code)
    if refusal is None and error.status_code >= 500:
        return _fault(error)
    return refusal or refusals.ValidationError("bad_request", "the request cannot be understood")


def _fault(error: Exception) -> Refusal:
    """Log a bug; nothing of it leaks."""
    log.error("a request met a fault", exc_info=error)
    return refusals.Fault("fault", "the service met a fault of its own")


_MEANINGS: Final[dict[type, Callable[[Any], Refusal]]] = {
    Refusal: lambda refusal: refusal,
    eventsourcing.persistence.OperationalError: _database_away,
    eventsourcing.persistence.InterfaceError: _database_away,
    psycopg.errors.QueryCanceled: _long_read,
    psycopg.OperationalError: _database_away,
    psycopg.InterfaceError: _database_away,
    PoolFull: _pool_full,
    PoolTimeout: _database_away,
    HTTPException: _refused_by_framework,
    Exception: _fault,
}

HANDLERS: Final[dict[int | type[Exception], Any]] = {HTTPException: on_http_error, Exception: on_error}


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
