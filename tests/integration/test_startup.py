"""A ledger is not opened where money could be lost or booked wrongly: a sentence says what to put right."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from api import startup
from api.embedded import EmbeddedPostgres
from api.embedded.account import account_for
from api.embedded.launcher import launcher_for
from projections import install
from tests.logins import say
from tests.service import BOUND_S, Ran, Service, run, scratch_directory, within

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.drive import LedgerUnderTest


class Server:
    """A PostgreSQL with an empty ledger, started with whatever settings a test asks for."""

    def __init__(self, scratch: Path) -> None:
        self._data = scratch / "data"
        embedded = EmbeddedPostgres(self._data, shared_buffers="16MB")
        with embedded.session() as self.url:
            install.migrate(self.url, "main")
        self._files = self._data / "postgres"
        self._launcher = launcher_for(account_for(self._files), self._data)
        self.log = scratch / "log"

    @contextmanager
    def running(self, **settings: str) -> Iterator[Service]:
        """Run it; lend what commands need of it."""
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            process = self._launcher.spawn("postgres", "-D", self._seen, *flags, log=log)
        try:
            within(BOUND_S, self._answers)
            yield Service(("--database-url", self.url), self.log)
        finally:
            process.terminate()
            process.wait(BOUND_S)

    def checksums(self, word: str) -> None:
        """Enable or disable checksums."""
        self._launcher.run("pg_checksums", "-D", self._seen, f"--{word}", "--no-sync")

    @contextmanager
    def as_standby(self) -> Iterator[None]:
        """Let it follow a primary that is not there."""
        sign = self._files / "standby.signal"
        sign.touch()
        yield
        sign.unlink()

    @property
    def _seen(self) -> str:
        return str(self._launcher.seen(self._files))

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with scratch_directory() as scratch:
        yield Server(scratch)


def refused(done: Ran, words: str) -> None:
    """Hold a refusal against the promise: one sentence, exit code 1."""
    assert (done.code, done.output) == (1, "")
    assert done.errors.startswith("fundledger: ")
    assert words in done.errors
    assert done.errors.count("\n") == 1


def booking(service: Service) -> Ran:
    """Run a command that opens the ledger and books."""
    return service.command("keys", "create", "--role", "admin", "--name", "me")


UNSAFE = {
    "fsync": "fsync = off: ALTER SYSTEM SET fsync = on",
    "full_page_writes": "full_page_writes = off: ALTER SYSTEM SET full_page_writes = on",
    "synchronous_commit": "synchronous_commit = off: commits must be safe",
}


@pytest.mark.parametrize("setting", UNSAFE)
def test_a_server_that_could_lose_what_it_confirmed_is_refused(server: Server, setting: str) -> None:
    with server.running(**{setting: "off"}) as service:
        refused(booking(service), UNSAFE[setting])


def test_the_service_does_not_start_on_such_a_server(server: Server) -> None:
    with server.running(fsync="off"):
        refused(run("serve", "--port", "0", "--database-url", server.url), UNSAFE["fsync"])


def test_a_server_without_checksums_is_refused(server: Server) -> None:
    server.checksums("disable")
    try:
        with server.running() as service:
            refused(booking(service), "data_checksums = off: stop it and run `pg_checksums --enable`")
    finally:
        server.checksums("enable")
    with server.running() as service:
        assert booking(service).code == 0


def test_a_standby_is_refused(server: Server) -> None:
    with server.as_standby(), server.running() as service:
        refused(booking(service), "PostgreSQL is a standby: give the address of its primary")
        refused(service.command("migrate"), "PostgreSQL is a standby")


def test_a_database_that_takes_no_writes_is_refused(server: Server) -> None:
    with server.running(default_transaction_read_only="on") as service:
        refused(booking(service), "the database takes no writes")


def test_a_database_in_another_encoding_is_refused(server_url: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        words = "TEMPLATE template0 ENCODING LATIN1 LOCALE_PROVIDER libc LOCALE 'C'"
        say(connection, f"CREATE DATABASE latin {words}")
        try:
            latin = Service(("--database-url", make_conninfo(server_url, dbname="latin")), Path())
            refused(latin.command("migrate"), "the database is in LATIN1: make one with ENCODING UTF8")
        finally:
            say(connection, "DROP DATABASE latin")


def test_a_version_that_nobody_tried_is_refused(
    ledger: LedgerUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "VERSIONS", range(90, 92))
    refused(booking(of(ledger)), "; it must be 90 to 91")


SCHEMAS = {
    "INSERT INTO migrations (name, digest) VALUES ('0099_later.sql', '')": "does not know 0099_later.sql",
    "INSERT INTO migrations (name, digest) VALUES ('event later', '')": "does not know event later",
    "DELETE FROM migrations WHERE name = '1001_refusals.sql'": "lacks 1001_refusals.sql; run `fundledger",
    "ALTER SCHEMA {schema} OWNER TO {schema}_writer": "{schema} belongs to {schema}_writer",
    "ALTER TABLE ledger_events OWNER TO {schema}_writer": "ledger_events belongs to {schema}_writer",
    "GRANT UPDATE ON ledger_events TO PUBLIC": "{schema}_writer may UPDATE on ledger_events: run",
    "GRANT {owner} TO {schema}_writer": "say REVOKE {owner} FROM {schema}_writer",
    "REVOKE SELECT ON accounts FROM {schema}_writer": "{schema}_writer may not SELECT on accounts",
}


@pytest.mark.parametrize("done", SCHEMAS)
def test_a_schema_that_is_not_as_it_should_be_is_refused(ledger: LedgerUnderTest, done: str) -> None:
    words = {"schema": ledger.schema, "owner": "fundledger_owner"}
    ledger.rows(done.format(**words))
    try:
        refused(booking(of(ledger)), SCHEMAS[done].format(**words))
    finally:  # roles outlive the ledger
        ledger.rows("REVOKE {owner} FROM {schema}_writer".format(**words))


def of(ledger: LedgerUnderTest) -> Service:
    """Give commands on a ledger."""
    return Service(("--database-url", ledger.database_url), Path(), ledger=ledger.name)
