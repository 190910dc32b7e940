"""What every handler of the console does around its one call: read the request, write the page."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Mapping
from http import HTTPStatus
from importlib import import_module
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from litestar.datastructures import Cookie
from litestar.response.base import ASGIResponse

from api import bodies, problems
from api.console.console import Console
from api.console.doorkeeper import cookie_in
from api.console.frame import frame_of
from api.console.sessions import Session, same
from api.exchange import HttpRequest, body_of
from ledger.refusals import NotFound, PermissionDenied, ValidationError

Q = TypeVar("Q", bound=msgspec.Struct)

FIELDS_MAX: Final = 200
PARTS_AT_ONCE: Final = 200
"""Pieces of a page written without giving way to other callers."""

# Everything that a page uses comes from here, and nothing that stands inside of a page is run.
POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
UNKEPT: Final = HEADERS | {"cache-control": "no-store"}
"""For what tells of accounts: no browser keeps it."""


class Fields(dict[str, str]):
    """The fields of a form or a query; one that is not there is empty."""

    def __missing__(self, name: str) -> str:
        return ""


_LOGIN = re.compile(r"[1-9][0-9]{0,15}")


def console_of(request: HttpRequest) -> Console:
    """Give the console."""
    console: Console = request.app.state.console
    return console


def session_of(request: HttpRequest) -> Session:
    """Give the session that the doorkeeper found."""
    session: Session = request.scope["state"]["session"]
    return session


async def page(
    request: HttpRequest,
    template: str,
    told: Mapping[str, object],
    *,
    status: int = HTTPStatus.OK,
    cookies: tuple[Cookie, ...] = (),
) -> ASGIResponse:
    """Give a page, written in pieces: no deposit waits for a long one."""
    console = console_of(request)
    parts: list[str] = []
    pieces = console.template(template).generate(frame_of(request, console) | dict(told))
    for number, part in enumerate(pieces, start=1):
        parts.append(part)
        if number % PARTS_AT_ONCE == 0:
            await asyncio.sleep(0)
    return ASGIResponse(
        body="".join(parts).encode(),
        status_code=status,
        media_type="text/html",
        headers=UNKEPT,
        cookies=cookies,
    )


async def results_page(
    request: HttpRequest, template: str, results: Coroutine[Any, Any, object], told: Mapping[str, object]
) -> ASGIResponse:
    """Give a page with the results of its form, or with what to change in it."""
    try:
        found = await results
    except ValidationError as refusal:
        problems.keep(request, refusal, request_id=problems.request_id_of(request))
        status = problems.STATUS[type(refusal)]
        return await page(request, template, {**told, "results": None, "refusal": refusal}, status=status)
    return await page(request, template, {**told, "results": found, "refusal": None})


async def loaded(part: str) -> Any:
    """Load a part of the console with the first who needs it, beside the event loop: it takes a while."""
    return await asyncio.to_thread(import_module, f"api.console.{part}")


def redirect(to: str, *, cookies: tuple[Cookie, ...] = ()) -> ASGIResponse:
    """Send the browser to another page, by GET."""
    headers = UNKEPT | {"location": to}
    return ASGIResponse(status_code=HTTPStatus.SEE_OTHER, headers=headers, cookies=cookies)


def download(content: bytes, *, media_type: str, name: str) -> ASGIResponse:
    """Give a file to keep."""
    headers = UNKEPT | {"content-disposition": f'attachment; filename="{name}"'}
    return ASGIResponse(body=content, media_type=media_type, headers=headers)


def cookie(request: HttpRequest, name: str, value: str, *, lasts_s: float) -> Cookie:
    """Make a cookie that scripts cannot read and no other site can send."""
    return Cookie(
        key=name,
        value=value,
        path=console_of(request).base,
        max_age=int(lasts_s),
        httponly=True,
        samesite="strict",
        secure=request.scope["scheme"] == "https",
    )


async def form_of(request: HttpRequest) -> Fields:
    """Read a form; PermissionDenied unless it is one of this session's own pages."""
    fields = await open_form_of(request)
    if not same(fields.pop("token", ""), session_of(request).form_token):
        detail = "the form does not come from a page of this session: open it anew"
        raise PermissionDenied("form_token_wrong", detail, field="token")
    return fields


async def open_form_of(request: HttpRequest) -> Fields:
    """Read a form that anybody may send."""
    return _fields((await body_of(request)).decode("utf-8", "replace"), field="body")


def asked(request: HttpRequest) -> Fields:
    """Read the query; fields that were left empty count as not given."""
    fields = _fields(request.scope["query_string"].decode("ascii", "replace"), field="query")
    return Fields({name: value for name, value in fields.items() if value})


def query_as(fields: Mapping[str, str], query: type[Q]) -> Q:
    """Check what a query asks, as strictly as the API does."""
    return bodies.converted(dict(fields), query)


def login_of(place: str) -> int:
    """Read a login in a path."""
    if not _LOGIN.fullmatch(place):
        raise NotFound("unknown_login", f"there is no account {place}", field="login")
    return int(place)


def visit_of(request: HttpRequest) -> str:
    """Give the id of the visit of someone who has not signed in."""
    return cookie_in(request.scope, console_of(request).visit_cookie)


def _fields(text: str, *, field: str) -> Fields:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise ValidationError("bad_query", "the form cannot be understood", field=field) from error
    fields = Fields()
    for name, value in pairs:
        bodies.clean(value, field=name)
        fields[name] = f"{fields[name]},{value}" if name in fields else value.strip()
    return fields
