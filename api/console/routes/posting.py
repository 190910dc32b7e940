"""/console/post: forms that move money, a preview of each by a dry run, and the booking."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from litestar import get, post
from litestar.response.base import ASGIResponse

from api import problems
from api.console import posting
from api.console.doorkeeper import ANYBODY
from api.console.exchange import Fields, asked, console_of, form_of, page, redirect
from api.console.frame import POSTING
from api.console.posting import FORMS, Form, Posted
from api.exchange import HttpRequest, ask_of, service_of
from api.housekeeping import AWAY
from ledger.refusals import Refusal, Unauthorized


@get("/post", opt={"console": ANYBODY})
async def begin_to_post(request: HttpRequest) -> ASGIResponse:
    """Go to the first form that the key may use."""
    forms = _forms(request)
    if not forms:
        detail = f"the key has none of the scopes {', '.join(POSTING)}"
        raise Unauthorized("scope_missing", detail, key_id=ask_of(request).key.key_id)
    return redirect(f"{console_of(request).base}/post/{forms[0].name}")


def _routes(form: Form) -> Iterator[Any]:
    """Make the routes of a form: to open it, and to send it."""

    @get(f"/post/{form.name}", opt={"console": (form.scope,)})
    async def open_form(request: HttpRequest) -> ASGIResponse:
        return await _page(request, form, Fields(asked(request) | {"requestId": posting.new_request_id()}))

    @post(f"/post/{form.name}", opt={"console": (form.scope,)})
    async def send_form(request: HttpRequest) -> ASGIResponse:
        return await _sent(request, form, await form_of(request))

    yield from (open_form, send_form)


async def _sent(request: HttpRequest, form: Form, fields: Fields) -> ASGIResponse:
    """Preview a form, or book it and show the operation; a refusal leaves all that was filled in."""
    if fields["step"] == "edit":
        return await _page(request, form, fields)
    books = fields["step"] == "book"
    try:
        posted = await posting.post(service_of(request), ask_of(request), form, fields, dry_run=not books)
    except (Refusal, *AWAY) as error:
        refusal = problems.refusal_of(error)
        problems.keep(request, refusal, request_id=fields["requestId"])
        return await _page(request, form, fields, refusal=refusal)
    if posted.again or books:
        return redirect(f"{console_of(request).base}/operations/{posted.body['operationId']}?booked=1")
    return await _page(request, form, fields, preview=posted)


async def _page(
    request: HttpRequest,
    form: Form,
    fields: Fields,
    *,
    preview: Posted | None = None,
    refusal: Refusal | None = None,
) -> ASGIResponse:
    status = HTTPStatus.OK if refusal is None else problems.STATUS[type(refusal)]
    told = {"form": form, "forms": _forms(request), "fields": fields, "preview": preview, "refusal": refusal}
    return await page(request, "post.html", told, status=status)


def _forms(request: HttpRequest) -> list[Form]:
    scopes = ask_of(request).scopes
    return [form for form in FORMS.values() if form.scope in scopes]


HANDLERS = [begin_to_post, *(route for form in FORMS.values() for route in _routes(form))]
