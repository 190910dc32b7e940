"""Open positions: replaced whole by snapshots, in parts if they are large, and ticket by ticket by deltas.

The parts of a snapshot are staged, and stay unseen until the final one makes them the open positions. What a
delta tells between them is newer than any part: it counts for the positions of now and for the staged ones.
Whatever makes a snapshot doubtful voids it: what it does not name would be closed, and its losses forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Literal

import msgspec
from psycopg import AsyncConnection

from ledger.commands import Access
from ledger.figures import STALE_AFTER
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
    refused_item,
    unknown_symbol,
)
from projections.sql import sql
from projections.valuation import Listed

NAMELESS: Final = ""
"""The id of a snapshot that came in one piece and without one: always a new one."""

REMEMBERED: Final = 1_000
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


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
    news = desk.admits(message)
    if message.kind == "delta":
        return await _take_delta(desk, message) if news else Receipt(ignored=message.size)
    if message.snapshot_id is not None and await _over(desk, message):
        return Receipt(ignored=message.size)
    return await _take_part(desk, message) if news else Receipt(ignored=message.size)


async def overdue(connection: AsyncConnection[Any], now: datetime) -> bool:
    """Tell whether a snapshot waits in vain for its next part."""
    newest = await _newest(connection)
    return newest.staging and newest.heard_at < now - STALE_AFTER


async def expire(desk: Desk) -> None:
    """Void a snapshot of which no part has come for a minute."""
    if await overdue(desk.connection, desk.now):
        await _void(desk)


async def _take_delta(desk: Desk, message: Positions) -> Receipt:
    told = await _checked(desk, message)
    params = _params([row for row in told.rows if row.ticket not in told.closed])
    params["closed"] = sorted(told.closed)
    closed: set[int] = set()
    if (await _newest(desk.connection)).staging:
        closed |= {ticket for (ticket,) in await _rows(desk, "positions_delta_staged", params)}
    found = await _rows(desk, "positions_delta", params)
    desk.touched.logins |= {login for login, _ in found}
    closed |= {ticket for _, ticket in found if ticket is not None}
    _refresh(desk, message, told)
    return _receipt(message, told, accepted=len(params["tickets"]) + len(closed))


async def _take_part(desk: Desk, message: Positions) -> Receipt:
    newest = await _newest(desk.connection)
    if newest.continued_by(message, desk.stream(message)):
        await _continue(desk, message, newest)
    else:
        await _begin(desk, message, newest)
    await _check_tickets(desk, message)
    told = await _checked(desk, message)
    await _rows(desk, "positions_stage", _params(told.rows) | {"doubtful": sorted(told.doubtful)})
    if message.final:
        await _finish(desk, await desk.reach(message.access))
        _refresh(desk, message, told)
    return _receipt(message, told, accepted=len(told.rows))


def _refresh(desk: Desk, message: Positions, told: _Told) -> None:
    """Let the positions be as of now, where a key that speaks for all told something, or had nothing to."""
    if message.access.everything and (not message.size or len(told.refused) < message.size):
        desk.stream(message).as_of = desk.now


def _receipt(message: Positions, told: _Told, *, accepted: int) -> Receipt:
    ignored = message.size - accepted - len(told.refused)
    return Receipt(accepted=accepted, ignored=ignored, refused=told.refused)


class Snapshot(msgspec.Struct, frozen=True):
    """The snapshot that began last."""

    epoch: int = 0
    snapshot_id: str = NAMELESS
    number: int = 0
    gaps: int = 0
    heard_at: datetime = _NEVER
    state: Literal["staging", "finished", "void"] = "finished"

    @property
    def staging(self) -> bool:
        """Whether parts of it are still to come."""
        return self.state == "staging"

    def continued_by(self, message: Positions, stream: Stream) -> bool:
        """Tell whether a part is one of this snapshot's."""
        return self.staging and (self.epoch, self.snapshot_id) == (stream.epoch, message.snapshot_id)


async def _continue(desk: Desk, message: Positions, snapshot: Snapshot) -> None:
    """Go on with a snapshot; refused, and void, where a number was missed since it began."""
    if desk.stream(message).gaps != snapshot.gaps:
        await _void(desk)
        desk.heard()
        raise _incomplete(snapshot.snapshot_id)
    await desk.connection.execute(_HEARD, [desk.now])


def _incomplete(snapshot_id: str) -> ValidationError:
    detail = f"a part of snapshot {snapshot_id} may have been missed; send it anew under another snapshotId"
    return _kept(ValidationError("snapshot_incomplete", detail, field="seq"))


def _kept(refusal: ValidationError) -> ValidationError:
    """Mark the refusal of a part that is right in itself: people must be able to see it."""
    refusal.decided = True
    return refusal


async def _newest(connection: AsyncConnection[Any]) -> Snapshot:
    row = await (await connection.execute(_NEWEST)).fetchone()
    return Snapshot() if row is None else Snapshot(*row)


async def _over(desk: Desk, message: Positions) -> bool:
    """Tell whether a part is a late one of a snapshot that is finished; refused where it is void."""
    params = {"snapshot_id": message.snapshot_id, "epoch": message.epoch}
    row = await (await desk.connection.execute(_STATE, params)).fetchone()
    state, epoch = (None, None) if row is None else row
    if state == "void" or (state == "staging" and epoch != desk.stream(message).epoch):
        desk.heard()
        detail = f"snapshot {message.snapshot_id} is void; send it anew under another snapshotId"
        raise _kept(ValidationError("snapshot_void", detail, field="snapshotId"))
    return state == "finished"


async def _begin(desk: Desk, message: Positions, newest: Snapshot) -> None:
    """Begin a snapshot; an unfinished one is void. After a gap the first part may be what is missing."""
    await _void(desk)
    stream = desk.stream(message)
    snapshot = {
        "epoch": stream.epoch,
        "snapshot_id": NAMELESS if message.snapshot_id is None else message.snapshot_id,
        "number": newest.number + 1,
        "gaps": stream.gaps,
        "heard_at": desk.now,
    }
    await desk.connection.execute(_BEGIN, snapshot)
    await desk.connection.execute(_FORGET, [newest.number - REMEMBERED])
    if message.snapshot_id is not None and desk.missed(message):
        await _void(desk)
        desk.heard()
        raise _incomplete(message.snapshot_id)


async def _void(desk: Desk) -> None:
    """Let the unfinished snapshot never become the open positions."""
    await desk.connection.execute("DELETE FROM position_parts")
    await desk.connection.execute(_VOID)


async def _check_tickets(desk: Desk, message: Positions) -> None:
    """Refuse a part with an item that does not tell which ticket it is of: it would close that one."""
    unnamed = [item for item in message.refused if "ticket" not in item.named]
    if not unnamed:
        return
    await _void(desk)
    if message.snapshot_id is not None:
        desk.heard()
    detail = f"item {unnamed[0].index} of the snapshot names no ticket: {unnamed[0].refusal.detail}"
    raise ValidationError("bad_ticket", detail, field="ticket")


async def _finish(desk: Desk, reach: Reach) -> None:
    """Let the staged positions be the open ones, of all accounts within reach."""
    rows = await _rows(desk, "positions_replace", reach.params)
    desk.touched.logins |= {login for (login,) in rows}
    await desk.connection.execute("DELETE FROM position_parts")
    await desk.connection.execute(_FINISH)


class _Told(msgspec.Struct, frozen=True):
    """What a message tells, checked."""

    rows: list[Row]
    closed: set[int]
    refused: list[ItemRefused]

    @property
    def doubtful(self) -> set[int]:
        """The tickets that refused items name: they stay as they are."""
        return {item.named["ticket"] for item in self.refused if "ticket" in item.named}


async def _checked(desk: Desk, message: Positions) -> _Told:
    """Hold a message's items against what is known; of a ticket told twice the last counts."""
    check = _Check(
        message.access,
        await desk.owners([position.login for position in message.positions]),
        await desk.symbols(),
        await _reached(desk, message),
    )
    rows: dict[int, Row] = {}
    closed: set[int] = set()
    refused = list(message.refused)
    for position in message.positions:
        try:
            rows[position.ticket] = check.row(position)
        except Refusal as refusal:
            refused.append(refused_item(position.index, refusal, ticket=position.ticket))
    for index, ticket in enumerate(message.closed):
        try:
            if check.closes(ticket):
                closed.add(ticket)
        except Refusal as refusal:
            refused.append(refused_item(index, refusal, ticket=ticket))
    return _Told(list(rows.values()), closed, refused)


class _Check(msgspec.Struct, frozen=True):
    """What positions are held against.

    `reached` tells of known tickets whether they are of the key's accounts; None for a key that reaches all.
    """

    access: Access
    owners: dict[int, Owner]
    symbols: dict[str, Listed]
    reached: dict[int, bool] | None

    def row(self, position: Position) -> Row:
        """Give the row of a position, or refuse it."""
        owner = owner_of(self.owners, position.login, self.access)
        self._ticket(position.ticket, field="ticket")
        if position.symbol not in self.symbols:
            raise unknown_symbol(position.symbol)
        return _row(position, owner.digits)

    def closes(self, ticket: int) -> bool:
        """Tell whether a ticket is to be closed; what a key does not know to be its own may be another's."""
        self._ticket(ticket, field="closed")
        return self.reached is None or ticket in self.reached

    def _ticket(self, ticket: int, *, field: str) -> None:
        """Refuse a ticket that is another's."""
        if self.reached is not None and not self.reached.get(ticket, True):
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


async def _reached(desk: Desk, message: Positions) -> dict[int, bool] | None:
    """Tell of tickets that are open or staged whether their accounts are within the key's reach."""
    if message.access.everything:
        return None
    reach = await desk.reach(message.access)
    tickets = [*(position.ticket for position in message.positions), *message.closed]
    params = reach.params | {"tickets": tickets}
    return dict(await (await desk.connection.execute(_REACHED, params)).fetchall())


async def _rows(desk: Desk, name: str, params: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Run a statement of a file; give its rows, where it has any."""
    cursor = await desk.connection.execute(sql(name).encode(), params)
    return await cursor.fetchall() if cursor.description else []


def _params(rows: Sequence[Row]) -> dict[str, Any]:
    """Give the columns of rows as arrays, under their names' plurals."""
    columns = {name: [getattr(row, name) for row in rows] for name in Row.__struct_fields__}
    return {name if name == "lots" else f"{name}s": column for name, column in columns.items()}


_NEWEST = """
SELECT epoch, snapshot_id, "number", gaps, heard_at, state FROM snapshots ORDER BY "number" DESC LIMIT 1
"""
_STATE = """
SELECT state, epoch FROM snapshots
WHERE snapshot_id = %(snapshot_id)s AND (%(epoch)s::bigint IS NULL OR epoch = %(epoch)s::bigint)
ORDER BY "number" DESC LIMIT 1
"""
_BEGIN = """
INSERT INTO snapshots (epoch, snapshot_id, "number", gaps, heard_at, state)
VALUES (%(epoch)s, %(snapshot_id)s, %(number)s, %(gaps)s, %(heard_at)s, 'staging')
ON CONFLICT (epoch, snapshot_id) DO UPDATE SET "number" = excluded."number", gaps = excluded.gaps,
    heard_at = excluded.heard_at, state = excluded.state
"""
_HEARD = "UPDATE snapshots SET heard_at = %s WHERE state = 'staging'"
_FORGET = 'DELETE FROM snapshots WHERE "number" < %s'
_FINISH = "UPDATE snapshots SET state = 'finished' WHERE state = 'staging'"
_VOID = "UPDATE snapshots SET state = 'void' WHERE state = 'staging'"
_REACHED = """
SELECT t.ticket, bool_and(
    (%(reach_groups)s::text[] IS NULL OR a.group_name = ANY(%(reach_groups)s::text[]))
    AND (%(reach_logins)s::bigint[] IS NULL OR a.login = ANY(%(reach_logins)s::bigint[]))
)
FROM (
    SELECT ticket, login FROM positions WHERE ticket = ANY(%(tickets)s)
    UNION ALL
    SELECT ticket, login FROM position_parts WHERE ticket = ANY(%(tickets)s) AND open
) AS t
JOIN accounts a ON a.login = t.login
GROUP BY t.ticket
"""
