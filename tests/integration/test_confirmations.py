"""Nothing is vouched for that a standby may lack: neither at first, nor when it is asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import AsyncConnection

from ledger.refusals import ManagerOffline
from ledger.silence import BoundedConnection
from tests.drive import HANG_S, code_of
from tests.make import define_group, deposit, open_account, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.drive import Desk, LedgerUnderTest

pytestmark = pytest.mark.anyio

CANCEL = "pg_cancel_backend"
TERMINATE = "pg_terminate_backend"
WAITS = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
VOUCHED = "SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE name = 'touch_wal'"


async def test_a_repeat_of_what_no_standby_confirmed_is_not_acknowledged_before_one_does(
    ledger: LedgerUnderTest, server_url: str
) -> None:
    async with ledger.desk() as desk, unconfirmed(desk, server_url) as (admin, name, first):
        assert await ended(admin, first, CANCEL) == "outcome_unknown"
        booked = "SELECT count(*) FROM requests WHERE request_id = %s"
        assert ledger.value(booked, name) == 1  # and whoever reads can see it
        assert await ended(admin, repeated(desk, name), CANCEL) == "outcome_unknown"
        assert await ended(admin, repeated(desk, name), TERMINATE) == "database_away"
        waiting = repeated(desk, name)
        await until_one_waits(admin)
        await standby_given_up(admin)
        assert await waiting == "request_applied"
        assert await repeated(desk, name) == "request_applied"
        assert ledger.value(booked, name) == 1


async def test_a_commit_ended_by_an_administrator_while_it_waits_for_a_standby_is_no_success(
    ledger: LedgerUnderTest, server_url: str
) -> None:
    async with ledger.desk() as desk, unconfirmed(desk, server_url) as (admin, name, first):
        assert await ended(admin, first, TERMINATE) == "database_away"
        waiting = repeated(desk, name)
        await until_one_waits(admin)
        await standby_given_up(admin)
        assert await waiting == "request_applied"


@pytest.mark.parametrize("limit", ["statement_timeout", "transaction_timeout"])
async def test_a_time_limit_of_the_database_makes_no_success_of_a_wait_for_a_standby(
    ledger: LedgerUnderTest, server_url: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ledger.value("SELECT count(*) FROM pg_settings WHERE name = %s", limit) == 0:
        pytest.skip("this PostgreSQL does not know it")
    database = ledger.value("SELECT quote_ident(current_database())")
    ledger.rows(f"ALTER DATABASE {database} SET {limit} = '1s'")  # which a slow machine keeps as well
    monkeypatch.setattr(BoundedConnection, "silence_max_s", 3)
    try:
        async with ledger.desk() as desk, unconfirmed(desk, server_url) as (admin, name, first):
            assert await first == "database_away"
            await standby_given_up(admin)
            assert await repeated(desk, name) == "request_applied"
    finally:
        ledger.rows(f"ALTER DATABASE {database} RESET {limit}")


async def test_whoever_asks_what_became_of_a_request_is_told_only_what_is_confirmed(
    ledger: LedgerUnderTest, server_url: str
) -> None:
    async with ledger.desk() as desk, unconfirmed(desk, server_url) as (admin, name, first):
        assert await ended(admin, first, CANCEL) == "outcome_unknown"
        position = ledger.value('SELECT "position" FROM requests WHERE request_id = %s', name)
        assert await ended(admin, asking(desk, position), CANCEL) == "outcome_unknown"
        assert await ended(admin, asking(desk, position), TERMINATE) == "outcome_unknown"
        waiting = asking(desk, position)
        await until_one_waits(admin)
        await standby_given_up(admin)
        assert await waiting == "booked"
        assert await asking(desk, position) == "booked"


async def test_a_warning_that_the_database_was_told_to_keep_is_heard_all_the_same(
    ledger: LedgerUnderTest, server_url: str
) -> None:
    database = ledger.value("SELECT quote_ident(current_database())")
    ledger.rows(f"ALTER DATABASE {database} SET client_min_messages = error")
    try:
        async with ledger.desk() as desk, unconfirmed(desk, server_url) as (admin, _, first):
            assert await ended(admin, first, CANCEL) == "outcome_unknown"
    finally:
        ledger.rows(f"ALTER DATABASE {database} RESET client_min_messages")


async def test_a_repeat_costs_a_commit_only_where_it_is_not_known_that_the_first_is_safe(
    ledger: LedgerUnderTest,
) -> None:
    async with ledger.desk() as desk, ledger.desk() as other:
        await opened(desk)
        await desk.book(deposit(1), "once")
        for teller, commits in ((desk, 0), (other, 1)):
            for _ in range(3):
                assert await teller.code(deposit(1), "once") == "request_applied"
            assert await vouching_commits(teller) == commits


async def vouching_commits(desk: Desk) -> int:
    """Count the commits that a desk has made for the sake of what was booked before."""
    cursor = await desk.connections[-1].execute(VOUCHED)
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


@asynccontextmanager
async def unconfirmed(
    desk: Desk, server_url: str
) -> AsyncIterator[tuple[AsyncConnection[Any], str, Awaitable[str]]]:
    """Have a deposit booked that waits for a standby which is not there; give its name and its end."""
    await opened(desk)
    async with await AsyncConnection.connect(server_url, autocommit=True) as admin:
        await admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nowhere'")
        await admin.execute("SELECT pg_reload_conf()")
        try:
            for number in count():  # the server takes the setting up in its own time
                waiting = repeated(desk, f"unconfirmed-{number}")
                if await until_one_waits(admin, or_done=waiting):
                    yield admin, f"unconfirmed-{number}", waiting
                    return
        finally:
            await standby_given_up(admin)


async def opened(desk: Desk) -> None:
    """Define group `standard` and open an account in it."""
    await desk.book(define_group())
    await desk.book(open_account(1001))


def repeated(desk: Desk, name: str) -> asyncio.Future[str]:
    """Ask for a deposit under a name; give what will have become of it."""

    async def code() -> str:
        [outcome] = await asyncio.gather(*desk.start(request(deposit(1), name)))
        return code_of(outcome)

    return asyncio.ensure_future(code())


def asking(desk: Desk, position: int) -> asyncio.Future[str]:
    """Ask whether all up to a position is safe."""

    async def code() -> str:
        try:
            await desk.writer.confirm(position)
        except ManagerOffline as refusal:
            return refusal.code
        return "booked"

    return asyncio.ensure_future(code())


async def ended(admin: AsyncConnection[Any], waiting: Awaitable[str], how: str) -> str:
    """Let an administrator end the wait for a standby; give what the caller is told."""
    await until_one_waits(admin)
    await admin.execute(f"SELECT {how}(pid) {WAITS}".encode())
    return await waiting


async def until_one_waits(admin: AsyncConnection[Any], *, or_done: asyncio.Future[str] | None = None) -> bool:
    """Wait until a commit waits for a standby, or something is done without; tell whether one waits."""
    async with asyncio.timeout(HANG_S):
        while or_done is None or not or_done.done():
            if await (await admin.execute(f"SELECT pid {WAITS}".encode())).fetchone() is not None:
                return True
    return False


async def standby_given_up(admin: AsyncConnection[Any]) -> None:
    """Have commits wait for no standby any more."""
    await admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
    await admin.execute("SELECT pg_reload_conf()")
