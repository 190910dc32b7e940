"""The event store library's own test cases pass on our log, and replays through it give the live state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent
from eventsourcing.postgres import PostgresDatastore
from eventsourcing.tests.persistence import (
    ApplicationRecorderTestCase,
    NonInterleavingNotificationIDsBaseCase,
)
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from ledger.events import MoneyMoved
from ledger.recorder import LedgerRecorder
from tests.drive import folded
from tests.make import cents, define_group, deposit, open_account, request, reverse, transfer, withdraw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.drive import LedgerUnderTest


class OwnSchema:
    """Gives each of the library's tests a log in a schema of its own."""

    _database_url: str

    @pytest.fixture(autouse=True)
    def _log(self, database_url: str) -> Iterator[None]:
        self._database_url = database_url
        self._schema = f"library_{uuid4().hex}"
        self._datastores: list[PostgresDatastore] = []
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(self._schema)))
            yield
            for datastore in self._datastores:
                datastore.close()
            connection.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(self._schema)))

    def new_originator_id(self) -> str:
        return f"account:{uuid4()}"

    def create_recorder(self) -> LedgerRecorder:
        datastore = PostgresDatastore(
            dbname="",
            host="",
            port="",
            user="",
            password="",
            schema=self._schema,
            originator_id_type="text",
            pool_size=4,  # its default of 1 would make the concurrent tests wait in line for a connection
            max_overflow=8,
        )
        kwargs: Any = datastore.pool.kwargs
        kwargs.update(conninfo_to_dict(self._database_url), options=f"-c search_path={self._schema}")
        self._datastores.append(datastore)
        recorder = LedgerRecorder(datastore)
        recorder.create_table()
        return recorder


class TestLibrarysRecorder(OwnSchema, ApplicationRecorderTestCase[LedgerRecorder]):
    """Positions, conflicts, selections and concurrency, as the library demands of any recorder."""

    def test_performance(self) -> None:
        """Leave out what only prints a rate."""

    def test_concurrent_throughput(self) -> None:
        """Leave out what only prints a rate."""


class TestLibrarysNonInterleaving(OwnSchema, NonInterleavingNotificationIDsBaseCase):
    """The events of one insert stand beside each other in the log."""


class TestOurRecorder(OwnSchema):
    """What the library's test cases do not ask."""

    def event(self, stream: str, version: int) -> StoredEvent:
        return StoredEvent(stream, version, "topic", f"{stream} {version}".encode())

    def test_a_failed_insert_leaves_no_gap(self) -> None:
        recorder = self.create_recorder()
        assert recorder.insert_events([self.event("a", 1), self.event("b", 1)]) == [1, 2]
        with pytest.raises(IntegrityError):
            recorder.insert_events([self.event("c", 1), self.event("b", 1)])
        assert recorder.insert_events([self.event("c", 1)]) == [3]
        assert recorder.max_notification_id() == 3

    def test_positions_follow_the_order_of_the_insert(self) -> None:
        recorder = self.create_recorder()
        recorder.insert_events([self.event(stream, 1) for stream in "zaymb"])
        found = recorder.select_notifications(start=None, limit=9)
        assert [(event.id, event.originator_id) for event in found] == list(enumerate("zaymb", start=1))

    def test_every_event_is_kept_with_the_hash_of_its_bytes(self) -> None:
        self.create_recorder().insert_events([self.event("a", 1)])
        with psycopg.connect(self._database_url) as connection:
            connection.execute(SQL("SET search_path TO {}").format(Identifier(self._schema)))
            query = r"SELECT leaf_hash = sha256('\x00'::bytea || state), state FROM ledger_events"
            assert connection.execute(query).fetchall() == [(True, b"a 1")]


@pytest.fixture
async def busy(ledger: LedgerUnderTest) -> LedgerUnderTest:
    """Return a ledger in which something happened."""
    async with ledger.desk() as desk:
        await desk.book(define_group())
        await desk.writer.submit_bulk([request(open_account(login)) for login in (1001, 1002)])
        for command in (deposit(100), deposit(7, login=1002), withdraw(30), transfer(20), reverse(4)):
            await desk.book(command)
    return ledger


@pytest.mark.anyio
async def test_the_library_reads_a_stream_in_its_order(busy: LedgerUnderTest) -> None:
    with busy.library() as library:
        stream = library.stream("account:1001")
        assert [event.version for event in stream] == [1, 2, 3, 4, 5]
        assert stream == [event for event in busy.log() if event.stream == "account:1001"]
        assert library.stream("account:404") == []


@pytest.mark.anyio
async def test_time_travel_by_version_gives_the_account_as_it_was(busy: LedgerUnderTest) -> None:
    log = busy.log()
    with busy.library() as library:
        for login in (1001, 1002):
            stream = [event for event in log if event.stream == f"account:{login}"]
            for version in range(1, len(stream) + 1):
                held = library.account(login, version=version)
                assert held == folded(stream[:version])[login]
                last = stream[version - 1]
                if isinstance(last, MoneyMoved):
                    assert held is not None
                    assert (held.balance, held.credit) == (last.balance, last.credit)


@pytest.mark.anyio
async def test_a_replay_through_the_library_gives_the_live_account(busy: LedgerUnderTest) -> None:
    with busy.library() as library:
        held = library.account(1001)
        assert held is not None
        assert held.balance == busy.balance(1001) == cents(-50)
        assert held.version == busy.value("SELECT version FROM accounts WHERE login = 1001")
        assert library.account(404) is None


@pytest.mark.anyio
async def test_the_notification_log_is_the_log_in_order(busy: LedgerUnderTest) -> None:
    log = busy.log()
    with busy.library() as library:
        found = library.notification_log.select(start=1, limit=10)
        assert [event.id for event in found] == list(range(1, len(log) + 1))[:10]
        assert [library.mapper.to_domain_event(event) for event in found] == log[:10]
        assert library.recorder.max_notification_id() == len(log)
        assert [event.topic for event in found[:4]] == [
            "group-defined",
            "account-opened",
            "account-opened",
            "money-moved",
        ]
