"""A server that falls silent at any statement of the writer's, and speaks again to whoever comes anew."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from itertools import count, takewhile
from typing import TYPE_CHECKING

from api.embedded import EmbeddedPostgres
from ledger.commands import UpdateAccount
from ledger.writer import AWAY
from projections import install
from tests.drive import HANG_S, Clock, Desk, LedgerUnderTest
from tests.faults.impatient import impatient
from tests.faults.outcome import Outcome, more
from tests.faults.proxy import CLEAR, HALF_OPEN, MUTE, Proxy, Way, before_database
from tests.make import define_group, deposit, key, open_account, reverse, transfer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ledger.commands import Caller, Command

    Step = tuple[str, Command, Caller | None]

PATIENCE_S = 0.1
WAYS = (HALF_OPEN, MUTE)
DONE = {"booked", "request_applied"}
OFFLINE = {"database_away", "outcome_unknown"}


def silences(
    database_url: str, name: str, *, rounds: int | None = None, until: float | None = None
) -> Outcome:
    """Have the server fall silent at one question after another; in the end all was booked once."""
    with before_database(database_url) as (proxy, through):
        straight, crooked = LedgerUnderTest(database_url, name), LedgerUnderTest(through, name)
        return asyncio.run(_silences(proxy, straight, crooked, rounds, until))


def silent_statements(scratch: Path, *, rounds: int | None = None, until: float | None = None) -> Outcome:
    """Do so on a server of its own."""
    server = EmbeddedPostgres(scratch / "data", shared_buffers="32MB")
    with server.session() as url:
        install.migrate(url, "main")
        return silences(url, "main", rounds=rounds, until=until)


async def _silences(
    proxy: Proxy, straight: LedgerUnderTest, crooked: LedgerUnderTest, rounds: int | None, until: float | None
) -> Outcome:
    outcome, chance = Outcome(), random.Random(7)
    async with straight.desk() as other:
        story = _Story(proxy, other, crooked)
        await story.tell("first")
        before = proxy.questions
        await story.tell("second")
        questions = proxy.questions - before  # now and then two come as one, and then it is one less
        order = chance.sample(range(1, questions + 1), questions)
        with impatient(PATIENCE_S):
            for turn in takewhile(lambda turn: more(turn, rounds, until), count()):
                silent_at, way = order[turn % questions], WAYS[turn % 2]
                outcome.rounds += await story.tell(f"silent-{turn}", silent_at=silent_at, way=way)
    return story.judged(outcome)


class _Story:
    """The same story again and again: every kind of statement that the writer has."""

    def __init__(self, proxy: Proxy, other: Desk, crooked: LedgerUnderTest) -> None:
        self._proxy = proxy
        self._other = other
        self._crooked = crooked
        self._told: set[str] = set()
        self._wrong: list[str] = []

    async def tell(self, name: str, *, silent_at: int = 0, way: Way = CLEAR) -> bool:
        """Tell it, with a silence at one of its questions if asked; say whether that was met."""
        if silent_at:
            self._proxy.take(way, after=silent_at)
        await self._carry_out(name)
        met = not self._proxy.armed
        self._proxy.take(CLEAR)
        return met

    def judged(self, outcome: Outcome) -> Outcome:
        """Hold the log against what was told."""
        log = self._other.ledger.log()
        booked = Counter(event.request_id for event in log if event.position == event.operation)
        outcome.acknowledged = len(self._told)
        outcome.lost = sum(name not in booked for name in self._told)
        outcome.doubled = sum(number - 1 for number in booked.values())
        outcome.other = tuple(self._wrong)
        return outcome

    async def _carry_out(self, name: str) -> None:
        async with asyncio.timeout(HANG_S):
            desk = await self._begun()
        try:
            async with asyncio.timeout(HANG_S):
                async for step in self._steps(name):
                    await self._insist(desk, *step)
        finally:
            async with asyncio.timeout(HANG_S):
                await desk.writer.stop()

    async def _begun(self) -> Desk:
        """Start a writer; one that meets silence as it starts says so, and may be started again."""
        desk = Desk(self._crooked, Clock(), {})
        while True:
            try:
                await desk.writer.start()
            except AWAY:
                self._proxy.take(CLEAR)
            else:
                return desk

    async def _steps(self, name: str) -> AsyncIterator[Step]:
        clerk, group = key(amount_day_max=1_000, key_id=name), f"group-{name}"
        first = self._other.ledger.value("SELECT coalesce(max(login), 1000) + 1 FROM accounts")
        yield f"{name}:define", define_group(group), None
        yield f"{name}:one", open_account(first, group=group, name="Ann"), None
        # The next batch has to read this.
        await self._insist(self._other, f"{name}:elsewhere", define_group(f"elsewhere-{name}"), None)
        yield f"{name}:two", open_account(first + 1, group=group), None
        yield f"{name}:update", UpdateAccount(login=first, name="Ann Other"), None
        yield f"{name}:in", deposit(100, login=first, method="card", reference=name), clerk
        yield f"{name}:over", transfer(10, source=first, target=first + 1), clerk
        yield f"{name}:back", reverse(self._other.ledger.value(_POSITION, f"{name}:in")), None

    async def _insist(self, desk: Desk, name: str, command: Command, caller: Caller | None) -> None:
        """Repeat a request until it is known to be booked."""
        while (code := await desk.code(command, name, caller=caller)) not in DONE:
            if code not in OFFLINE:
                self._wrong.append(f"{name}: {code}")
                return
            self._proxy.take(CLEAR)
        self._told.add(name)


_POSITION = 'SELECT "position" FROM requests WHERE request_id = %s'
