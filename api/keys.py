"""Keys: how one is made, what is stored of it, and how a presented one is checked.

A key reads `fl_<id>_<secret><check>`. The id is public; the secret has 256 random bits and is kept only
as a hash keyed by ledger and id; the check catches a mistyped key without a look into the database.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
import time
import zlib
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from api.clocks import real_now
from api.scopes import DEFINITIONS
from ledger.commands import Access
from ledger.events import Event
from ledger.masks import parse_mask
from ledger.money import Amount, parse_amount_text
from ledger.refusals import Unauthorized

CACHE_S: Final = 1.0
AHEAD_S: Final = 0.5
"""How long before its second is over a key in use is looked at anew, so that nobody waits for that."""

CACHE_MAX: Final = 10_000
_KEY = re.compile(r"fl_([0-9a-f]{16})_([A-Za-z0-9_-]{43})([0-9a-f]{8})")
_KEY_IN_TEXT = re.compile(_KEY.pattern.encode())
_PREFIX: Final = b"fl_"
_NOBODYS_HASH: Final = "0" * 64
"""What the secret of an id that no key has is held against: it takes as long to be refused."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """A key that exists, as far as its checks go."""

    key_id: str
    name: str
    scopes: frozenset[str]
    access: Access
    secret_hash: str
    expires_at: datetime | None
    revoked_at: datetime | None

    def need(self, scope: str) -> None:
        """Refuse unless the key has the scope."""
        if scope not in self.scopes:
            raise Unauthorized("scope_missing", f"the key lacks the scope {scope}", key_id=self.key_id)

    def may_read(self, event: Event) -> bool:
        """Tell whether it may be told what an event defined: by that route's scope, or as who sent it."""
        scope = DEFINITIONS.get(type(event))
        return scope is None or scope in self.scopes or event.key_id == self.key_id

    def need_to_read(self, event: Event) -> None:
        """Refuse what an event defined where the key may not read it."""
        if not self.may_read(event):
            self.need(DEFINITIONS[type(event)])

    def death(self, now: datetime) -> str | None:
        """Give the code of why the key is dead at an instant of the real clock, if it is."""
        if self.revoked_at is not None and self.revoked_at <= now:
            return "key_revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "key_expired"
        return None


class NewKey(msgspec.Struct, frozen=True):
    """A key just made: the text is shown once."""

    text: str
    key_id: str
    secret_hash: str


def make_key(ledger: str) -> NewKey:
    """Make a key."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return NewKey(
        f"fl_{key_id}_{secret}{_check(key_id, secret)}", key_id, secret_hash(ledger, key_id, secret)
    )


def holds_key(text: bytes) -> bool:
    """Tell whether a key stands in a text. Text is stored, shown and logged: it is no place for one."""
    return _PREFIX in text and _KEY_IN_TEXT.search(text) is not None


def secret_hash(ledger: str, key_id: str, secret: str) -> str:
    """Give what is stored of a secret."""
    return hmac.new(f"fundledger/{ledger}/{key_id}".encode(), secret.encode(), hashlib.sha256).hexdigest()


def key_of(row: tuple[Any, ...]) -> Key:
    """Make a key of its row: id, name, scopes, mask, logins, limits, hash, expiry, revocation."""
    key_id, name, scopes, groups, logins, amount_max, amount_day_max, digest, expires_at, revoked_at = row
    access = Access(
        mask=parse_mask(groups),
        logins=None if logins is None else frozenset(logins),
        amount_max=_limit(amount_max),
        amount_day_max=_limit(amount_day_max),
    )
    return Key(
        key_id=key_id,
        name=name,
        scopes=frozenset(scopes),
        access=access,
        secret_hash=digest,
        expires_at=expires_at,
        revoked_at=revoked_at,
    )


class Verified(NamedTuple):
    """A key as it was seen, and until when that is believed."""

    until: float
    key: Key


class Looking(NamedTuple):
    """A look under way, and until when what it sees will be believed: so long from its beginning."""

    until: float
    task: asyncio.Task[Key]


Look = Callable[[], Coroutine[Any, Any, Key]]


class KeyRing:
    """Checks presented keys; what it has verified it believes for at most one second.

    One look is for all to whom it can still tell something; it runs to its end even if they go away.
    """

    def __init__(self, ledger: str, load: Callable[[str], Awaitable[Key | None]]) -> None:
        self._ledger = ledger
        self._load = load
        self._verified: dict[bytes, Verified] = {}
        self._looks: dict[bytes, Looking] = {}

    async def check(self, authorization: bytes | None) -> Key:
        """Give the living key that an Authorization header presents, or refuse with the reason."""
        if authorization is None:
            raise Unauthorized("key_missing", "an Authorization header with a Bearer key is needed")
        digest = hashlib.sha256(authorization).digest()
        return _living(await self._believed(digest, partial(self._verify, authorization)))

    async def still(self, key_id: str) -> Key:
        """Give the key that proved itself before, where it still lives; a look at it is believed as long."""
        return _living(await self._believed(key_id.encode(), partial(self._look, key_id)))

    async def _believed(self, name: bytes, look: Look) -> Key:
        known, now = self._verified.get(name), time.monotonic()
        if known is None or known.until < now:
            return await asyncio.shield(self._looking(name, look, now).task)
        if known.until < now + AHEAD_S:
            self._looking(name, look, now)
        return known.key

    def _looking(self, name: bytes, look: Look, now: float) -> Looking:
        """Give the look that is under way; one that began too long ago tells nothing, and another begins."""
        looking = self._looks.get(name)
        if looking is None or looking.until < now:
            task = asyncio.create_task(look(), name="key-ring")
            looking = self._looks[name] = Looking(now + CACHE_S, task)
            task.add_done_callback(partial(self._end, name, looking))
        return looking

    def _end(self, name: bytes, looking: Looking, task: asyncio.Task[Key]) -> None:
        """Remember what was seen; where a look failed, the next who asks has another."""
        if self._looks.get(name) is looking:
            del self._looks[name]
        if task.cancelled() or task.exception() is not None:
            return
        known = self._verified.get(name)
        if known is None or known.until < looking.until:
            if len(self._verified) >= CACHE_MAX:
                self._verified.clear()
            self._verified[name] = Verified(looking.until, task.result())

    async def _verify(self, authorization: bytes) -> Key:
        key_id, secret = _parse(authorization)
        key = await self._load(key_id)
        presented = secret_hash(self._ledger, key_id, secret)
        proved = hmac.compare_digest(presented, _NOBODYS_HASH if key is None else key.secret_hash)
        if key is None or not proved:
            raise _unknown()
        return key

    async def _look(self, key_id: str) -> Key:
        key = await self._load(key_id)
        if key is None:
            raise _unknown()
        return key


def _unknown() -> Unauthorized:
    return Unauthorized("key_unknown", "the key is not one of this ledger's")


def _living(key: Key) -> Key:
    reason = key.death(real_now())
    if reason is not None:
        detail = f"the key {key.key_id} is {reason.removeprefix('key_')}"
        raise Unauthorized(reason, detail, key_id=key.key_id)
    return key


def _parse(authorization: bytes) -> tuple[str, str]:
    kind, _, text = authorization.decode("latin-1").partition(" ")
    found = _KEY.fullmatch(text.strip())
    if kind.lower() != "bearer" or found is None or found[3] != _check(found[1], found[2]):
        raise Unauthorized("key_malformed", "the Authorization header does not hold a well-formed Bearer key")
    return found[1], found[2]


def _check(key_id: str, secret: str) -> str:
    return f"{zlib.crc32(f'{key_id}_{secret}'.encode()):08x}"


def _limit(text: str | None) -> Amount | None:
    return None if text is None else parse_amount_text(text)
