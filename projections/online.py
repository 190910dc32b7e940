"""Who is online: the last call says it all."""

from __future__ import annotations

from typing import ClassVar

from ledger.refusals import Refusal
from projections.feed import Desk, ItemRefused, Message, Receipt, owner_of
from projections.sql import sql


class Online(Message, frozen=True, kw_only=True):
    """POST /feed/online."""

    STREAM: ClassVar[str] = "online"
    logins: list[int]

    @property
    def size(self) -> int:
        return len(self.logins)


async def take(desk: Desk, message: Online) -> Receipt:
    """Let exactly these be online, of all whom the key reaches."""
    if not desk.admits(message):
        return Receipt(ignored=message.size)
    owners = await desk.owners(message.logins)
    online: list[int] = []
    refused: list[ItemRefused] = []
    for index, login in enumerate(message.logins):
        try:
            online.append(owner_of(owners, login, message.access).login)
        except Refusal as refusal:
            refused.append(ItemRefused(index, refusal, {"login": login}))
    params = {"logins": online} | (await desk.reach(message.access)).params
    await desk.connection.execute(sql("online").encode(), params)
    accepted = len(set(online))
    return Receipt(accepted=accepted, ignored=len(online) - accepted, refused=refused)
