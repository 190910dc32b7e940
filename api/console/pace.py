"""The pace of long work: in short steps, and while money is being booked with a rest after each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from api.service import Service

REST_S: Final = 0.01

GiveWay = Callable[[], Awaitable[None]]


def pace_of(service: Service) -> GiveWay:
    """Give what is to be awaited between steps: others go first, and longer while they have money to book."""

    async def give_way() -> None:
        await asyncio.sleep(REST_S if service.writer.queue_depth else 0)

    return give_way
