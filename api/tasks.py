"""Tasks beside the service, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final

AGAIN_S: Final = 1.0


async def end(task: asyncio.Task[Any]) -> None:
    """End a task. It is told again until it does: what it waits for can turn a cancellation into a failure.

    psycopg does so where the server does not confirm in time that it has dropped a statement.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=AGAIN_S)
    with contextlib.suppress(asyncio.CancelledError):
        await task
