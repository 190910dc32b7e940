"""A database that cannot be reached: all who wait are told at once, and it is found again by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.drive import HANG_S, LedgerUnderTest, codes_of, settled
from tests.faults.impatient import impatient
from tests.faults.proxy import CLEAR, HALF_OPEN, REFUSING, before_database
from tests.faults.shop import open_accounts
from tests.make import define_group, deposit, open_account, request
from tests.service import service_on, within

if TYPE_CHECKING:
    from pathlib import Path

MANY = 200
"""Requests of several batches."""

END_WRITERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND query IN ('COMMIT', 'ROLLBACK')
"""


@pytest.mark.anyio
async def test_all_who_wait_are_told_when_one_attempt_to_connect_has_failed(ledger: LedgerUnderTest) -> None:
    with before_database(ledger.database_url) as (relay, through):
        async with LedgerUnderTest(through, ledger.name).desk() as desk:
            await desk.book(define_group())
            await desk.book(open_account(1001))
            relay.take(HALF_OPEN)
            relay.cut()
            before = relay.accepted
            with impatient(HANG_S):
                outcomes = await asyncio.gather(*desk.start(*(request(deposit(1)) for _ in range(MANY))))
            assert codes_of(outcomes) == ["database_away"] * MANY
            assert relay.accepted == before + 1
            assert desk.writer.queue_depth == 0
            relay.take(CLEAR)
            assert await desk.code(deposit(1)) == "booked"


@pytest.mark.anyio
async def test_a_writer_without_a_connection_finds_one_without_being_asked(ledger: LedgerUnderTest) -> None:
    with before_database(ledger.database_url) as (relay, through):
        async with LedgerUnderTest(through, ledger.name).desk() as desk:
            relay.take(REFUSING)
            relay.cut()
            assert await desk.code(deposit(1)) == "database_away"
            assert not desk.writer.connected
            relay.take(CLEAR)
            await settled(lambda: desk.writer.connected)


def test_a_service_that_can_read_and_not_book_is_not_ready_and_is_again_by_itself(
    database_url: str, tmp_path: Path
) -> None:
    with before_database(database_url) as (relay, through), service_on(through, tmp_path / "log") as service:
        with service.client() as client, psycopg.connect(database_url, autocommit=True) as admin:
            open_accounts(client)
            assert client.get("/readyz").status_code == 200
            relay.take(REFUSING)
            admin.execute(END_WRITERS)
            away = client.post(
                "/balances/deposit", json={"login": 1001, "amount": 1}, headers={"x-request-id": "away"}
            )
            assert (away.status_code, away.json()["code"]) == (503, "database_away")
            assert client.get("/users/1001").status_code == 200
            not_ready = client.get("/readyz")
            assert (not_ready.status_code, not_ready.json()["code"]) == (503, "not_ready")
            relay.take(CLEAR)
            within(HANG_S, lambda: client.get("/readyz").status_code == 200)
        service.stop()


@pytest.mark.anyio
async def test_a_connection_that_was_cut_between_two_deposits_is_replaced_unnoticed(
    ledger: LedgerUnderTest,
) -> None:
    with before_database(ledger.database_url) as (proxy, through):
        async with LedgerUnderTest(through, ledger.name).desk() as desk:
            await desk.book(define_group())
            await desk.book(open_account(1001))
            await desk.book(deposit(1))
            proxy.cut()
            assert await desk.code(deposit(2)) == "booked"
            assert len(desk.connections) == 2
