"""What an account held at any past instant: as booked by then, or as it is known now to have been."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from projections.history_filter import POSITION_MAX, Basis, Key
from projections.sql import sql


class AsOf(msgspec.Struct, frozen=True):
    """What an account held, in minor units. `position` is the last one that counts, None before any.

    `group` is the present one: whether a caller may see the account goes by that.
    """

    login: int
    currency: str
    digits: int
    group: str
    balance: int
    credit: int
    position: int | None


async def as_of(
    connection: AsyncConnection[Any], login: int, at: datetime, *, basis: Basis = "recorded"
) -> AsOf | None:
    """Give what the account held at an instant, counting t <= at; None for an unknown login."""
    return await held_before(connection, login, (at, POSITION_MAX), basis=basis)


async def held_before(connection: AsyncConnection[Any], login: int, key: Key, *, basis: Basis) -> AsOf | None:
    """Give what the account held before a row of this time and position would have changed it."""
    at, position = key
    cursor = connection.cursor(binary=True)
    params = {"login": Int8(login), "at": at, "position": Int8(position)}
    await cursor.execute(sql(f"asof_{basis}").encode(), params, prepare=True)
    found = await cursor.fetchone()
    if found is None:
        return None
    *account, balance, credit, last = found
    return AsOf(*(*account, int(balance), int(credit), last))
