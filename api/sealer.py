"""The sealer: a task behind the commits that adds them to the tree and signs what the log has become.

It reads what is committed, which is final, and keeps to a connection of its own; no booking waits for it. Two
services may seal one ledger: both come to the same hashes, and the first to store a checkpoint has stored it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection

from api import tasks
from api.database import Database
from api.housekeeping import AWAY
from api.seal_key import SealKey
from ledger import checkpoint
from ledger.checkpoint import Checkpoint, NoteBroken
from ledger.merkle import HASH_BYTES, Frontier, Node
from projections import seals
from projections.seals import SealBroken

log = logging.getLogger("fundledger.sealer")

EVERY_S: Final = 1.0
EVENTS_WAITING: Final = 1_000
"""So many new events are sealed before their second is over."""
APART_S: Final = 0.5
"""Checkpoints come no closer to each other, however many events wait: each has a price of its own."""

STEP: Final = 8_192
SLICE: Final = 1_024
"""Events that are hashed before others have their turn: half a millisecond."""
REST_S: Final = 0.01
BEHIND_S: Final = 10.0
LOOK_AGAIN_S: Final = 60.0
LAST_STEPS_S: Final = 2.0

Connection = AsyncConnection[Any]


class Sealing(msgspec.Struct, frozen=True):
    """How far the log is sealed, as this process knows; `lag_s` is for how long something has waited."""

    state: str
    position: int
    lag_s: float


class Sealer:
    """Seals one ledger from start to stop."""

    def __init__(self, database: Database, key: SealKey, *, ledger: str, now: Callable[[], datetime]) -> None:
        self._database = database
        self._key = key
        self._ledger = ledger
        self._now = now
        self._origin: str | None = None
        self._frontier: Frontier | None = None
        self._position = 0
        self._head = 0
        self._waiting_since: float | None = None
        self._halted = False
        self._forgetful = False
        self._many = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def sealing(self) -> Sealing:
        """How it stands."""
        lag_s = 0.0 if self._waiting_since is None else time.monotonic() - self._waiting_since
        state = "halted" if self._halted else "behind" if lag_s > BEHIND_S else "current"
        return Sealing(state, self._position, lag_s)

    def start(self) -> None:
        """Begin to seal."""
        self._task = asyncio.create_task(self._run(), name="sealer")

    async def stop(self) -> None:
        """End the task, and seal what is left, if that is soon done."""
        if self._task is None:
            return
        await tasks.end(self._task)
        with contextlib.suppress(*AWAY, SealBroken, TimeoutError):
            async with asyncio.timeout(LAST_STEPS_S):
                while await self.step():
                    pass

    def reached(self, position: int) -> None:
        """Take note of a commit."""
        self._head = position
        if self._waiting_since is None:
            self._waiting_since = time.monotonic()
        if position - self._position >= EVENTS_WAITING:
            self._many.set()

    async def step(self) -> bool:
        """Seal what is new, as far as one step goes; tell whether there is more."""
        self._many.clear()
        began = time.monotonic()
        try:
            async with self._database.sealing() as connection:
                more = await self._seal(connection)
        except BaseException:
            self._frontier = None  # what it has grown by may not be stored
            raise
        self._halted = False
        if self._head > self._position:
            self._waiting_since = began
        elif not more:
            self._waiting_since = None
        return more

    async def _run(self) -> None:
        while True:
            began, more, pause_s = time.monotonic(), False, EVERY_S
            try:
                more = await self.step()
            except AWAY as error:
                log.warning("the sealer waits for the database: %s", type(error).__name__)
            except SealBroken as error:
                log.error("NOTHING IS SEALED: %s; run `fundledger verify`", error)
                self._halted, pause_s = True, LOOK_AGAIN_S
            except Exception:
                log.exception("the sealer met a fault")
            if more:
                await asyncio.sleep(max(REST_S, time.monotonic() - began))
            else:
                await self._rest(pause_s)

    async def _rest(self, pause_s: float) -> None:
        """Wait until it is time again, or until many events wait."""
        await asyncio.sleep(APART_S)
        if pause_s > EVERY_S:
            await asyncio.sleep(pause_s)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._many.wait(), pause_s - APART_S)

    async def _seal(self, connection: Connection) -> bool:
        if self._frontier is None:
            self._frontier = await self._begin(connection)
        frontier = self._frontier
        found = await seals.ahead(connection, after=frontier.size, limit=STEP)
        if found.sealed < self._position:
            log.warning("checkpoints from %s to %s are gone", found.sealed, self._position)
            self._position, self._frontier = found.sealed, None
            return True
        nodes = await _grown(frontier, found.leaves)
        if frontier.size > found.sealed:
            await self._store(connection, frontier, nodes, after=found.sealed)
        self._position = max(frontier.size, found.sealed)
        return len(found.leaves) == STEP * HASH_BYTES

    async def _begin(self, connection: Connection) -> Frontier:
        """Take the tree of the newest checkpoint up again, if the log is still the one that was sealed."""
        newest = await seals.newest(connection)
        size = 0 if newest is None else newest.size
        frontier = await seals.frontier(connection, size)
        if newest is not None and frontier.root != newest.root:
            raise SealBroken(f"the log is not what was sealed up to position {size}")
        await self._hold_against_witness(connection, size)
        self._position = size
        return frontier

    async def _hold_against_witness(self, connection: Connection, size: int) -> None:
        """Refuse to go on from a log that is not the one that this key signed last."""
        path = self._key.witness(self._ledger)
        try:
            witness = self._key.remembered(self._ledger)
        except (NoteBroken, OSError) as error:
            log.warning("%s says nothing of what was sealed last: %s", path, error)
            return
        if witness is None:
            return
        tree = await _tree(connection, witness.size, sealed=size)
        if tree.root != witness.root:
            raise SealBroken(
                f"the log is not the one that was sealed up to position {witness.size}, says {path};"
                " where it was restored from a backup, or is a new one, keep that file elsewhere"
            )

    async def _store(
        self, connection: Connection, frontier: Frontier, nodes: list[tuple[Node, bytes]], *, after: int
    ) -> None:
        sealed = Checkpoint(
            origin=await self._name(connection),
            size=frontier.size,
            root=frontier.root,
            sealed_at=self._now(),
            after=after,
        )
        note = checkpoint.sign(sealed, self._key.private)
        await seals.append(connection, nodes, sealed, note)
        try:
            await asyncio.to_thread(self._key.remember, self._ledger, note)
        except OSError as error:
            if not self._forgetful:
                log.warning("the last checkpoint cannot be kept beside the key: %s", error)
            self._forgetful = True

    async def _name(self, connection: Connection) -> str:
        if self._origin is None:
            first = await seals.ahead(connection, after=0, limit=1)
            self._origin = checkpoint.origin_of(self._ledger, first.leaves)
        return self._origin


async def _grown(frontier: Frontier, leaves: bytes) -> list[tuple[Node, bytes]]:
    """Let a tree grow, giving way now and then."""
    nodes: list[tuple[Node, bytes]] = []
    for start in range(0, len(leaves), SLICE * HASH_BYTES):
        nodes += frontier.extend(leaves[start : start + SLICE * HASH_BYTES])
        await asyncio.sleep(0)
    return nodes


async def _tree(connection: Connection, size: int, *, sealed: int) -> Frontier:
    """Give the tree over the first events, or over all where there are fewer; up to `sealed` it is stored."""
    frontier = await seals.frontier(connection, min(size, sealed))
    while frontier.size < size:
        found = await seals.ahead(connection, after=frontier.size, limit=min(STEP, size - frontier.size))
        if not found.leaves:
            break
        await _grown(frontier, found.leaves)
        await asyncio.sleep(REST_S)
    return frontier
