"""What each database role may do, statement by statement: what is not declared is refused by PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import Connection

from projections import install, rights, roles, schema
from projections.obstacles import RightsMissing, RightsWrong
from projections.reports import PERSONAL_REPORTS, REPORTS
from tests.logins import as_login, login, name_of, say
from tests.make import define_group, deposit, open_account, reverse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.drive import LedgerUnderTest


REFUSED = "42501"
NEVER_OF_VIEWS = ("55000", "42809", "0A000")
"""What nobody can do with a view."""

ROLES = {
    "the writer": schema.writer_of,
    "the reader": roles.reader_of,
    "the personal reader": roles.personal_reader_of,
}
LOG = {
    "ledger_events": {"SELECT", "INSERT"},
    "gate": {"LOCK"},
    "migrations": {"SELECT"},
    "tree_nodes": {"SELECT", "INSERT"},
    "checkpoints": {"SELECT", "INSERT"},
}
"""What the writer may do with what stands with the log: nothing that was ever written can be changed."""

OWNERS_ONLY = (
    "DROP {kind} {thing}",
    "ALTER {kind} {thing} RENAME TO other",
    "ALTER {kind} {thing} OWNER TO CURRENT_USER",
    "ALTER {kind} {thing} SET SCHEMA public",
    "COMMENT ON {kind} {thing} IS 'mine'",
    "CREATE RULE quiet AS ON INSERT TO {thing} DO INSTEAD NOTHING",
    "CREATE OR REPLACE VIEW {thing} AS SELECT 1 AS login",
)
OWNERS_ONLY_OF_TABLES = (
    "ALTER TABLE {thing} ADD COLUMN other int",
    "ALTER TABLE {thing} DISABLE TRIGGER ALL",
    "ALTER TABLE {thing} DISABLE RULE quiet",
    "ALTER TABLE {thing} ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE {thing} SET UNLOGGED",
    "ALTER TABLE {thing} SET (autovacuum_enabled = off)",
    "ALTER TABLE {thing} ADD CONSTRAINT other CHECK (false) NOT VALID",
    "CREATE TRIGGER other BEFORE INSERT ON {thing} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE POLICY other ON {thing}",
    "REINDEX TABLE {thing}",
    "COPY {thing} TO '/tmp/fundledger-stolen'",
    "COPY {thing} TO PROGRAM 'cat'",
    "COPY {thing} FROM PROGRAM 'cat'",
)
ANYWHERE = (
    "SET session_replication_role = replica",
    "SET ROLE {owner}",
    "SET ROLE {superuser}",
    "SET SESSION AUTHORIZATION {superuser}",
    "SET ROLE pg_write_all_data",
    "GRANT {owner} TO CURRENT_USER",
    "ALTER ROLE {owner} LOGIN",
    "CREATE TABLE mine (x int)",
    "CREATE TABLE public.mine (x int)",
    "CREATE VIEW mine AS SELECT 1 AS x",
    "CREATE SEQUENCE mine",
    "CREATE TYPE mine AS (x int)",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE c AS 'mine'",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "DROP EXTENSION plpgsql",
    "CREATE PUBLICATION mine",
    "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION mine()",
    "CREATE INDEX ON ledger_events (topic)",
    "ALTER INDEX ledger_events_stream_key RENAME TO other",
    "ALTER SCHEMA {schema} RENAME TO other",
    "DROP SCHEMA {schema} CASCADE",
    "CREATE OR REPLACE FUNCTION require(holds boolean, what text) RETURNS void LANGUAGE sql AS ''",
    "DROP FUNCTION require(boolean, text)",
    "ALTER TYPE log_entry ADD ATTRIBUTE other int",
    "ALTER DATABASE {database} SET synchronous_commit = off",
    "ALTER TABLE pg_catalog.pg_class ADD COLUMN other int",
    "DELETE FROM pg_catalog.pg_depend",
    "SELECT FROM pg_catalog.pg_authid",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "COPY (SELECT 1) TO '/tmp/fundledger-stolen'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT pg_ls_dir('.')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_reload_conf()",
    "SELECT pg_switch_wal()",
    "SELECT pg_stat_reset()",
    "CHECKPOINT",
)

ALONE = ("ALTER SYSTEM SET fsync = off", "CREATE DATABASE mine")
"""What is never done in a transaction."""

EVERYTHING = (
    "SELECT * FROM ledger_events ORDER BY 1",
    """
    SELECT c.oid, relname, relkind::text, relowner, relacl::text, relhastriggers, relrowsecurity,
        relpersistence::text, reloptions::text, attname, atttypid, attnotnull, attacl::text
    FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid
    WHERE relnamespace = current_schema()::regnamespace ORDER BY 1, attnum
    """,
    "SELECT oid, conname, convalidated, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1",
    "SELECT oid, tgname, tgenabled::text FROM pg_trigger ORDER BY 1",
    "SELECT oid, proname, prosrc, proacl::text FROM pg_proc WHERE pronamespace >= 16384 ORDER BY 1",
)


class Thing:
    """A table or view of a ledger, and what can be tried on it."""

    def __init__(self, name: str, kind: str, columns: list[str]) -> None:
        self.name = name
        self.kind = {"r": "TABLE", "v": "VIEW"}[kind]
        self.columns = columns

    def tries(self) -> Iterator[tuple[str, str]]:
        """Yield rights, each with a statement that takes it."""
        yield "SELECT", f"SELECT FROM {self.name} LIMIT 0"
        yield "INSERT", f"INSERT INTO {self.name} DEFAULT VALUES"
        yield "DELETE", f"DELETE FROM {self.name} WHERE false"
        yield "TRUNCATE", f"TRUNCATE {self.name}"
        yield "LOCK", f"LOCK TABLE {self.name} IN ACCESS EXCLUSIVE MODE"
        for column in self.columns:
            yield f"UPDATE ({column})", f'UPDATE {self.name} SET "{column}" = NULL WHERE false'
        of_tables = OWNERS_ONLY_OF_TABLES if self.kind == "TABLE" else ()
        for statement in (*OWNERS_ONLY, *of_tables):
            yield statement, statement.format(kind=self.kind, thing=self.name)

    def declared(self, words: str) -> set[str]:
        """Give the rights that these words declare; who may update or delete may lock too."""
        single = set(words.split(", ")) if words else set()
        if "UPDATE" in single:
            single |= {f"UPDATE ({column})" for column in self.columns}
        locks = {"LOCK"} if single & {"UPDATE", "DELETE"} else set()
        return (single | locks) - {"UPDATE"}


@pytest.fixture
def booked(ledger: LedgerUnderTest) -> LedgerUnderTest:
    """Return a ledger with some events, written by the ledger's writer."""

    async def book() -> None:
        async with ledger.desk() as desk:
            for command in (define_group(), open_account(1001), deposit(100), reverse(3)):
                await desk.book(command)

    asyncio.run(book())
    return ledger


@contextmanager
def connected_as(ledger: LedgerUnderTest, role: str) -> Iterator[Connection[Any]]:
    """Connect in the ledger's schema by a login that is a member of one role."""
    with login(ledger.superuser, role) as url, psycopg.connect(url, autocommit=True) as connection:
        yield connection


def things(ledger: LedgerUnderTest) -> list[Thing]:
    """Give every table and view of the ledger; anything else that holds rows fails here."""
    found = ledger.rows(
        "SELECT c.relname, c.relkind::text, array_remove(array_agg(a.attname::text ORDER BY a.attnum), NULL)"
        " FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind NOT IN ('i', 'c', 't')"
        " GROUP BY 1, 2 ORDER BY 1"
    )
    return [Thing(*row) for row in found]


def tried(connection: Connection[Any], statement: str) -> str | None:
    """Try a statement, and undo it; give the code of its error."""
    undo = nullcontext() if statement in ALONE else connection.transaction(force_rollback=True)
    try:
        with undo:
            say(connection, statement)
    except psycopg.Error as error:
        return error.sqlstate
    return None


def may(connection: Connection[Any], statement: str) -> bool:
    """Tell whether a statement is allowed, whatever else may be wrong with it."""
    return tried(connection, statement) not in {REFUSED, *NEVER_OF_VIEWS}


def everything(ledger: LedgerUnderTest) -> list[tuple[object, ...]]:
    """Give the log with the definition of the whole schema: names, owners, rights, constraints, triggers."""
    return [row for query in EVERYTHING for row in ledger.rows(query)]


def test_every_table_view_and_function_is_decided_on(ledger: LedgerUnderTest) -> None:
    assert {thing.name for thing in things(ledger)} == {*schema.TABLES, *REPORTS, *PERSONAL_REPORTS}
    functions = "SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace"
    assert {name for (name,) in ledger.rows(functions)} == set(rights.FUNCTIONS)


@pytest.mark.parametrize("who", ROLES)
def test_a_role_may_do_what_is_declared_and_nothing_else(booked: LedgerUnderTest, who: str) -> None:
    role = ROLES[who](booked.schema)
    declared, before = rights.rights_of(booked.schema)[role], everything(booked)
    with connected_as(booked, role) as connection:
        for thing in things(booked):
            allowed = {right for right, statement in thing.tries() if may(connection, statement)}
            assert allowed == thing.declared(declared.get(thing.name, "")), thing.name
            if who == "the writer" and thing.name in LOG:
                assert allowed == LOG[thing.name]
    assert everything(booked) == before


@pytest.mark.parametrize(
    ("reader_of", "views"),
    [
        (roles.reader_of, ("accounts", "daily", "history", "ledger", "totals")),
        (
            roles.personal_reader_of,
            ("accounts", "daily", "history", "ledger", "personal_accounts", "personal_history", "totals"),
        ),
    ],
)
def test_a_reader_sees_its_reports_alone(
    booked: LedgerUnderTest, reader_of: Callable[[str], str], views: tuple[str, ...]
) -> None:
    with connected_as(booked, reader_of(booked.schema)) as connection:
        seen = [thing.name for thing in things(booked) if may(connection, f"TABLE {thing.name}")]
        assert seen == [f"report_{view}" for view in views]
        assert connection.execute("SELECT balance FROM report_accounts").fetchone() is not None
        assert not may(connection, "SELECT require(true, 'all is well')")


@pytest.mark.parametrize("who", ROLES)
def test_no_role_may_do_anything_beside_its_tables(booked: LedgerUnderTest, who: str) -> None:
    before = everything(booked)
    words = {
        "owner": schema.OWNER,
        "superuser": booked.value("SELECT quote_ident(current_user)"),
        "schema": booked.schema,
        "database": booked.value("SELECT quote_ident(current_database())"),
    }
    with connected_as(booked, ROLES[who](booked.schema)) as connection:
        found = {statement: tried(connection, statement.format(**words)) for statement in (*ANYWHERE, *ALONE)}
    assert found == dict.fromkeys((*ANYWHERE, *ALONE), REFUSED)
    assert everything(booked) == before


def test_nobody_sees_another_ledger(booked: LedgerUnderTest) -> None:
    other = f"{booked.name}_other"
    install.migrate(booked.database_url, other)
    names = [thing.name for thing in things(booked)]
    for role_of in ROLES.values():
        with connected_as(booked, role_of(booked.schema)) as connection:
            tables = [f"{schema.schema_of(other)}.{name}" for name in names]
            assert [table for table in tables if may(connection, f"SELECT FROM {table}")] == []
            assert not may(connection, f"SET ROLE {role_of(schema.schema_of(other))}")


def test_the_service_works_as_the_writer_whoever_logs_in(ledger: LedgerUnderTest) -> None:
    writer = schema.writer_of(ledger.schema)
    with psycopg.connect(ledger.service) as connection:
        found = connection.execute("SELECT current_user, current_schema()").fetchone()
        assert found == (writer, ledger.schema)
    owned = "SELECT count(*) FROM pg_class WHERE relowner = %s::regrole"
    assert ledger.value(owned, writer) == 0


def test_a_login_that_is_the_writer_gains_nothing_by_putting_the_role_off(ledger: LedgerUnderTest) -> None:
    with (
        login(ledger.superuser, schema.writer_of(ledger.schema)) as url,
        psycopg.connect(as_login(ledger.service, name_of(url)), autocommit=True) as connection,
    ):
        assert connection.execute("SELECT current_user").fetchone() == (schema.writer_of(ledger.schema),)
        for words in ("RESET ROLE", "SET ROLE NONE"):
            say(connection, words)
            assert may(connection, "INSERT INTO refusals DEFAULT VALUES")
            assert not may(connection, "DELETE FROM ledger_events")
            assert not may(connection, f"SET ROLE {schema.OWNER}")


def test_a_temporary_table_never_stands_in_the_place_of_the_ledgers(booked: LedgerUnderTest) -> None:
    with psycopg.connect(booked.service, autocommit=True) as connection:
        say(connection, "CREATE TEMPORARY TABLE ledger_events (notification_id bigint)")
        assert connection.execute("SELECT count(*) FROM ledger_events").fetchone() == (4,)


def test_what_surrounds_the_service_does_not_change_how_it_works(
    ledger: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    database = ledger.value("SELECT quote_ident(current_database())")
    ledger.rows(f"ALTER DATABASE {database} SET default_transaction_isolation = serializable")
    try:
        with psycopg.connect(ledger.service) as connection:
            settings = "SELECT current_setting('client_encoding'), current_setting('transaction_isolation')"
            assert connection.execute(settings).fetchone() == ("UTF8", "read committed")
    finally:
        ledger.rows(f"ALTER DATABASE {database} RESET default_transaction_isolation")


def test_what_must_hold_aborts_when_it_does_not(ledger: LedgerUnderTest) -> None:
    for holds in ("false", "NULL"):
        with pytest.raises(psycopg.DatabaseError, match="the sky fell") as caught:
            ledger.rows(f"SELECT require({holds}, 'the sky fell')")
        assert caught.value.sqlstate == "FL001"


WRONG = {
    "GRANT DELETE ON ledger_events TO {writer}": "{writer} may DELETE on ledger_events",
    "GRANT UPDATE (topic) ON ledger_events TO {writer}": "{writer} may UPDATE on ledger_events (topic)",
    "GRANT SELECT ON profiles TO PUBLIC": "{reader} may SELECT on profiles",
    "GRANT CREATE ON SCHEMA {schema} TO {writer}": "{writer} may CREATE on {schema}",
    "REVOKE INSERT ON history FROM {writer}": "{writer} may not INSERT on history",
    "ALTER TABLE ledger_events OWNER TO {writer}": "{schema}.ledger_events belongs to {writer}",
    "ALTER SCHEMA {schema} OWNER TO {superuser}": "{schema} belongs to {superuser}",
    "CREATE TABLE novel (x int)": "{schema}.novel belongs to {superuser}",
}
STRONG = {
    "GRANT {owner} TO {writer}": ("REVOKE {owner} FROM {writer}", "must be a member of no role"),
    "GRANT pg_write_all_data TO {writer}": ("REVOKE pg_write_all_data FROM {writer}", "a member of no role"),
    "ALTER ROLE {writer} SUPERUSER": ("ALTER ROLE {writer} NOSUPERUSER", "must not have SUPERUSER"),
    "ALTER ROLE {reader} LOGIN": ("ALTER ROLE {reader} NOLOGIN", "must not have LOGIN"),
}


def names(ledger: LedgerUnderTest) -> dict[str, str]:
    return {
        "owner": schema.OWNER,
        "schema": ledger.schema,
        "writer": schema.writer_of(ledger.schema),
        "reader": roles.reader_of(ledger.schema),
        "superuser": ledger.value("SELECT current_user"),
    }


@pytest.mark.parametrize("done", WRONG)
def test_wrong_rights_are_noticed_and_migrate_puts_them_right(ledger: LedgerUnderTest, done: str) -> None:
    words = names(ledger)
    ledger.rows(done.format(**words))
    with ledger.connect() as connection:
        with pytest.raises(RightsWrong, match="run `fundledger migrate`") as caught:
            rights.check(connection, ledger.schema)
        assert WRONG[done].format(**words) in str(caught.value)
        assert install.migrate(ledger.database_url, ledger.name) in ([], [install.ROLES])
        rights.check(connection, ledger.schema)


@pytest.mark.parametrize("done", STRONG)
def test_a_role_that_has_become_too_strong_is_noticed(ledger: LedgerUnderTest, done: str) -> None:
    undone, said = (text.format(**names(ledger)) for text in STRONG[done])
    ledger.rows(done.format(**names(ledger)))
    try:
        with ledger.connect() as connection, pytest.raises(RightsWrong, match=said) as caught:
            rights.check(connection, ledger.schema)
        assert f"say {undone}" in str(caught.value)
        with pytest.raises(RightsWrong, match=said):
            install.migrate(ledger.database_url, ledger.name)
    finally:
        ledger.rows(undone)
    install.migrate(ledger.database_url, ledger.name)


def test_who_is_no_migrator_is_told_what_is_missing(ledger: LedgerUnderTest) -> None:
    """What the refusal says to say is said, and then it works."""
    with login(ledger.database_url) as url:
        with pytest.raises(RightsMissing, match=f"GRANT {schema.OWNER} TO {name_of(url)}") as caught:
            install.migrate(url, ledger.name)
        ledger.rows(str(caught.value).rpartition(" say ")[2])
        assert install.migrate(url, ledger.name) == []
        with pytest.raises(RightsMissing, match="may not make roles") as caught:
            install.migrate(url, f"{ledger.name}_new")
        ledger.rows(str(caught.value).rpartition(" say ")[2])
        assert install.migrate(url, f"{ledger.name}_new")[0] == "0001_log.sql"
