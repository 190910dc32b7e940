"""A service that is told to stop ends its tasks, whatever they make of it."""

from __future__ import annotations

import asyncio

import pytest

from api import tasks

pytestmark = pytest.mark.anyio


async def test_a_task_that_turned_the_first_cancellation_into_a_failure_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "AGAIN_S", 0.01)
    told = []

    async def deaf_at_first() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                told.append("once more")
                if len(told) > 1:
                    raise

    task = asyncio.create_task(deaf_at_first())
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await tasks.end(task)
    assert told == ["once more"] * 2
    assert task.cancelled()


async def test_a_task_that_has_failed_says_so() -> None:
    async def broken() -> None:
        raise LookupError

    task = asyncio.create_task(broken())
    await asyncio.wait({task})
    with pytest.raises(LookupError):
        await tasks.end(task)
