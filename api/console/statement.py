"""A statement of account: what was held, what moved it, what was left, over server days; credit apart.

It tells the account as it was booked, and nothing that a later booking would change: so the statement of a
period that is over is the same whenever it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from datetime import date, datetime
from typing import Final

import msgspec

from api import history_reading
from api.console.period import Period
from api.history import HistoryQuery
from api.middleware import Ask
from api.service import Service
from ledger.clock import ServerClock
from ledger.refusals import ValidationError
from projections import audit
from projections import history as reading
from projections.history import Row

ROWS_MAX: Final = 10_000
CHUNK: Final = 250  # short enough not to hold up the event loop


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One operation, in minor units: what it changed, and what was held after it."""

    recorded_at: datetime
    server_day: date
    operation: str
    kind: str
    says: str
    change: int
    after: int


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """What the operations of one kind come to."""

    kind: str
    count: int
    change: int


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Balance, or credit: opening + movements = closing."""

    opening: int
    lines: list[Line]
    closing: int

    @property
    def movements(self) -> list[Movement]:
        """The movements by kind."""
        kinds = sorted({line.kind for line in self.lines})
        return [_movement(kind, [line for line in self.lines if line.kind == kind]) for kind in kinds]


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a statement says. `position` is the last that counts, where the period is not over."""

    ledger: str
    login: int
    name: str
    currency: str
    digits: int
    period: Period
    clock: ServerClock
    simulated: bool
    position: int | None
    balance: Part
    credit: Part


async def statement_of(service: Service, ask: Ask, login: int, period: Period) -> Statement:
    """Read a statement, over a connection for exports; of one moment."""
    profile = await service.profile(login, ask)
    query = HistoryQuery(login=login, from_day=period.from_day, to_day=period.to_day)
    wanted = await history_reading.wanted_by(service, ask, query)
    async with service.database.exporting() as connection:
        async with reading.snapshot(connection):
            held = await reading.opening_closing(connection, wanted)
            count = (await reading.count_and_totals(connection, wanted)).count
            head, days = await audit.head(connection), await service.days(connection)
        _check_length(count)
        rows: list[Row] = []
        stream = reading.stream(connection, wanted, order="asc", chunk=CHUNK, until_position=head)
        async with aclosing(stream):
            async for chunk in stream:
                rows += chunk
    assert held is not None
    opening, closing = held
    return Statement(
        ledger=service.ledger,
        login=login,
        name=profile["name"],
        currency=opening.currency,
        digits=opening.digits,
        period=period,
        clock=days.definitions.clock,
        simulated=days.definitions.simulated_from is not None,
        position=head if period.to_day >= days.server_day else None,
        balance=Part(
            opening=opening.balance,
            lines=[_line(row, row.balance_change, row.balance) for row in rows if row.balance_change],
            closing=closing.balance,
        ),
        credit=Part(
            opening=opening.credit,
            lines=[_line(row, row.credit_change, row.credit) for row in rows if row.credit_change],
            closing=closing.credit,
        ),
    )


def _check_length(count: int) -> None:
    if count > ROWS_MAX:
        detail = f"{count} operations are more than the {ROWS_MAX} of one statement: choose fewer days"
        raise ValidationError("too_many_rows", detail, field="fromDay")


def _line(row: Row, change: int, after: int) -> Line:
    said = (
        row.comment,
        row.reference and f"ref {row.reference}",
        row.method,
        row.peer and f"{'to' if change < 0 else 'from'} {row.peer}",
        row.corrects and f"of bal_{row.corrects}",
    )
    return Line(
        recorded_at=row.recorded_at,
        server_day=row.server_day,
        operation=f"bal_{row.operation}",
        kind=row.kind,
        says=", ".join(part for part in said if part),
        change=change,
        after=after,
    )


def _movement(kind: str, lines: Iterable[Line]) -> Movement:
    changes = [line.change for line in lines]
    return Movement(kind=kind, count=len(changes), change=sum(changes))
