"""Refusals as pages: what happened, in a sentence, and what to do next."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from litestar import Response

from api import problems
from api.console.exchange import UNKEPT, console_of
from api.console.frame import frame_of
from api.console.writing import link
from api.exchange import HttpRequest
from ledger.refusals import Refusal, Unauthorized

WHY: Final = {
    "session_missing": "Sign in to go on. A session ends when it was not used for an hour, ten hours after it"
    " began, and when the service starts anew.",
    "key_expired": "The key of your session has expired. Sign in with another one.",
    "key_revoked": "The key of your session was revoked. Sign in with another one.",
    "key_unknown": "The key of your session is not known any more. Sign in with another one.",
    "signed_out": "You have signed out.",
}
"""Why someone comes to the sign-in page."""

ADVICE: Final = {
    "Unauthorized": "Your key has no right to this. Whoever gives out keys can make one that has.",
    "PermissionDenied": "Whoever gives out keys can make one that may. A form that is old: open it anew.",
    "ValidationError": "Go back, and change what the sentence above names.",
    "NotFound": "Check the number or the address, or look for it by one of the pages above.",
    "AlreadyApplied": "Nothing needs to be done again.",
    "TooLarge": "Send less at once.",
    "ManagerOffline": "Nothing is lost. Load the page again in a moment.",
    "InternalError": "Load the page again; if it comes again, tell whoever runs the service.",
}


def on_error(request: HttpRequest, error: Exception) -> Response[bytes]:
    """Answer what a page raised; whoever has no living session goes to sign in."""
    refusal = problems.refusal_of(error)
    problems.keep(request, refusal, request_id=problems.request_id_of(request))
    if isinstance(refusal, Unauthorized) and refusal.code in WHY:
        return _to_sign_in(request, refusal)
    return _told(request, refusal)


def _to_sign_in(request: HttpRequest, refusal: Refusal) -> Response[bytes]:
    """Send the browser to sign in and come back; htmx asks in the background, and is told by a header."""
    came_from = _back_to(request)
    to = link(f"{console_of(request).base}/sign-in", why=refusal.code, next=came_from)
    if "hx-request" in request.headers:
        headers = UNKEPT | {"hx-redirect": to}
        return Response(b"", status_code=problems.STATUS[type(refusal)], headers=headers)
    return Response(b"", status_code=HTTPStatus.SEE_OTHER, headers=UNKEPT | {"location": to})


def _back_to(request: HttpRequest) -> str | None:
    """Give the page to come back to: one that only shows, or an empty form for one that was sent."""
    path: str = request.scope["path"]
    if request.method != "GET":
        return path if path.startswith(f"{console_of(request).base}/post/") else None
    query = request.scope["query_string"].decode("ascii", "replace")
    return f"{path}?{query}" if query else path


def _told(request: HttpRequest, refusal: Refusal) -> Response[bytes]:
    console = console_of(request)
    told = {"refusal": refusal, "advice": ADVICE[refusal.title]}
    content = console.template("refused.html").render(frame_of(request, console) | told)
    status = problems.STATUS[type(refusal)]
    return Response(content.encode(), status_code=status, media_type="text/html", headers=UNKEPT)
