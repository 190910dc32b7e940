"""The daily report: what each group began a server day with, what moved, and what it ended with.

Movements stand under the group at booking; what accounts bring along when they change group is a movement
of its own. So opening + movements = closing, and a closing is the next day's opening.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, Final

import msgspec
from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from ledger.definitions import Group
from projections.history_filter import POSITION_MAX
from projections.sql import sql
from projections.sums import GROUP_CHANGE


class Movement(msgspec.Struct, frozen=True):
    """What one kind of operation moved, in minor units; an operation counts once for each account."""

    operations: int = 0
    balance: int = 0
    credit: int = 0

    @property
    def cancelled_out(self) -> bool:
        """Whether something was booked and nothing is left of it."""
        return self.operations > 0 and not (self.balance or self.credit)

    def __add__(self, other: Movement) -> Movement:
        """Add up."""
        return Movement(
            self.operations + other.operations, self.balance + other.balance, self.credit + other.credit
        )


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """One server day of one group, or of all groups of one currency."""

    currency: str
    digits: int
    opening: Movement
    movements: dict[str, Movement]
    active: int = 0

    @property
    def closing(self) -> Movement:
        """What the day ended with, or holds by now."""
        return sum(self.movements.values(), self.opening)

    @property
    def operations(self) -> int:
        """How many money operations there were; a change of group is none."""
        return sum(moved.operations for kind, moved in self.movements.items() if kind != GROUP_CHANGE)


class Report(msgspec.Struct, frozen=True):
    """A server day by group and by currency."""

    groups: dict[str, Day]
    currencies: dict[str, Day]


async def read_daily(connection: AsyncConnection[Any], day: date, groups: Mapping[str, Group]) -> Report:
    """Report a day of these groups, in one snapshot when asked inside of one."""
    params = {"day": day, "groups": list(groups)}
    rows = await (await connection.execute(sql("daily_movements").encode(), params)).fetchall()
    counts = await _active(connection, day, list(groups))
    by_group = {group: count for group, _, count in counts if group is not None}
    by_currency = {currency: count for _, currency, count in counts if currency is not None}
    days = _days(rows, groups, by_group)
    return Report(days, _added(days.values(), by_currency))


async def _active(connection: AsyncConnection[Any], day: date, groups: list[str]) -> list[tuple[Any, ...]]:
    """Count active accounts. The ends of the day are looked up first: the plan depends on how far it goes."""
    found = await (await connection.execute(_SPAN, {"day": day, "end": Int8(POSITION_MAX)})).fetchone()
    if found is None:
        return []
    first, past = found
    params = {"first": first, "past": past, "groups": groups}
    return await (await connection.execute(sql("daily_active").encode(), params, prepare=False)).fetchall()


_SPAN: Final = """
SELECT d."position",
    coalesce((SELECT min(n."position") FROM days n WHERE n.server_day > d.server_day), %(end)s)
FROM days d WHERE d.server_day = %(day)s
"""


def _days(
    rows: Iterable[tuple[Any, ...]], groups: Mapping[str, Group], active: Mapping[str, int]
) -> dict[str, Day]:
    found: dict[str, dict[str | None, Movement]] = {}
    for name, kind, operations, balance, credit in rows:
        found.setdefault(name, {})[kind] = Movement(operations, int(balance), int(credit))
    return {
        name: Day(
            currency=groups[name].currency,
            digits=groups[name].digits,
            opening=msgspec.structs.replace(moved.get(None, Movement()), operations=0),
            movements={kind: movement for kind, movement in moved.items() if kind is not None},
            active=active.get(name, 0),
        )
        for name, moved in found.items()
    }


def _added(days: Iterable[Day], active: Mapping[str, int]) -> dict[str, Day]:
    """Add groups of one currency up, currencies by name."""
    parts: dict[str, list[Day]] = {}
    for day in days:
        parts.setdefault(day.currency, []).append(day)
    return {
        currency: Day(
            currency=currency,
            digits=found[0].digits,
            opening=sum((day.opening for day in found), Movement()),
            movements=_together(found),
            active=active.get(currency, 0),
        )
        for currency, found in sorted(parts.items())
    }


def _together(days: Iterable[Day]) -> dict[str, Movement]:
    added: dict[str, Movement] = {}
    for day in days:
        for kind, movement in day.movements.items():
            added[kind] = added.get(kind, Movement()) + movement
    return dict(sorted(added.items()))
