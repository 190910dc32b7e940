"""One transaction of the feed: take messages in order, then value all that they touched at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final

from psycopg import AsyncConnection

from ledger.refusals import Refusal
from projections import online, positions, quotes, valuation
from projections.feed import Desk, Message, Receipt
from projections.online import Online
from projections.positions import Positions
from projections.quotes import Quotes

Outcome = Receipt | Refusal

TAKE: Final[dict[type[Message], Callable[[Desk, Any], Awaitable[Receipt]]]] = {
    Quotes: quotes.take,
    Positions: positions.take,
    Online: online.take,
}


class Intake:
    """Takes the messages of one ledger. It knows of which definitions all figures are."""

    def __init__(self) -> None:
        self._defined: int | None = None

    async def idle(self, connection: AsyncConnection[Any], now: datetime) -> bool:
        """Tell whether there is nothing to do but for messages: figures are right, no snapshot is overdue."""
        if await valuation.regrouped(connection) or await positions.overdue(connection, now):
            return False
        return await valuation.defined(connection) == self._defined

    async def take(
        self, connection: AsyncConnection[Any], messages: Sequence[Message], *, clock: Callable[[], datetime]
    ) -> list[Outcome]:
        """Take messages; give the receipt or the refusal of each. All of it happens, or nothing."""
        async with connection.transaction():
            desk = Desk(connection, clock)
            await desk.open()
            defined = await valuation.defined(connection)  # before the symbols, which may be newer
            await positions.expire(desk)
            outcomes = [await _take(desk, message) for message in messages]
            desk.touched.everything = defined != self._defined
            await valuation.revalue(connection, desk.touched, list((await desk.symbols()).values()))
            await valuation.valued_by(connection, defined)
            await desk.close()
        self._defined = defined
        return outcomes


async def _take(desk: Desk, message: Message) -> Outcome:
    try:
        return await TAKE[type(message)](desk, message)
    except Refusal as refusal:
        desk.forget(message)
        return refusal.at_rest()
