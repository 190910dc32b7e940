"""Open positions: replaced whole by snapshots, in parts if they are large, and ticket by ticket by deltas.

The parts of a snapshot are staged, and stay unseen until the final one makes them the open positions. What a
delta tells between them is newer than any part: it counts for the positions of now and for the staged ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, Literal

import msgspec
from psycopg import AsyncConnection

from ledger.commands import Access
from ledger.money import Amount
from ledger.refusals import PermissionDenied, Refusal, ValidationError
from projections.feed import (
    Desk,
    ItemRefused,
    Message,
    Owner,
    Reach,
    Receipt,
    Stream,
    owner_of,
    unknown_symbol,
)
from projections.sql import sql
from projections.valuation import Listed

NAMELESS: Final = ""
"""The id of a snapshot that came in one piece and without one: always a new one."""

REMEMBERED: Final = 1_000


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """An open position as the trading server tells it; prices and lots are exact decimal texts."""

    index: int
    ticket: int
    login: int
    symbol: str
    buy: bool
    lots: str
    open_price: str
    opened_at: datetime | None = None
    storage: Amount | None = None
    commission: Amount | None = None
    profit: Amount | None = None
    margin: Amount | None = None


class Positions(Message, frozen=True, kw_only=True):
    """POST /feed/positions."""

    STREAM: ClassVar[str] = "positions"
    kind: Literal["snapshot", "delta"]
    snapshot_id: str | None = None
    final: bool = True
    positions: list[Position]
    closed: list[int] = msgspec.field(default_factory=list)

    @property
    def size(self) -> int:
        return len(self.positions) + len(self.refused) + len(self.closed)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A position as it is kept: money in minor units."""

    ticket: int
    login: int
    symbol: str
    buy: bool
    lots: str
    open_price: str
    opened_at: datetime | None
    storage: int
    commission: int
    profit: int | None
    margin: int | None


async def take(desk: Desk, message: Positions) -> Receipt:
    """Take a delta, or a part of a snapshot."""
    if not desk.admits(message):
        return Receipt(ignored=message.size)
    if message.kind == "delta":
        return await _take_delta(desk, message)
    return await _take_part(desk, message)


async def _take_delta(desk: Desk, message: Positions) -> Receipt:
    told = await _checked(desk, message)
    params = _params([row for row in told.rows if row.ticket not in told.closed])
    params["closed"] = sorted(told.closed)
    if (await _newest(desk.connection)).staging:
        await desk.connection.execute(sql("positions_delta_staged").encode(), params)
    found = await (await desk.connection.execute(sql("positions_delta").encode(), params)).fetchall()
    desk.touched.logins |= {login for login, _ in found}
    accepted = len(params["tickets"]) + sum(closing for _, closing in found)
    return _receipt(message, told, accepted=accepted)


async def _take_part(desk: Desk, message: Positions) -> Receipt:
    newest = await _newest(desk.connection)
    if newest.continued_by(message, desk.stream(message)):
        _refuse_gap(newest, desk.stream(message))
    elif await _known(desk, message):
        return Receipt(ignored=message.size)
    else:
        await _begin(desk, message, newest)
    told = await _checked(desk, message)
    await desk.connection.execute(sql("positions_stage").encode(), _params(told.rows))
    if message.final:
        await _finish(desk, await desk.reach(message.access))
    return _receipt(message, told, accepted=len(told.rows))


def _receipt(message: Positions, told: _Told, *, accepted: int) -> Receipt:
    ignored = message.size - accepted - len(told.refused)
    return Receipt(accepted=accepted, ignored=ignored, refused=told.refused)


class Snapshot(msgspec.Struct, frozen=True):
    """The snapshot that began last."""

    epoch: int = 0
    snapshot_id: str = NAMELESS
    number: int = 0
    gaps: int = 0
    finished: bool = True

    @property
    def staging(self) -> bool:
        """Whether parts of it are still to come."""
        return not self.finished

    def continued_by(self, message: Positions, stream: Stream) -> bool:
        """Tell whether a part is one of this snapshot's."""
        return self.staging and (self.epoch, self.snapshot_id) == (stream.epoch, message.snapshot_id)


def _refuse_gap(snapshot: Snapshot, stream: Stream) -> None:
    if stream.gaps != snapshot.gaps:
        raise ValidationError(
            "snapshot_incomplete",
            f"a part of snapshot {snapshot.snapshot_id} was missed; send it anew under another snapshotId",
            field="seq",
        )


async def _newest(connection: AsyncConnection[Any]) -> Snapshot:
    row = await (await connection.execute(_NEWEST)).fetchone()
    return Snapshot() if row is None else Snapshot(*row)


async def _known(desk: Desk, message: Positions) -> bool:
    """Tell whether a part without a number is a late or repeated one of a snapshot that is over."""
    if message.seq is not None or message.snapshot_id is None:
        return False
    params = [desk.stream(message).epoch, message.snapshot_id]
    return await (await desk.connection.execute(_KNOWN, params)).fetchone() is not None


async def _begin(desk: Desk, message: Positions, newest: Snapshot) -> None:
    """Begin a snapshot; the unfinished parts of an older one go."""
    stream = desk.stream(message)
    await desk.connection.execute("DELETE FROM position_parts")
    await desk.connection.execute(
        _BEGIN,
        {
            "epoch": stream.epoch,
            "snapshot_id": NAMELESS if message.snapshot_id is None else message.snapshot_id,
            "number": newest.number + 1,
            "gaps": stream.gaps,
        },
    )
    await desk.connection.execute(_FORGET, [newest.number - REMEMBERED])


async def _finish(desk: Desk, reach: Reach) -> None:
    """Let the staged positions be the open ones, of all accounts within reach."""
    rows = await (await desk.connection.execute(sql("positions_replace").encode(), reach.params)).fetchall()
    desk.touched.logins |= {login for (login,) in rows}
    await desk.connection.execute("DELETE FROM position_parts")
    await desk.connection.execute(_FINISH)


class _Told(msgspec.Struct, frozen=True):
    """What a message tells, checked."""

    rows: list[Row]
    closed: set[int]
    refused: list[ItemRefused]


async def _checked(desk: Desk, message: Positions) -> _Told:
    """Hold a message's items against what is known; of a ticket told twice the last counts."""
    check = _Check(
        message.access,
        await desk.owners([position.login for position in message.positions]),
        await desk.symbols(),
        await _beyond(desk, message),
    )
    rows: dict[int, Row] = {}
    closed: set[int] = set()
    refused = list(message.refused)
    for position in message.positions:
        try:
            rows[position.ticket] = check.row(position)
        except Refusal as refusal:
            refused.append(ItemRefused(position.index, refusal, {"ticket": position.ticket}))
    for index, ticket in enumerate(message.closed):
        try:
            check.ticket(ticket, field="closed")
            closed.add(ticket)
        except Refusal as refusal:
            refused.append(ItemRefused(index, refusal, {"ticket": ticket}))
    return _Told(list(rows.values()), closed, refused)


class _Check(msgspec.Struct, frozen=True):
    """What positions are held against. `beyond` are tickets of accounts that the key does not reach."""

    access: Access
    owners: dict[int, Owner]
    symbols: dict[str, Listed]
    beyond: set[int]

    def row(self, position: Position) -> Row:
        """Give the row of a position, or refuse it."""
        owner = owner_of(self.owners, position.login, self.access)
        self.ticket(position.ticket, field="ticket")
        if position.symbol not in self.symbols:
            raise unknown_symbol(position.symbol)
        return _row(position, owner.digits)

    def ticket(self, ticket: int, *, field: str) -> None:
        """Refuse a ticket that is another's."""
        if ticket in self.beyond:
            detail = f"ticket {ticket} is of an account outside this key's reach"
            raise PermissionDenied("outside_mask", detail, field=field)


def _row(position: Position, digits: int) -> Row:
    return Row(
        ticket=position.ticket,
        login=position.login,
        symbol=position.symbol,
        buy=position.buy,
        lots=position.lots,
        open_price=position.open_price,
        opened_at=position.opened_at,
        storage=_minor(position.storage, digits) or 0,
        commission=_minor(position.commission, digits) or 0,
        profit=_minor(position.profit, digits),
        margin=_minor(position.margin, digits),
    )


def _minor(amount: Amount | None, digits: int) -> int | None:
    return None if amount is None else amount.minor(digits)


async def _beyond(desk: Desk, message: Positions) -> set[int]:
    """Find the open tickets of a message whose accounts the key does not reach."""
    reach = await desk.reach(message.access)
    if reach.everyone:
        return set()
    tickets = [*(position.ticket for position in message.positions), *message.closed]
    params = reach.params | {"tickets": tickets}
    return {ticket for (ticket,) in await (await desk.connection.execute(_BEYOND, params)).fetchall()}


def _params(rows: Sequence[Row]) -> dict[str, Any]:
    """Give the columns of rows as arrays, under their names' plurals."""
    columns = {name: [getattr(row, name) for row in rows] for name in Row.__struct_fields__}
    return {name if name == "lots" else f"{name}s": column for name, column in columns.items()}


_NEWEST = 'SELECT epoch, snapshot_id, "number", gaps, finished FROM snapshots ORDER BY "number" DESC LIMIT 1'
_KNOWN = "SELECT 1 FROM snapshots WHERE epoch = %s AND snapshot_id = %s"
_BEGIN = """
INSERT INTO snapshots (epoch, snapshot_id, "number", gaps, finished)
VALUES (%(epoch)s, %(snapshot_id)s, %(number)s, %(gaps)s, false)
ON CONFLICT (epoch, snapshot_id) DO UPDATE SET "number" = excluded."number", gaps = excluded.gaps,
    finished = false
"""
_FORGET = 'DELETE FROM snapshots WHERE "number" < %s'
_FINISH = "UPDATE snapshots SET finished = true WHERE NOT finished"
_BEYOND = """
SELECT p.ticket FROM positions p JOIN accounts a ON a.login = p.login
WHERE p.ticket = ANY(%(tickets)s)
    AND NOT (
        (%(reach_groups)s::text[] IS NULL OR a.group_name = ANY(%(reach_groups)s::text[]))
        AND (%(reach_logins)s::bigint[] IS NULL OR a.login = ANY(%(reach_logins)s::bigint[]))
    )
"""
