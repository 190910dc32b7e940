"""What every handler does around its one call: read the request, write the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse

from api import bodies
from api.keys import holds_key
from api.middleware import Ask, key_misplaced, request_id_in
from api.service import Service
from ledger.commands import Command, needs_request_id
from ledger.events import to_json
from ledger.refusals import NotFound, TooLarge, ValidationError

HttpRequest = Request[Any, Any, Any]
Answer = ASGIResponse
Q = TypeVar("Q", bound=msgspec.Struct)

JSON = "application/json"
LOGIN_MAX = 2**53 - 1


class WriteQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The query of a money command."""

    dry_run: bool = False


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a route that takes none."""


def service_of(request: HttpRequest) -> Service:
    """Give the running ledger."""
    service: Service = request.app.state.service
    return service


def ask_of(request: HttpRequest) -> Ask:
    """Give what the gatekeeper found."""
    ask: Ask = request.scope["state"]["ask"]
    return ask


def header_of(request: HttpRequest, name: bytes) -> str:
    """Give a header, empty where there is none; of one that is sent twice the last counts."""
    given: bytes = dict(request.scope["headers"]).get(name, b"")
    return given.decode("latin-1")


def reply(ask: Ask, body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Give the answer of a body."""
    found = {"x-request-id": ask.request_id, **(headers or {})}
    return ASGIResponse(body=to_json(body), headers=found, status_code=status, media_type=JSON)


def reply_to_anyone(request: HttpRequest, body: bytes, media_type: str = JSON) -> Answer:
    """Give an answer on a route that needs no key."""
    headers = {"x-request-id": request_id_in(request.scope["headers"])}
    return ASGIResponse(body=body, headers=headers, media_type=media_type)


async def body_of(request: HttpRequest, *, limit: int = bodies.BODY_MAX) -> bytes:
    """Read the body, up to a limit in bytes; leaner than the framework's own reading."""
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] != "http.request":
            raise ValidationError("body_malformed", "the caller went away before its body had come")
        parts.append(message["body"])
        size += len(message["body"])
        if size > limit:
            raise TooLarge("body_too_large", f"this route takes at most {limit} bytes")
        more = message["more_body"]
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    if "ask" in request.scope["state"] and holds_key(body):  # whoever signs in has none yet
        raise key_misplaced()
    return body


async def carry_out(request: HttpRequest, command: Command, *, status: int) -> Answer:
    """Have a command carried out, and answer with what it did."""
    service, ask = service_of(request), ask_of(request)
    dry_run = _rehearses(request, command)
    if service.request_ids_needed and not ask.given and needs_request_id(command):
        raise ValidationError(
            "request_id_required", "a money command needs a request id of the caller's", field="x-request-id"
        )
    body, replayed = await service.carry_out(ask, command, dry_run=dry_run)
    headers = {"idempotent-replayed": "true"} if replayed else None
    return reply(ask, body, status=200 if dry_run else status, headers=headers)


def _rehearses(request: HttpRequest, command: Command) -> bool:
    """Tell whether the query asks for a dry run, which money commands take."""
    if not request.scope["query_string"]:
        return False
    if needs_request_id(command):
        return query_of(request, WriteQuery).dry_run
    query_of(request, NoQuery)
    return False


async def carry_out_on(request: HttpRequest, login: int, command: Command) -> Answer:
    """Do so for a command whose login is in the path: an unknown one is not found."""
    check_in_path(request, login)
    if not 1 <= login <= LOGIN_MAX:
        raise NotFound("unknown_login", f"there is no account {login}", field="login")
    try:
        return await carry_out(request, command, status=200)
    except ValidationError as refusal:
        if refusal.code != "unknown_login":
            raise
        raise NotFound("unknown_login", refusal.detail, field="login") from refusal


def check_in_path(request: HttpRequest, login: int) -> None:
    """Refuse a login that Python alone reads as a number: 1_0, +1, 01 and digits of other scripts."""
    if str(login) not in request.scope["path"].split("/"):
        raise NotFound("unknown_route", "there is no such route")


def query_of(request: HttpRequest, query: type[Q]) -> Q:
    """Parse the query string strictly: no unknown and no repeated parameter."""
    try:
        pairs = parse_qsl(
            request.scope["query_string"].decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=100,
        )
    except ValueError as error:
        raise ValidationError("bad_query", "the query string cannot be understood") from error
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValidationError("repeated_field", "a query parameter is given twice", field=_repeated(pairs))
    return bodies.converted(values, query)


def _repeated(pairs: list[tuple[str, str]]) -> str:
    names = [name for name, _ in pairs]
    return next(name for name in names if names.count(name) > 1)
