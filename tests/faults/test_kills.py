"""Under load the service or its PostgreSQL is killed, or told to stop: nothing is lost, nothing doubled."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.faults.kills import postgres_killed, service_killed
from tests.faults.shop import Shop, shop_in
from tests.service import BOUND_S, alive, postmaster_pid, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.load import Load

ROUNDS = 5


@pytest.fixture
def shop(scratch: Path) -> Iterator[Shop]:
    with shop_in(scratch) as shop:
        yield shop


def test_a_killed_service_has_lost_nothing_and_booked_nothing_twice(scratch: Path) -> None:
    outcome = service_killed(scratch, rounds=ROUNDS)
    assert (outcome.rounds, outcome.clean) == (ROUNDS, True), outcome


def test_a_killed_postgresql_is_brought_back_by_the_service_and_nothing_is_lost(scratch: Path) -> None:
    outcome = postgres_killed(scratch, rounds=ROUNDS)
    assert (outcome.rounds, outcome.clean) == (ROUNDS, True), outcome


def test_reads_wait_or_say_503_while_postgresql_is_away_and_answer_when_it_is_back(shop: Shop) -> None:
    pid = postmaster_pid(shop.data)
    assert pid is not None
    with shop.client() as client:
        os.kill(pid, signal.SIGKILL)
        seen: list[int] = []

        def back() -> bool:
            answers = [client.get(path) for path in ("/readyz", "/balances/history", "/users/1001")]
            for answer in answers:
                assert answer.status_code == 200 or "Retry-After" in answer.headers, answer.text
            seen.extend(answer.status_code for answer in answers)
            return postmaster_pid(shop.data) != pid and {a.status_code for a in answers} == {200}

        within(BOUND_S, back)
        assert client.get("/healthz").status_code == 200
    assert set(seen) <= {200, 503}  # a read may wait for the server instead


def test_told_to_stop_it_answers_what_it_has_accepted_and_ends_cleanly(shop: Shop) -> None:
    async def stop_and_start(_: Load) -> None:
        postgres = postmaster_pid(shop.data)
        assert postgres is not None
        assert await asyncio.to_thread(shop.service.signal, signal.SIGTERM) == 0
        assert not alive(postgres)
        assert "database system is shut down" in _postgres_log(shop).splitlines()[-1]
        await asyncio.to_thread(shop.service.start)

    memory = shop.round(stop_and_start)
    assert memory.hung_up
    assert not memory.repeated  # whatever was booked was also answered
    assert "was not properly shut down" not in _postgres_log(shop)
    outcome = shop.finish()
    assert outcome.clean, outcome


def _postgres_log(shop: Shop) -> str:
    return (shop.data / "postgres.log").read_text()
