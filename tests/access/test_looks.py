"""A key in use is looked at again and again; nobody but its first caller waits for that."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import pytest

from api import keys
from api.keys import Key, KeyRing, NewKey, make_key
from ledger.refusals import ManagerOffline, Unauthorized
from tests.access.keychain import stored
from tests.fuzz.hostile import bounded

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

HANG_S = 30
"""How long checks may wait; a check that goes round and round instead lets no timeout have its turn."""


class Cabinet:
    """Where the one key lies. Who looks gets what lies there at that moment, once the door is open."""

    def __init__(self, key: NewKey) -> None:
        self.looks = 0
        self.away = False
        self.open = asyncio.Event()
        self.open.set()
        self.key = stored(key)

    async def look(self, _: str) -> Key:
        self.looks += 1
        if self.away:
            raise ManagerOffline("database_away", "the database is away", retry_after=1)
        seen = self.key
        await self.open.wait()
        return seen

    def revoke(self) -> None:
        self.key = msgspec.structs.replace(self.key, revoked_at=datetime.min.replace(tzinfo=UTC))


@pytest.fixture
def key() -> NewKey:
    return make_key("main")


@pytest.fixture
def header(key: NewKey) -> bytes:
    return f"Bearer {key.text}".encode()


@pytest.fixture
async def cabinet(key: NewKey) -> Cabinet:
    return Cabinet(key)


@pytest.fixture
async def ring(cabinet: Cabinet) -> KeyRing:
    return KeyRing("main", cabinet.look)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Give what sets the clock that belief goes by."""

    def set_to(seconds: float) -> None:
        monkeypatch.setattr(keys, "time", SimpleNamespace(monotonic=lambda: seconds))

    set_to(0.0)
    return set_to


async def begun() -> None:
    """Let what was begun come to where it waits, or to its end."""
    for _ in range(5):
        await asyncio.sleep(0)


async def slow_look(ring: KeyRing, cabinet: Cabinet, header: bytes) -> asyncio.Task[Key]:
    """Begin a look that does not end before the cabinet is open again."""
    cabinet.open.clear()
    looking = asyncio.create_task(ring.check(header))
    await begun()
    return looking


@pytest.mark.usefixtures("at")
async def test_all_who_come_at_once_with_a_key_are_let_in_by_one_look(
    ring: KeyRing, cabinet: Cabinet, header: bytes
) -> None:
    cabinet.open.clear()
    checks = [asyncio.create_task(ring.check(header)) for _ in range(64)]
    await begun()
    cabinet.open.set()
    assert await asyncio.gather(*checks) == [cabinet.key] * 64
    assert cabinet.looks == 1


async def test_a_key_in_use_is_looked_at_before_its_second_is_over_and_nobody_waits(
    ring: KeyRing, cabinet: Cabinet, header: bytes, at: Callable[[float], None]
) -> None:
    await ring.check(header)
    cabinet.open.clear()
    for seconds in (0.4, 0.6, 0.7, 0.9):
        at(seconds)
        await ring.check(header)
        await begun()
    assert cabinet.looks == 2
    cabinet.open.set()
    await begun()
    at(1.3)
    await ring.check(header)
    assert cabinet.looks == 2


async def test_a_look_of_more_than_a_second_ago_lets_nobody_in(
    ring: KeyRing, cabinet: Cabinet, header: bytes, at: Callable[[float], None]
) -> None:
    early = await slow_look(ring, cabinet, header)
    cabinet.revoke()
    at(1.1)
    late = asyncio.create_task(ring.check(header))
    await begun()
    cabinet.open.set()
    with pytest.raises(Unauthorized, match="revoked"):
        await late
    await early


async def test_who_comes_in_the_moment_in_which_a_slow_look_ends_has_another(
    ring: KeyRing, cabinet: Cabinet, header: bytes, at: Callable[[float], None]
) -> None:
    early = await slow_look(ring, cabinet, header)
    at(1.1)
    cabinet.open.set()
    late = [asyncio.create_task(ring.check(header)) for _ in range(3)]
    with bounded():
        async with asyncio.timeout(HANG_S):
            told = await asyncio.gather(early, *late, return_exceptions=True)
    assert told == [cabinet.key] * 4
    assert cabinet.looks == 2


async def test_nobody_waits_for_a_look_that_can_tell_them_nothing_any_more(
    ring: KeyRing, cabinet: Cabinet, header: bytes, at: Callable[[float], None]
) -> None:
    stuck = await slow_look(ring, cabinet, header)
    at(1.1)
    cabinet.open, door = asyncio.Event(), cabinet.open
    cabinet.open.set()
    async with asyncio.timeout(HANG_S):
        assert await ring.check(header) == cabinet.key
    assert not stuck.done()
    door.set()
    await stuck
    assert await ring.check(header) == cabinet.key
    assert cabinet.looks == 2


@pytest.mark.usefixtures("at")
async def test_whose_look_failed_the_next_has_another(ring: KeyRing, cabinet: Cabinet, header: bytes) -> None:
    cabinet.away = True
    with pytest.raises(ManagerOffline):
        await ring.check(header)
    cabinet.away = False
    assert await ring.check(header) == cabinet.key


@pytest.mark.usefixtures("at")
async def test_who_goes_away_takes_no_look_from_those_who_stay(
    ring: KeyRing, cabinet: Cabinet, header: bytes
) -> None:
    cabinet.open.clear()
    leaving, staying = (asyncio.create_task(ring.check(header)) for _ in range(2))
    await begun()
    leaving.cancel()
    await begun()
    cabinet.open.set()
    assert await staying == cabinet.key
    assert cabinet.looks == 1
