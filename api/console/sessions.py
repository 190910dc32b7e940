"""Sessions of the console: who has signed in. They live in this process alone, named by a random id.

Nothing of a key's secret is kept: a session knows the key by its public id, and the key is looked at anew
with each request.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import msgspec

LIFE_S: Final = 10 * 3600.0
"""How long a session lasts, used or not: a working day."""

IDLE_S: Final = 3600.0
SESSIONS_MAX: Final = 1_000


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One sign-in. `form_token` stands in every form of its pages; no other site can know it."""

    key_id: str
    operator_id: str | None
    form_token: str
    ends_at: float


class Sessions:
    """The sessions of one process. An id is kept as its hash, so that no memory dump is a way in."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._sessions: dict[bytes, Session] = {}
        self._used: dict[bytes, float] = {}
        self._secret = secrets.token_bytes(32)

    def begin(self, *, key_id: str, operator_id: str | None) -> str:
        """Begin a session for a key that proved itself; give the id that only its browser is told."""
        self._make_room()
        session_id = secrets.token_urlsafe(32)
        name = _name(session_id)
        self._sessions[name] = Session(
            key_id=key_id,
            operator_id=operator_id,
            form_token=secrets.token_urlsafe(24),
            ends_at=self._now() + LIFE_S,
        )
        self._used[name] = self._now()
        return session_id

    def find(self, session_id: str) -> Session | None:
        """Give a session that has not ended, and take note that it is used."""
        name, now = _name(session_id), self._now()
        session = self._sessions.get(name)
        if session is None:
            return None
        if self._over(name, now):
            self._end(name)
            return None
        self._used[name] = now
        return session

    def end(self, session_id: str) -> None:
        """End a session, if it is there."""
        self._end(_name(session_id))

    def visit_token(self, visit: str) -> str:
        """Give what stands in the form of someone who has not signed in, by the id of the visit."""
        return hmac.new(self._secret, visit.encode(), sha256).hexdigest()

    def _make_room(self) -> None:
        now = self._now()
        for name in [name for name in self._sessions if self._over(name, now)]:
            self._end(name)
        while len(self._sessions) >= SESSIONS_MAX:
            self._end(min(self._used, key=self._used.__getitem__))

    def _over(self, name: bytes, now: float) -> bool:
        return now >= self._sessions[name].ends_at or now >= self._used[name] + IDLE_S

    def _end(self, name: bytes) -> None:
        self._sessions.pop(name, None)
        self._used.pop(name, None)


def same(given: str, known: str) -> bool:
    """Compare tokens without telling by the time how far they agree."""
    return hmac.compare_digest(given.encode(), known.encode())


def _name(session_id: str) -> bytes:
    return sha256(session_id.encode()).digest()
