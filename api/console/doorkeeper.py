"""The doorkeeper of the console: from a session's cookie to the same Ask that a key's header makes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from litestar.types import ASGIApp, Receive, Scope, Send

from api.answers import made_request_id
from api.console.sessions import Session
from api.keys import holds_key
from api.log_lines import ASKING
from api.middleware import Ask, introduce, key_misplaced
from ledger.refusals import Unauthorized

if TYPE_CHECKING:
    from api.console.console import Console

OPEN: Final = None
ANYBODY: Final = ()


class Doorkeeper:
    """Lets a request of the console through with an Ask and its session, or refuses it.

    A route's `console` option names the scopes that it needs, all of them: () any living key, None no session
    at all. The session's key is looked at anew, by the same ring of keys as the API's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check and pass on."""
        console: Console = scope["litestar_app"].state.console
        await console.open()
        if holds_key(scope["raw_path"]) or holds_key(scope["query_string"]):
            raise key_misplaced()
        needed = scope["route_handler"].opt["console"]
        if needed is not OPEN:
            session = console.sessions.find(cookie_in(scope, console.cookie))
            if session is None:
                raise Unauthorized("session_missing", "sign in first: there is no such session")
            ask = await _ask(console, session)
            scope["state"] |= {"ask": ask, "session": session}
            ASKING.set(ask)
            for wanted in needed:
                ask.key.need(wanted)
        await self._app(scope, receive, send)


async def _ask(console: Console, session: Session) -> Ask:
    """Introduce who has signed in as the headers of an API call would; refuses for a dead key."""
    key = await console.service.keys.still(session.key_id)
    operator = {} if session.operator_id is None else {b"x-operator-id": session.operator_id.encode()}
    return introduce({b"x-request-id": made_request_id().encode()} | operator, key)


def cookie_in(scope: Scope, name: str) -> str:
    """Give the value of a cookie of ours, which has no quotes: "" where there is none, of many the last."""
    found = b""
    for header, value in scope["headers"]:
        if header == b"cookie":
            for pair in value.split(b";"):
                key, _, held = pair.partition(b"=")
                if key.strip() == name.encode():
                    found = held.strip()
    return found.decode("latin-1")
