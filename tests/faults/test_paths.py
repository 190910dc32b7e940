"""Whatever happens on the way to database or clients: nothing is lost or doubled, nobody hangs."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.faults import blind
from tests.faults.blind import Blind
from tests.faults.books import findings
from tests.faults.load import CLIENTS, Load
from tests.faults.memory import Memory
from tests.faults.orders import Mix, single
from tests.faults.paths import between_clients, broken, serving, silent
from tests.faults.proxy import MUTE, Proxy, before_database
from tests.faults.silence import silences
from tests.faults.wire import BOUND_S
from tests.service import within

if TYPE_CHECKING:
    from pathlib import Path

    from tests.drive import LedgerUnderTest

SILENCES = 20
TIMES = 3
DEPOSIT = {"login": 1001, "amount": 5}


def test_a_broken_path_to_the_database_loses_and_doubles_nothing(scratch: Path) -> None:
    outcome = broken(scratch, rounds=3)
    assert (outcome.rounds, outcome.clean) == (3, True), outcome


def test_a_silent_path_to_the_database_loses_and_doubles_nothing_and_hangs_nobody(scratch: Path) -> None:
    outcome = silent(scratch, rounds=1, patience_s=1)
    assert (outcome.rounds, outcome.clean) == (1, True), outcome


def test_a_broken_or_silent_path_to_the_clients_loses_and_doubles_nothing(scratch: Path) -> None:
    outcome = between_clients(scratch, rounds=3)
    assert (outcome.rounds, outcome.clean) == (3, True), outcome


def test_a_server_silent_at_any_statement_hangs_no_writer_and_loses_nothing(ledger: LedgerUnderTest) -> None:
    outcome = silences(ledger.database_url, ledger.name, rounds=SILENCES)
    assert outcome.clean, outcome
    assert outcome.rounds > SILENCES / 2  # now and then two questions come as one, and none is silent


def test_whoever_waits_for_a_silent_database_as_the_service_is_stopped_is_told_to_come_again(
    database_url: str, tmp_path: Path
) -> None:
    with (
        before_database(database_url) as (relay, through),
        serving(through, tmp_path / "log", patience_s=6) as service,
        service.client() as client,
        ThreadPoolExecutor(1) as threads,
    ):
        assert client.get("/server").status_code == 200
        relay.take(MUTE)
        named = {"x-request-id": "one"}
        asked = threads.submit(client.post, "/balances/deposit", json=DEPOSIT, headers=named)
        within(BOUND_S, lambda: b"fundledger_queue_depth 1.0" in client.get("/metrics").content)
        service.stop()
        answer = asked.result()
    assert (answer.status_code, answer.json()["code"]) == (503, "closing")
    assert "retry-after" in answer.headers
    assert "Traceback" not in service.logged()


def test_a_table_without_a_unique_key_has_doubles_when_answers_to_commits_are_lost(database_url: str) -> None:
    memory = Memory()
    blind.create_table(database_url)
    with before_database(database_url) as (relay, through):
        asyncio.run(_lose_answers(relay, through, memory))
    found = findings(memory, blind.read_table(database_url))
    assert len(found.doubled) == TIMES
    assert not found.lost


async def _lose_answers(relay: Proxy, url: str, memory: Memory) -> None:
    mix = Mix("control")
    load = Load(
        memory, lambda: single(mix.deposit()), [[Blind(url, patience_s=BOUND_S)] for _ in range(CLIENTS)]
    )
    load.begin()
    for _ in range(TIMES):
        await _lose_answer(relay, load)
    await load.end()


async def _lose_answer(relay: Proxy, load: Load) -> None:
    """Lose one, and wait until that order was sent again: the next that is lost must be another's."""
    memory, before = load.memory, load.memory.hung_up
    relay.lose_answer(b"COMMIT\x00")
    await load.until(lambda: memory.hung_up > before and memory.unanswered <= memory.acknowledged.keys())
