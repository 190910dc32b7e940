"""What the service's role may do, and how a ledger's schema comes about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from ledger.refusals import ValidationError
from projections import install, schema
from tests.make import define_group, deposit, open_account

if TYPE_CHECKING:
    from tests.drive import LedgerUnderTest


@pytest.fixture
async def booked(ledger: LedgerUnderTest) -> LedgerUnderTest:
    """Return a ledger with three events, written by the service's role."""
    async with ledger.desk() as desk:
        await desk.book(define_group())
        await desk.book(open_account(1001))
        await desk.book(deposit(100))
    return ledger


FORBIDDEN = [
    "UPDATE ledger_events SET topic = 'x'",
    "UPDATE ledger_events SET leaf_hash = '' WHERE false",
    "DELETE FROM ledger_events",
    "TRUNCATE ledger_events",
    "ALTER TABLE ledger_events ADD COLUMN x int",
    "ALTER TABLE ledger_events DISABLE TRIGGER ALL",
    "DROP TABLE ledger_events",
    "LOCK TABLE ledger_events IN EXCLUSIVE MODE",
    "CREATE INDEX ON ledger_events (topic)",
    "CREATE TRIGGER t BEFORE INSERT ON ledger_events EXECUTE FUNCTION require(true, '')",
    "INSERT INTO ledger_events TABLE ledger_events ON CONFLICT (notification_id) DO UPDATE SET topic = 'x'",
    "SELECT * FROM ledger_events FOR UPDATE",
    "MERGE INTO ledger_events AS e USING accounts ON e.originator_version = 1 WHEN MATCHED THEN DELETE",
    "INSERT INTO gate DEFAULT VALUES",
    "DELETE FROM gate",
    "TRUNCATE gate",
    "DROP TABLE gate",
    "UPDATE migrations SET digest = ''",
    "DELETE FROM migrations",
    "DROP TABLE accounts",
    "TRUNCATE accounts",
    "ALTER TABLE accounts ADD COLUMN x int",
    "CREATE TABLE mine (x int)",
    "CREATE OR REPLACE FUNCTION require(holds boolean, what text) RETURNS void LANGUAGE sql AS ''",
    "DROP FUNCTION require(boolean, text)",
]


@pytest.mark.anyio
@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_service_may_not(booked: LedgerUnderTest, statement: str) -> None:
    before = booked.rows("SELECT * FROM ledger_events ORDER BY 1")
    with psycopg.connect(booked.service) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())
    assert booked.rows("SELECT * FROM ledger_events ORDER BY 1") == before


@pytest.mark.anyio
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM ledger_events",
        "INSERT INTO ledger_events VALUES (4, 's', 1, 't', '', '')",
        "LOCK TABLE gate IN EXCLUSIVE MODE",
        "SELECT * FROM migrations",
        "UPDATE accounts SET balance = balance",
        "DELETE FROM history WHERE false",
        "SELECT require(true, 'all is well')",
    ],
)
async def test_the_service_may(booked: LedgerUnderTest, statement: str) -> None:
    with psycopg.connect(booked.service) as connection:
        connection.execute(statement.encode())
        connection.rollback()


def test_the_service_works_in_its_role_and_in_the_ledgers_schema(ledger: LedgerUnderTest) -> None:
    with psycopg.connect(ledger.service) as connection:
        found = connection.execute("SELECT current_user, current_schema()").fetchone()
        assert found == (schema.SERVICE_ROLE, ledger.schema)
        owned = "SELECT count(*) FROM pg_class WHERE relowner = %s::regrole"
        assert connection.execute(owned, [schema.SERVICE_ROLE]).fetchone() == (0,)


def test_what_must_hold_aborts_when_it_does_not(ledger: LedgerUnderTest) -> None:
    for holds in ("false", "NULL"):
        with pytest.raises(psycopg.DatabaseError, match="the sky fell") as caught:
            ledger.rows(f"SELECT require({holds}, 'the sky fell')")
        assert caught.value.sqlstate == "FL001"


def definition_of(ledger: LedgerUnderTest) -> list[tuple[object, ...]]:
    return ledger.rows(
        "SELECT c.oid, c.relname, c.relkind::text, c.relacl::text, a.attname, a.atttypid::regtype::text"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = current_schema()::regnamespace ORDER BY 1, a.attnum"
    )


@pytest.mark.anyio
async def test_migrating_twice_changes_nothing(booked: LedgerUnderTest) -> None:
    before, rows = definition_of(booked), booked.rows("SELECT * FROM migrations ORDER BY 1")
    assert install.migrate(booked.database_url, booked.name) == []
    assert definition_of(booked) == before
    assert booked.rows("SELECT * FROM migrations ORDER BY 1") == rows
    assert booked.positions() == [1, 2, 3]


@pytest.mark.anyio
async def test_other_read_models_are_rebuilt_from_the_log(booked: LedgerUnderTest) -> None:
    accounts = booked.rows("SELECT * FROM accounts")
    booked.rows("UPDATE migrations SET digest = 'older' WHERE name = %s", schema.VIEWS)
    booked.rows("ALTER TABLE accounts RENAME TO holdings")
    booked.rows("ALTER TYPE account_state RENAME ATTRIBUTE login TO number")
    booked.rows("TRUNCATE history, requests")
    with booked.connect() as connection, pytest.raises(schema.SchemaOutdated, match=schema.VIEWS):
        schema.check(connection)
    assert install.migrate(booked.database_url, booked.name) == [schema.VIEWS]
    assert booked.rows("SELECT * FROM accounts") == accounts
    assert booked.value("SELECT count(*) FROM history") == 1
    assert booked.value("SELECT to_regclass('holdings')") is None
    async with booked.desk() as desk:
        assert await desk.code(deposit(1)) == "booked"
    with booked.connect() as connection:
        schema.check(connection)


def test_a_ledger_is_migrated_into_a_schema_of_its_own(database_url: str) -> None:
    kept = ["1001_refusals.sql", "1002_observations.sql"]
    assert install.migrate(database_url, "fresh") == ["0001_log.sql", *kept, schema.VIEWS]
    assert {"main", "fresh"} <= set(schema.ledgers(database_url))


def test_a_ledger_that_is_not_migrated_is_noticed(ledger: LedgerUnderTest) -> None:
    with psycopg.connect(ledger.database_url) as connection:
        connection.execute("CREATE SCHEMA ledger_bare")
        connection.execute("SET search_path TO ledger_bare")
        with pytest.raises(schema.SchemaOutdated, match="does not exist"):
            schema.check(connection)
        connection.rollback()
    ledger.rows("DELETE FROM migrations WHERE name = '0001_log.sql'")
    with ledger.connect() as connection, pytest.raises(schema.SchemaOutdated, match="0001_log"):
        schema.check(connection)


@pytest.mark.parametrize("name", ["", "Main", "1st", "a-b", "a.b", "ä", "x" * 41, 'a"; DROP TABLE gate'])
def test_a_name_that_cannot_be_a_schemas_is_refused(database_url: str, name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        install.migrate(database_url, name)
    assert caught.value.code == "bad_ledger"
