"""What tests stand on: one PostgreSQL a session, one database a module, one empty ledger a test."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import settings
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from api.embedded import EmbeddedPostgres
from bench.process import ToldToEnd, end_when_told, family
from projections import install
from tests.drive import LedgerUnderTest
from tests.service import day_lasts, scratch_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from execnet import Channel

_numbers = count(1)
_workers: list[Channel] = []
_LEDGER = f"test_{os.getpid()}_"
"""Begins the names of ledgers; their roles are the whole server's, which others may test on too."""

settings.register_profile("fundledger", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("fundledger")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take a server to test on."""
    parser.addoption(
        "--database-url",
        help="superuser URL of a PostgreSQL 15 to 18 to test on; without it the embedded one is started",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Forget the settings of whoever runs the tests; end in order when told to."""
    end_when_told()
    for name in [name for name in os.environ if name.startswith("FUNDLEDGER_")]:
        del os.environ[name]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodeready(node: Any) -> None:
    """Know those who test for us, if we share the work out."""
    _workers.append(node.channel)


def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Tell them, too, and let them end what they have begun: they are killed ten seconds after this."""
    if _workers and excinfo.errisinstance(ToldToEnd):
        for worker in family(os.getpid())[1:]:
            os.kill(worker, signal.SIGTERM)
        for channel in _workers:
            with suppress(EOFError, channel.RemoteError):
                channel.waitclose()


@pytest.fixture(autouse=True)
def same_day() -> None:
    """Let a test that might see its day end begin on the next one: many compare what belongs to a day."""
    day_lasts(timedelta(seconds=20))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Yield a new directory that an embedded PostgreSQL can live in."""
    with scratch_directory() as directory:
        yield directory


@pytest.fixture(scope="session")
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the superuser's URL of the server that the session tests on."""
    given = request.config.getoption("--database-url")
    if given is not None:
        yield str(given)
        return
    with scratch_directory() as directory:
        server = EmbeddedPostgres(directory / "data", shared_buffers="32MB")
        try:
            server.start()
            yield server.url(dbname="postgres")
        finally:
            server.stop()


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """Yield the name of a database in which the ledger `main` is migrated, and empty."""
    with _database(server_url) as (name, url):
        install.migrate(url, "main")
        yield name
    _drop_roles(server_url)


@pytest.fixture(scope="module")
def database_url(server_url: str, template: str) -> Iterator[str]:
    """Yield the superuser's URL of a database of the module's own, with an empty ledger `main`."""
    with _database(server_url, template=template) as (_, url):
        install.migrate(url, "main")  # rights in a database are not copied with it
        yield url


@pytest.fixture
def ledger(database_url: str) -> LedgerUnderTest:
    """Return a new, empty ledger of the test's own in the module's database."""
    name = f"{_LEDGER}{next(_numbers)}"
    install.migrate(database_url, name)
    return LedgerUnderTest(database_url, name)


def _drop_roles(server_url: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        found = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s)"
        for (role,) in connection.execute(found, [f"ledger_{_LEDGER}"]).fetchall():
            connection.execute(SQL("DROP ROLE {}").format(Identifier(role)))


class _database:  # noqa: N801 - used as a function
    def __init__(self, server_url: str, *, template: str = "template0") -> None:
        self._server_url = server_url
        self._template = template
        self._name = f"fundledger_test_{os.getpid()}_{next(_numbers)}"

    def __enter__(self) -> tuple[str, str]:
        self._execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(self._here, Identifier(self._template)))
        return self._name, make_conninfo(self._server_url, dbname=self._name)

    def __exit__(self, *_: object) -> None:
        self._execute(SQL("DROP DATABASE {} WITH (FORCE)").format(self._here))

    @property
    def _here(self) -> Identifier:
        return Identifier(self._name)

    def _execute(self, statement: psycopg.sql.Composed) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(statement)
