"""Refused attempts: kept beside the log in the order in which they were stored, read by their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.types.numeric import Int8

from ledger.commands import Access
from projections.sql import sql


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that was refused: who, what, why, when. `login` is the account that it named first."""

    refused_at: datetime
    key_id: str
    operator_id: str | None
    request_id: str | None
    method: str
    route: str
    status: int
    code: str
    detail: str
    field: str | None
    login: int | None


class Kept(msgspec.Struct, frozen=True):
    """A refused attempt under its number; `group` is the present one of its account."""

    number: int
    refused: Refused
    group: str | None

    def seen_by(self, access: Access) -> bool:
        """Tell whether a caller may read of it: of an account within reach; else only who sees everything."""
        login = self.refused.login
        if login is None or self.group is None:
            return access.everything
        return access.reaches(login, self.group)


async def append(
    connection: AsyncConnection[Any], batch: UUID, refused: Sequence[Refused], *, known: int
) -> None:
    """Keep a batch, once: `known` is a number that was the last one before the batch was first tried.

    Raises UniqueViolation where another process has just counted on from the same number: try again.
    """
    columns = {name: [getattr(one, name) for one in refused] for name in Refused.__struct_fields__}
    params = columns | {"batch": batch, "known": Int8(known)}
    await connection.execute(sql("refusals_append").encode(), params)


async def last_number(connection: AsyncConnection[Any]) -> int:
    """Give the last number; 0 where nothing was refused yet."""
    row = await (await connection.execute(_LAST)).fetchone()
    assert row is not None
    return int(row[0])


async def page(connection: AsyncConnection[Any], *, after: int, limit: int) -> list[Kept]:
    """Give the refused attempts after a number, in order, at most so many."""
    cursor = connection.cursor(binary=True)
    params = {"after": Int8(after), "limit": Int8(limit)}
    await cursor.execute(sql("refusals_page").encode(), params, prepare=True)
    return [_kept(*row) for row in await cursor.fetchall()]


_LAST = "SELECT coalesce(max(number), 0) FROM refusals"


def _kept(number: int, *cells: Any) -> Kept:
    *fields, group = cells
    return Kept(number, Refused(**dict(zip(Refused.__struct_fields__, fields, strict=True))), group)
