"""The mirror of the log on the wire: events as they are stored, page by page or as a stream.

An item is a small envelope around the stored bytes, which are not encoded anew, so that whoever keeps a
mirror can check their sha256 against the leaf hash.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Annotated, Any, Final

import msgspec
from litestar.response.streaming import ASGIStreamingResponse
from litestar.types import Receive, Send
from msgspec import UNSET, Meta, Raw, UnsetType

from api.followers import POLL_S
from api.housekeeping import AWAY
from api.middleware import Ask
from api.service import Service
from ledger.events import (
    AccountOpened,
    AccountUpdated,
    KeyCreated,
    MoneyMoved,
    decode,
    encode,
)
from ledger.refusals import ManagerOffline, Refusal, ValidationError
from projections import audit
from projections.accounts import PERSONAL
from projections.audit import Entry

log = logging.getLogger("fundledger.audit")

Secrets = Mapping[str, tuple[str, ...]]
Position = Annotated[int, Meta(ge=0, le=2**53 - 1)]

CHUNK: Final = 2_000  # short enough not to hold up the event loop
STREAM_CHUNK: Final = 1_000
PULSE_S: Final = 1.0
"""How long a follower may go without a look at its key."""
HEARTBEAT_S: Final = 15.0


class EventsQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of GET /audit/events."""

    after: Position = 0
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 100
    wait: Annotated[int, Meta(ge=0, le=30)] = 0


class StreamQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The query of GET /audit/stream."""

    after: Position = 0


class Item(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One event on the wire. `leaf_hash` is null and `blanked` names the fields where data was blanked."""

    position: int
    type: str
    operation_id: str
    request_id: str | None
    operator_id: str | None
    key_id: str | None
    login: int | None
    recorded_at: str
    leaf_hash: str | None
    blanked: tuple[str, ...] | UnsetType
    data: Raw


class Step(msgspec.Struct, frozen=True):
    """What a look at the log gave, and the position to go on after."""

    items: list[Item]
    next: int


class EventStream(ASGIStreamingResponse):
    """A stream that is over when its caller has gone, not when it is collected."""

    async def send_body(self, send: Send, receive: Receive) -> None:
        """Send until the stream ends or the caller goes."""
        assert isinstance(self.iterator, AsyncGenerator)
        async with aclosing(self.iterator):
            await super().send_body(send, receive)


class Follower:
    """Someone who reads the log on: a key, and how it was presented."""

    def __init__(self, service: Service, ask: Ask, authorization: bytes | None) -> None:
        self._service = service
        self._ask = ask
        self._authorization = authorization
        self._secrets = secrets_from(ask.scopes)

    async def page(self, query: EventsQuery) -> Step:
        """Give what comes after a position; where there is nothing yet, wait for it as long as asked."""
        step, until = Step([], query.after), time.monotonic() + query.wait
        with self._service.tail.follower():
            async with aclosing(self._steps(query.after, limit=query.limit, until=until)) as steps:
                async for step in steps:
                    if step.items or time.monotonic() >= until:
                        return step
        return step

    async def check(self, after: int) -> None:
        """Refuse a position that the log has not come to: it is another ledger's, or one that was lost."""
        head = await self._service.tail.find()
        if after > head:
            detail = f"the log ends at {head}: this is not the log that was read up to there"
            raise ValidationError("position_ahead", detail, field="after")

    async def stream(self, after: int, *, heartbeat_s: float = HEARTBEAT_S) -> AsyncGenerator[bytes, None]:
        """Yield server-sent events for as long as the service and the key live, also over outages."""
        spoken = time.monotonic()
        yield b"retry: 1000\n\n"
        with self._service.tail.follower():
            while not self._service.tail.ended:
                try:
                    async with aclosing(self._steps(after, limit=STREAM_CHUNK)) as steps:
                        async for step in steps:
                            after = step.next
                            if step.items or time.monotonic() - spoken >= heartbeat_s:
                                spoken = time.monotonic()
                                yield b"".join(map(_sent, step.items)) or b": still here\n\n"
                except (*AWAY, ManagerOffline):
                    await asyncio.sleep(POLL_S)
                except Refusal as refusal:
                    log.info("a follower was sent away: %s", refusal.code)
                    return

    async def _steps(
        self, after: int, *, limit: int, until: float | None = None
    ) -> AsyncGenerator[Step, None]:
        """Yield step after step, at least one each second; the last one when the service ends."""
        tail = self._service.tail
        while True:
            await self._service.keys.check(self._authorization)
            step = await self._step(after, limit)
            yield step
            if tail.ended:
                return
            if step.next == after:
                left = PULSE_S if until is None else until - time.monotonic()
                await tail.beyond(after, within_s=min(PULSE_S, left))
            after = step.next

    async def _step(self, after: int, limit: int) -> Step:
        """Read what comes after a position; the connection is given back before anything is sent."""
        items: list[Item] = []
        reached, last = after, after + limit
        async with self._service.database.following() as connection:
            while reached < last:
                found = await audit.entries(connection, after=reached, limit=min(CHUNK, last - reached))
                shown = await audit.visible(connection, found, self._ask.access)
                items += [item_of(entry, self._secrets) for entry in shown]
                if not found:
                    break
                reached, _, _ = found[-1]
        if reached == after:
            await self.check(after)
        return Step(items, reached)


def item_of(entry: Entry, secrets: Secrets) -> Item:
    """Give an event as it is told: its stored bytes inside of an envelope, secrets blanked."""
    position, state, leaf_hash = entry
    envelope = _envelope.decode(state)
    if blanked := secrets.get(envelope.type, ()):
        state, blanked = _without(state, blanked)
    return Item(
        position=position,
        type=envelope.type,
        operation_id=f"{'bal' if envelope.type == MoneyMoved.TOPIC else 'op'}_{envelope.operation}",
        request_id=envelope.request_id,
        operator_id=envelope.operator_id,
        key_id=envelope.key_id,
        login=envelope.login,
        recorded_at=envelope.recorded_at,
        leaf_hash=None if blanked else leaf_hash.hex(),
        blanked=blanked or UNSET,
        data=Raw(state),
    )


def secrets_from(scopes: Iterable[str]) -> Secrets:
    """Name, by the types of events, the fields that a key with these scopes is not told."""
    personal = () if "users:pii" in scopes else (AccountOpened, AccountUpdated)
    return {KeyCreated.TOPIC: ("secret_hash",)} | {event.TOPIC: PERSONAL for event in personal}


class _Envelope(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """What of a stored event stands beside it; nothing else of it is looked at."""

    type: str
    operation: int
    recorded_at: str
    request_id: str | None = None
    operator_id: str | None = None
    key_id: str | None = None
    login: int | None = None


_envelope = msgspec.json.Decoder(_Envelope)
_encode = msgspec.json.Encoder().encode


def _without(state: bytes, names: Iterable[str]) -> tuple[bytes, tuple[str, ...]]:
    """Blank those of an event's fields that say something; give their published names with it."""
    event = decode(state)
    said: dict[str, Any] = {name: "" for name in names if getattr(event, name)}
    if not said:
        return state, ()
    published = dict(zip(event.__struct_fields__, event.__struct_encode_fields__, strict=True))
    return encode(msgspec.structs.replace(event, **said)), tuple(published[name] for name in said)


def _sent(item: Item) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (item.position, item.type.encode(), _encode(item))
