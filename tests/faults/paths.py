"""Under load the path to the database, or to the clients, refuses, breaks, falls silent or slows down."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from itertools import cycle
from typing import TYPE_CHECKING

import httpx

from api.embedded import EmbeddedPostgres
from projections import install
from tests.faults.outcome import more
from tests.faults.proxy import (
    CLEAR,
    COMMIT,
    HALF_OPEN,
    LATE,
    MUTE,
    REFUSING,
    SLOW,
    Proxy,
    Target,
    before_database,
)
from tests.faults.shop import Shop
from tests.service import BOUND_S, ROOT, Service, end, service_on

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from pathlib import Path
    from typing import Any

    from tests.faults.load import Load
    from tests.faults.outcome import Outcome

    Fault = Callable[[Load], Coroutine[Any, Any, None]]

TIMES = 3
TRIES_MAX = 30
AFTER = 25
AMID_MAX = 20_000
"""Bytes after which a connection is cut: anywhere in a handful of batches."""

PATIENCE_S = 1.0
READ_S = 120.0
POST = b"POST /balances/"


def broken(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Break the path to the database in every way that both ends can see."""
    with before_its_database(scratch) as to:
        to.suffer((to.lose_commits, to.cut_amid, to.refuse, to.cut, to.slow), rounds, until)
        return to.shop.finish()


def silent(
    scratch: Path, *, rounds: int | None = None, until: float | None = None, patience_s: float | None = None
) -> Outcome:
    """Let the path to the database fall silent: neither end can see that anything is wrong."""
    with before_its_database(scratch, patience_s=patience_s) as to:
        to.suffer((to.silent, to.mute, to.frozen), rounds, until)
        return to.shop.finish()


def between_clients(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Break the path between the clients and the service, and let it fall silent."""
    with before_its_clients(scratch) as to:
        to.suffer((to.lose_commits, to.silent, to.cut_amid, to.mute, to.refuse, to.slow), rounds, until)
        return to.shop.finish()


class Stretch:
    """A relay on the path between a shop and its database, and what is done to it."""

    mark = COMMIT
    patience_s = BOUND_S

    def __init__(self, shop: Shop, relay: Proxy) -> None:
        self.shop = shop
        self.relay = relay

    def suffer(self, faults: Sequence[Fault], rounds: int | None, until: float | None) -> None:
        """Let clients work through one fault after another."""
        for fault in cycle(faults):
            if not more(self.shop.outcome.rounds, rounds, until):
                break
            self.shop.round(fault, patience_s=self.patience_s)

    async def refuse(self, load: Load) -> None:
        """Refuse new connections and cut those there are."""
        self.relay.take(REFUSING)
        self.relay.cut()
        await self.seen(load, "/readyz", "/healthz")
        self.relay.take(CLEAR)

    async def cut(self, load: Load) -> None:
        """Cut all connections, several times."""
        for _ in range(TIMES):
            self.relay.cut()
            await load.until_acknowledged(AFTER)

    async def cut_amid(self, load: Load) -> None:
        """Cut a connection at any byte, several times."""
        for _ in range(TIMES):
            self.relay.cut_after(self.shop.dice.randint(1, AMID_MAX))
            await load.until(lambda: not self.relay.armed)
            await load.until_acknowledged(AFTER)

    async def lose_commits(self, load: Load) -> None:
        """Cut a connection when a commit was carried out and its answer is not seen yet, several times."""
        for turn in range(1, TRIES_MAX + 1):
            self.relay.lose_answer(self.mark)
            await load.until(lambda: not self.relay.armed)
            await load.until_acknowledged(AFTER)
            # Who retried blindly would have booked it twice. What was lost may each time have been a refusal.
            if turn >= TIMES and load.memory.repeated:
                return
        self.shop.expect(right=False, words="no client repeated what had been booked: nothing was tried")

    async def slow(self, load: Load) -> None:
        """Let little through, and then late."""
        for way in (SLOW, LATE):
            self.relay.take(way)
            await load.until_acknowledged(AFTER)
        self.relay.take(CLEAR)

    async def silent(self, load: Load) -> None:
        """Pass on nothing, neither questions nor answers, on old connections and new ones."""
        self.relay.take(HALF_OPEN)
        await self.seen(load, "/readyz", "/healthz", "/users/1001")
        self.relay.take(CLEAR)

    async def mute(self, load: Load) -> None:
        """Pass on questions, and no answers: what was asked is done."""
        self.relay.take(MUTE)
        await self.seen(load, "/readyz", "/healthz", "/users/1001")
        self.relay.take(CLEAR)

    async def frozen(self, load: Load) -> None:
        """Let the present connections be silent for ever; new ones are as good as ever."""
        self.relay.freeze()
        await load.until(lambda: "database_away" in load.memory.codes)
        await self.until_asked("/users/1001", "/readyz")

    async def seen(self, load: Load, *paths: str) -> None:
        """Wait until callers were told that the database is away; all but /healthz says so too."""
        await load.until(lambda: "database_away" in load.memory.codes)
        said = dict(zip(paths, await self.asked(*paths), strict=True))
        self.shop.expect(
            said == {path: 200 if path == "/healthz" else 503 for path in paths}, f"away: {said}"
        )

    async def until_asked(self, *paths: str) -> None:
        """Ask until all is well."""
        async with asyncio.timeout(READ_S):
            while set(await self.asked(*paths)) != {200}:
                pass

    async def asked(self, *paths: str) -> list[int]:
        """Ask the service, all at once; give the statuses."""
        return await asyncio.gather(*(asyncio.to_thread(self._status, path) for path in paths))

    def _status(self, path: str) -> int:
        headers = {"Authorization": f"Bearer {self.shop.key}"}
        address = self.shop.service.url + path
        return httpx.get(address, headers=headers, timeout=READ_S, trust_env=False).status_code


class Lobby(Stretch):
    """A relay between a shop and its clients."""

    mark = POST
    patience_s = PATIENCE_S

    async def seen(self, load: Load, *_: str) -> None:
        """Wait until clients have lost patience."""
        await load.until_given_up()


@contextmanager
def before_its_database(scratch: Path, *, patience_s: float | None = None) -> Iterator[Stretch]:
    """Open a shop with a relay before its database; the service may have less patience than it has."""
    server = EmbeddedPostgres(scratch / "data", shared_buffers="32MB")
    with server.session() as url, before_database(url) as (relay, through):
        install.migrate(url, "main")
        with serving(through, scratch / "log", patience_s=patience_s) as service:
            yield Stretch(Shop([service]), relay)


@contextmanager
def before_its_clients(scratch: Path) -> Iterator[Lobby]:
    """Open a shop with a relay before it."""
    server = EmbeddedPostgres(scratch / "data", shared_buffers="32MB")
    with ExitStack() as stack:
        url = stack.enter_context(server.session())
        install.migrate(url, "main")
        service = stack.enter_context(serving(url, scratch / "log"))
        relay = stack.enter_context(Proxy(Target("127.0.0.1", int(service.url.rpartition(":")[2]))))
        service.url = f"http://127.0.0.1:{relay.port}"
        yield Lobby(Shop([service]), relay)


@contextmanager
def serving(url: str, log: Path, *, patience_s: float | None = None) -> Iterator[Service]:
    """Serve a ledger, with less patience than the service has if asked."""
    if patience_s is None:
        with service_on(url, log) as service:
            yield service
        return
    service = Service(("--database-url", url), log)
    impatient = [sys.executable, "-m", "tests.faults.impatient", str(patience_s), "serve", "--port", "0"]
    try:
        with log.open("ab") as errors:
            service.started(
                subprocess.Popen(
                    [*impatient, *service.where], cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, bufsize=0
                )
            )
        yield service
    finally:
        end(service)
