"""The gatekeeper: key, scope, request id and operator id of every request, read from the raw headers."""

from __future__ import annotations

import asyncio
import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

import msgspec
from litestar.exceptions import MethodNotAllowedException
from litestar.types import ASGIApp, Receive, Scope, Send

from api.answers import made_request_id
from api.keys import Key, holds_key
from api.log_lines import ASKING
from ledger.commands import Access, Caller
from ledger.refusals import ManagerOffline, ValidationError

if TYPE_CHECKING:
    from api.keys import KeyRing

OPEN: Final = None
ANY_SCOPE: Final = ""
OPERATOR_MAX: Final = 128
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class Ask(msgspec.Struct, frozen=True):
    """One request as its headers introduce it."""

    key: Key
    caller: Caller
    request_id: str
    given: bool
    replays: bool

    @property
    def access(self) -> Access:
        """Which accounts the key reaches."""
        return self.caller.access

    @property
    def scopes(self) -> frozenset[str]:
        """What the key may do."""
        return self.key.scopes


class Gatekeeper:
    """Lets a request through to its handler with an Ask, or refuses it.

    A route's `scope` option names the scope that it needs: "" any living key, none no key at all.
    """

    def __init__(self, app: ASGIApp, *, keys: KeyRing) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check and pass on; whom the end of the service cuts off is told to come again."""
        try:
            await self._check_and_pass(scope, receive, send)
        except asyncio.CancelledError as cut:
            raise ManagerOffline("closing", "the service is shutting down", retry_after=1) from cut

    async def _check_and_pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        if ASKING.get() is not None:  # of whoever asked before on this connection
            ASKING.set(None)
        needed = scope["route_handler"].opt.get("scope")
        if needed is not OPEN:
            found = dict(scope["headers"])
            key = await self._keys.check(found.get(b"authorization"))
            if needed != ANY_SCOPE:
                key.need(needed)
            _check_address(scope)
            scope["state"]["ask"] = ask = introduce(found, key)
            ASKING.set(ask)
        elif method_of(scope) == "OPTIONS":  # the framework answers it by itself, and not truly
            raise MethodNotAllowedException
        await self._app(scope, receive, send)


def _check_address(scope: Scope) -> None:
    """Refuse a key in path or query, and a path that is not what was sent, for it could not be decoded."""
    if holds_key(scope["raw_path"]) or holds_key(scope["query_string"]):
        raise key_misplaced()
    if "\ufffd" in scope["path"]:
        try:
            unquote_to_bytes(scope["raw_path"]).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValidationError("bad_text", "the path is not UTF-8") from error


def introduce(headers: dict[bytes, bytes], key: Key) -> Ask:
    """Read what the headers say beside the key. Of repeated headers the last counts."""
    request_id, idempotency_key = headers.get(b"x-request-id"), headers.get(b"idempotency-key")
    if request_id is not None and idempotency_key is not None and request_id != idempotency_key:
        raise ValidationError(
            "two_request_ids", "x-request-id and Idempotency-Key differ: send one", field="Idempotency-Key"
        )
    given, field = request_id, "x-request-id"
    if given is None:
        given, field = idempotency_key, "Idempotency-Key"
    if given is not None and holds_key(given):
        raise key_misplaced(field)
    if given is not None and not _REQUEST_ID.fullmatch(given):
        raise ValidationError(
            "bad_request_id", "a request id has 1..128 characters of A-Za-z0-9._:-", field=field
        )
    return Ask(
        key,
        Caller(key_id=key.key_id, operator_id=_operator(headers), access=key.access),
        made_request_id() if given is None else given.decode("ascii"),
        given is not None,
        idempotency_key is not None,
    )


def item_request_id(given: str | None) -> str | None:
    """Check the request id of one item of a batch, where it has one."""
    if given is not None and not _REQUEST_ID.fullmatch(given.encode(errors="replace")):
        raise ValidationError(
            "bad_request_id", "a request id has 1..128 characters of A-Za-z0-9._:-", field="requestId"
        )
    return given


def missing_request_id(*, needed: bool) -> str:
    """Make the request id of an item without one, or refuse that item."""
    if needed:
        raise ValidationError(
            "request_id_required", "a money command needs a request id of the caller's", field="requestId"
        )
    return made_request_id()


def key_misplaced(field: str | None = None) -> ValidationError:
    """Refuse a key that stands anywhere but in the Authorization header: there it would be kept, or shown."""
    detail = "a key stands outside of the Authorization header: hold it for lost, and revoke it"
    return ValidationError("key_misplaced", detail, field=field)


def request_id_in(headers: Any) -> str:
    """Give the request id that an answer echoes, where no Ask came to be."""
    found = dict(headers)
    given: bytes = found.get(b"x-request-id") or found.get(b"idempotency-key") or b""
    usable = _REQUEST_ID.fullmatch(given) is not None and not holds_key(given)
    return given.decode("ascii") if usable else made_request_id()


def recorded_request_id(given: str | None) -> str | None:
    """Give the request id that is kept of a refused attempt; None for one that cannot be one."""
    return given if given is not None and _REQUEST_ID.fullmatch(given.encode(errors="replace")) else None


def operator_in(headers: Any) -> str | None:
    """Give the operator id that is kept of a refused attempt; None for one that cannot be recorded."""
    try:
        return _operator(dict(headers))
    except ValidationError:
        return None


def route_of(scope: Scope) -> str:
    """Give the published template of the route that a request found, or `unknown`."""
    return _published(scope.get("path_template") or "unknown")


def method_of(scope: Scope) -> str:
    """Give the method of a request."""
    method: str = scope["method"]  # type: ignore[typeddict-item]
    return method


@cache
def _published(template: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), template)


def _operator(headers: dict[bytes, bytes]) -> str | None:
    given = headers.get(b"x-operator-id")
    if not given:
        return None
    if holds_key(given):
        raise key_misplaced("x-operator-id")
    try:
        operator = given.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValidationError(
            "bad_operator_id", "x-operator-id is not UTF-8", field="x-operator-id"
        ) from error
    if len(operator) > OPERATOR_MAX or not operator.isprintable():
        raise ValidationError(
            "bad_operator_id",
            f"x-operator-id has 1..{OPERATOR_MAX} printable characters",
            field="x-operator-id",
        )
    return operator
