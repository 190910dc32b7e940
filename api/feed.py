"""The feed as callers meet it: whatever arrived while the last transaction ran is taken by the next one.

One task a ledger with a connection of its own. Messages are taken in the order of their arrival, then all
that they touched is valued at once; callers are answered when the figures are readable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from api.answers import Body, money
from api.database import Database
from api.housekeeping import AWAY
from ledger.figures import STALE_AFTER
from ledger.refusals import Refusal
from ledger.writer import offline
from projections.feed import ItemRefused, Message, Receipt, Stream
from projections.intake import Intake, Outcome

log = logging.getLogger("fundledger.feed")

LOOK_S: Final = 1.0
"""How often the intake looks for accounts that were regrouped and symbols that were defined."""

ITEMS_MAX: Final = 50_000
QUEUE_MAX: Final = 500_000
ERRORS_AT_ONCE: Final = 1_000


class Feed:
    """Takes messages, values what they touched, answers each with its receipt or its refusal."""

    def __init__(self, database: Database, *, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now
        self._waiting: deque[tuple[Message, asyncio.Future[Outcome]]] = deque()
        self._items = 0
        self._arrived = asyncio.Event()
        self._intake = Intake()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """The number of messages that wait for the next transaction."""
        return len(self._waiting)

    async def start(self) -> None:
        """Begin to take messages."""
        self._task = asyncio.create_task(self._run(), name="feed")

    async def stop(self) -> None:
        """Take what has arrived, then end."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await self._task

    async def take(self, message: Message) -> Receipt:
        """Have a message taken; give its receipt when the figures that it touched are readable."""
        if self._closing:
            raise offline("closing", "the service is shutting down")
        if self._items and self._items + message.weight > QUEUE_MAX:
            raise offline("queue_full", "more of the feed waits than the ledger takes")
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((message, future))
        self._items += message.weight
        self._arrived.set()
        outcome = await future
        if isinstance(outcome, Refusal):
            raise outcome
        return outcome

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            if not self._waiting:
                self._arrived.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._arrived.wait(), LOOK_S)
            batch = self._next()
            messages = [message for message, _ in batch]
            for (_, future), outcome in zip(batch, await self._outcomes(messages), strict=True):
                if not future.done():
                    future.set_result(outcome)

    def _next(self) -> list[tuple[Message, asyncio.Future[Outcome]]]:
        batch: list[tuple[Message, asyncio.Future[Outcome]]] = []
        items = 0
        while self._waiting and (not batch or items + self._waiting[0][0].weight <= ITEMS_MAX):
            batch.append(self._waiting.popleft())
            items += batch[-1][0].weight
        self._items -= items
        return batch

    async def _outcomes(self, messages: Sequence[Message]) -> list[Outcome]:
        try:
            return await self._transact(messages)
        except AWAY as error:
            log.warning("the feed waits for the database: %s", error)
            refusal = offline("database_away", "the ledger's database cannot be reached")
            return [refusal] * len(messages)
        except Exception:
            if len(messages) > 1:  # one of them is to blame: the others must not suffer
                return [outcome for message in messages for outcome in await self._outcomes([message])]
            log.exception("a message of the feed met a fault")
            return [offline("feed_failed", "the ledger could not take this")] * len(messages)

    async def _transact(self, messages: Sequence[Message]) -> list[Outcome]:
        async with self._database.feeding() as connection:
            if not messages and await self._intake.idle(connection, self._now()):
                return []
            return await self._intake.take(connection, messages, clock=self._now)


async def receipt_body(receipt: Receipt) -> Body:
    """Say what became of a message's items."""
    errors = [error async for error in _errors(sorted(receipt.refused, key=lambda item: item.index))]
    return {"accepted": receipt.accepted, "ignored": receipt.ignored, "errors": errors}


async def _errors(refused: Sequence[ItemRefused]) -> AsyncIterator[Body]:
    """Say what was refused, giving way now and then."""
    for number, item in enumerate(refused, start=1):
        yield error_body(item)
        if number % ERRORS_AT_ONCE == 0:
            await asyncio.sleep(0)


def error_body(item: ItemRefused) -> Body:
    """Say which item was refused, and why."""
    refusal = item.refusal
    body: Body = {"index": item.index, "code": refusal.code, "detail": refusal.detail}
    if refusal.field is not None:
        body["field"] = refusal.field
    return body | item.named


def status_body(streams: Sequence[Stream], now: datetime) -> Body:
    """Say how far each stream has come; its age is in seconds."""
    return {"streams": [_stream_body(stream, now) for stream in streams]}


def _stream_body(stream: Stream, now: datetime) -> Body:
    age = None if stream.received_at is None else max(now - stream.received_at, timedelta())
    return {
        "stream": stream.stream,
        "epoch": stream.epoch,
        "seq": stream.seq,
        "gaps": stream.gaps,
        "receivedAt": stream.received_at,
        "age": None if age is None else money(age // timedelta(milliseconds=1), 3),
        "stale": age is None or age > STALE_AFTER,
    }
