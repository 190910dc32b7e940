"""Controls: the same clients, faults and checker do see losses and doubles, where there are some."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from api.embedded import EmbeddedPostgres
from tests.faults import blind
from tests.faults.blind import Blind
from tests.faults.books import findings
from tests.faults.load import CLIENTS, Load
from tests.faults.memory import Memory
from tests.faults.orders import Mix, single
from tests.faults.shop import shop_in
from tests.faults.stops import children, stopped
from tests.faults.wire import BOUND_S
from tests.service import rows, superuser_url, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

ENOUGH = 100
FEW = 5
PATIENCE_S = 2.0


@pytest.fixture
def postgres(scratch: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(scratch / "data", shared_buffers="32MB")
    server.start()
    yield server
    server.stop()


def load_blindly(
    url: str, meanwhile: Callable[[Load], Awaitable[None]], *, patience_s: float = BOUND_S
) -> Memory:
    """Let clients write into the control table, and do something meanwhile; give what they remember."""
    memory, mix = Memory(), Mix("control")

    async def run() -> None:
        senders = [Blind(url, patience_s=patience_s) for _ in range(CLIENTS)]
        load = Load(memory, lambda: single(mix.deposit()), [[sender] for sender in senders])
        load.begin()
        await load.until_acknowledged(ENOUGH)
        await meanwhile(load)
        await load.until_acknowledged(ENOUGH)
        await load.end()
        for sender in senders:
            await sender.end()

    asyncio.run(run())
    return memory


def test_a_table_without_a_unique_key_has_doubles_when_postgresql_stood_still(
    postgres: EmbeddedPostgres,
) -> None:
    url = postgres.url(dbname="postgres")
    blind.create_table(url)

    async def stand_still(load: Load) -> None:
        assert postgres.pid is not None
        with stopped(postgres.pid), stopped(*children(postgres.pid)):
            await load.until_given_up()

    memory = load_blindly(url, stand_still, patience_s=PATIENCE_S)
    found = findings(memory, blind.read_table(url))
    assert found.doubled
    assert not found.lost


def test_a_table_that_is_not_logged_loses_what_was_acknowledged_when_postgresql_is_killed(
    postgres: EmbeddedPostgres,
) -> None:
    url = postgres.url(dbname="postgres")
    blind.create_table(url, kind="UNLOGGED")

    async def kill(_: Load) -> None:
        assert postgres.pid is not None
        os.kill(postgres.pid, signal.SIGKILL)
        await asyncio.to_thread(within, BOUND_S, postgres.ensure_running)

    memory = load_blindly(url, kill)
    assert len(findings(memory, blind.read_table(url)).lost) >= ENOUGH


def test_lines_that_somebody_removed_are_lost_and_requests_that_are_forgotten_are_booked_twice(
    scratch: Path,
) -> None:
    async def nothing(_: Load) -> None:
        pass

    with shop_in(scratch) as shop:
        while len(shop.deposits) < 2 * FEW:
            shop.round(nothing)
        assert shop.judged().clean
        removed, forgotten = shop.deposits[:FEW], shop.deposits[FEW : 2 * FEW]
        database = superuser_url(shop.data)
        rows(database, "DELETE FROM history WHERE request_id = ANY(%s)", removed)
        rows(database, "DELETE FROM requests WHERE request_id = ANY(%s)", forgotten)
        outcome = shop.finish()
    assert (outcome.lost, outcome.doubled) == (FEW, FEW)
    assert any(words.startswith("account ") for words in outcome.other)
    assert any(words.startswith("verify: ") for words in outcome.other)
