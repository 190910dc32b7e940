"""Logins of PostgreSQL for tests: made as an administrator would, and gone afterwards."""

from __future__ import annotations

import os
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "only-in-tests"
_numbers = count(1)


@contextmanager
def login(url: str, *members_of: str, attributes: str = "") -> Iterator[str]:
    """Lend the URL of a new login that is a member of some roles, in the database of a superuser's URL."""
    name = f"test_login_{os.getpid()}_{next(_numbers)}"  # roles are the whole server's
    with psycopg.connect(url, autocommit=True) as administrator:
        say(administrator, f"DROP ROLE IF EXISTS {name}")
        say(administrator, f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' {attributes}")
        for role in members_of:
            administrator.execute(SQL("GRANT {} TO {}").format(Identifier(role), Identifier(name)))
    try:
        yield as_login(url, name)
    finally:
        with psycopg.connect(url, autocommit=True) as administrator:
            say(administrator, f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}")
            say(administrator, f"DROP ROLE {name}")


def as_login(url: str, name: str) -> str:
    """Give the URL by which a login reaches the same database."""
    return make_conninfo(url, user=name, password=PASSWORD)


def name_of(url: str) -> str:
    """Name the login of a URL."""
    return str(psycopg.conninfo.conninfo_to_dict(url)["user"])


def say(connection: psycopg.Connection[Any], statements: str) -> None:
    """Run statements of a test's own."""
    connection.execute(statements.encode())
