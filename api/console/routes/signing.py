"""/console/sign-in and /console/sign-out, and where someone who has signed in begins."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import Final

from litestar import get, post
from litestar.response.base import ASGIResponse

from api import problems
from api.console.console import Console
from api.console.doorkeeper import ANYBODY, OPEN, cookie_in
from api.console.exchange import (
    Fields,
    asked,
    console_of,
    cookie,
    form_of,
    open_form_of,
    page,
    redirect,
    visit_of,
)
from api.console.frame import places_of
from api.console.refused import WHY
from api.console.sessions import LIFE_S, same
from api.exchange import HttpRequest, ask_of
from api.keys import Key
from api.middleware import introduce
from ledger.refusals import Refusal, Unauthorized, ValidationError

VISIT_S: Final = 3600.0


@get("/", opt={"console": ANYBODY})
async def begin(request: HttpRequest) -> ASGIResponse:
    """Go to the first place that the key may see."""
    places = places_of(ask_of(request))
    if not places:
        return await page(request, "nothing.html", {})
    return redirect(console_of(request).base + places[0].path)


@get("/sign-in", opt={"console": OPEN})
async def show_sign_in(request: HttpRequest) -> ASGIResponse:
    """Show the form to sign in by."""
    return await _sign_in_page(request, asked(request))


@post("/sign-in", opt={"console": OPEN})
async def sign_in(request: HttpRequest) -> ASGIResponse:
    """Begin a session for a key that proves itself."""
    console, form = console_of(request), await open_form_of(request)
    try:
        _check_form(request, form)
        session_id = await _begun(request, form)
    except Refusal as refusal:
        problems.keep(request, refusal, request_id=problems.request_id_of(request))
        return await _sign_in_page(request, form, refusal)
    session = cookie(request, console.cookie, session_id, lasts_s=LIFE_S)
    return redirect(_own_page(request, form["next"]), cookies=(session,))


@post("/sign-out", opt={"console": ANYBODY})
async def sign_out(request: HttpRequest) -> ASGIResponse:
    """End the session."""
    await form_of(request)
    console = console_of(request)
    console.sessions.end(cookie_in(request.scope, console.cookie))
    gone = cookie(request, console.cookie, "", lasts_s=0)
    return redirect(f"{console.base}/sign-in?why=signed_out", cookies=(gone,))


async def _sign_in_page(request: HttpRequest, form: Fields, refusal: Refusal | None = None) -> ASGIResponse:
    """Give the form; the visit's cookie is what tells it from one that another site made up."""
    console = console_of(request)
    visit = visit_of(request) or secrets.token_urlsafe(24)
    told = {
        "token": console.sessions.visit_token(visit),
        "next": form["next"],
        "operator": form["operator"],
        "why": WHY.get(form["why"]),
        "refusal": refusal,
    }
    status = HTTPStatus.OK if refusal is None else problems.STATUS[type(refusal)]
    cookies = (cookie(request, console.visit_cookie, visit, lasts_s=VISIT_S),)
    return await page(request, "sign-in.html", told, status=status, cookies=cookies)


def _check_form(request: HttpRequest, form: Fields) -> None:
    known = console_of(request).sessions.visit_token(visit_of(request))
    if not visit_of(request) or not same(form["token"], known):
        detail = "the form was open for too long, or cookies are switched off: send it again"
        raise ValidationError("form_token_wrong", detail, field="token")


async def _begun(request: HttpRequest, form: Fields) -> str:
    """Check key and operator as an API call's headers are checked; give the id of the new session."""
    console = console_of(request)
    key = await _key_of(console, form["key"])
    operator = form["operator"]
    introduce({b"x-operator-id": operator.encode()}, key)
    return console.sessions.begin(key_id=key.key_id, operator_id=operator or None)


async def _key_of(console: Console, text: str) -> Key:
    try:
        return await console.service.keys.check(f"Bearer {text}".encode())
    except Unauthorized as refusal:
        if refusal.code != "key_malformed":
            raise
        raise Unauthorized("key_malformed", "this is no key: copy it whole, from fl_ to its end") from refusal


def _own_page(request: HttpRequest, wanted: str) -> str:
    """Give a page of the console: whatever else was asked for, its beginning."""
    base = console_of(request).base
    own = wanted.startswith(f"{base}/") and wanted.isascii() and wanted.isprintable() and "\\" not in wanted
    return wanted if own else base


HANDLERS = [begin, show_sign_in, sign_in, sign_out]
