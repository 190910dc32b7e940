"""Who is online: the last call says it all."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Final

from ledger.refusals import Refusal
from projections.feed import Desk, ItemRefused, Message, Receipt, owner_of
from projections.sql import sql

LOGINS_AT_ONCE: Final = 1_000
"""How many are looked at without giving way to other callers."""


class Online(Message, frozen=True, kw_only=True):
    """POST /feed/online."""

    STREAM: ClassVar[str] = "online"
    logins: list[int]

    @property
    def size(self) -> int:
        return len(self.logins)


async def take(desk: Desk, message: Online) -> Receipt:
    """Let exactly these be online, of all whom the key reaches; one told again is ignored."""
    if not desk.admits(message):
        return Receipt(ignored=message.size)
    first = {login: index for index, login in reversed([*enumerate(message.logins)])}
    owners = await desk.owners([*first])
    online: list[int] = []
    refused: list[ItemRefused] = []
    for number, (login, index) in enumerate(first.items()):
        try:
            online.append(owner_of(owners, login, message.access).login)
        except Refusal as refusal:
            refused.append(ItemRefused(index, refusal, {"login": login}))
        if number % LOGINS_AT_ONCE == 0:
            await asyncio.sleep(0)
    params = {"logins": online} | (await desk.reach(message.access)).params
    await desk.connection.execute(sql("online").encode(), params)
    return Receipt(accepted=len(online), ignored=message.size - len(first), refused=refused)
