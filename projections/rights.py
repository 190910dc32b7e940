"""What each role may do in a ledger's schema: declared, given, and compared with what PostgreSQL says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from psycopg import Connection
from psycopg.sql import SQL, Composable, Identifier

from projections.obstacles import RightsWrong
from projections.reports import PERSONAL_REPORTS, REPORTS
from projections.roles import (
    OLD_SERVICE,
    exists,
    not_owned,
    personal_reader_of,
    reader_of,
    roles_of,
)
from projections.schema import OWNER, TABLES, writer_of
from projections.sql import sql

FUNCTIONS = {"require": "EXECUTE"}
"""What the writer may do with a function; the readers may call none."""

FAULTS_MAX = 5
"""How many faults one sentence names."""

Right = tuple[str, str, str]
"""A role, what it may do, and what it may do it with: an object, or `table (column)`."""


def rights_of(schema: str) -> dict[str, dict[str, str]]:
    """Give each role's rights in a ledger's schema, as `GRANT` takes them, by object."""
    here = {schema: "USAGE"}
    reports = dict.fromkeys(REPORTS, "SELECT")
    return {
        writer_of(schema): here | TABLES | FUNCTIONS,
        reader_of(schema): here | reports,
        personal_reader_of(schema): here | reports | dict.fromkeys(PERSONAL_REPORTS, "SELECT"),
    }


def grant(connection: Connection[Any], schema: str) -> None:
    """As the owner: give each role its rights in the schema, and nobody anything else."""
    old = [OLD_SERVICE] if exists(connection, OLD_SERVICE) else []
    statements = list(_revoking(schema, [*roles_of(schema), *old]))
    for role, rights in rights_of(schema).items():
        statements += [_granting(schema, role, thing, right) for thing, right in rights.items()]
    connection.execute(SQL("; ").join(statements))


def check(connection: Connection[Any], schema: str) -> None:
    """Raise RightsWrong where a role may do other things than it should; every login can ask this."""
    if found := faults(connection, schema):
        raise RightsWrong("; ".join(found[:FAULTS_MAX]))


def faults(connection: Connection[Any], schema: str) -> list[str]:
    """Say what is wrong with owners, roles and rights."""
    return [
        *_strong_roles(connection, roles_of(schema)),
        *(f"{thing} belongs to {owner}: {_MIGRATE}" for _, thing, owner in not_owned(connection, schema)),
        *_wrong_rights(connection, schema),
    ]


def wanted_rights(schema: str) -> set[Right]:
    """Give the rights of all roles one by one."""
    return {
        (role, right, thing)
        for role, rights in rights_of(schema).items()
        for name, words in rights.items()
        for right, thing in _single(name, words)
    }


def _revoking(schema: str, roles: Iterable[str]) -> Iterator[Composable]:
    here = Identifier(schema)
    others = SQL(", ").join([SQL("PUBLIC"), *map(Identifier, roles)])
    yield SQL("REVOKE ALL ON SCHEMA {} FROM {}").format(here, others)
    yield SQL("REVOKE ALL ON ALL TABLES IN SCHEMA {} FROM {}").format(here, others)
    yield SQL("REVOKE ALL ON ALL ROUTINES IN SCHEMA {} FROM {}").format(here, others)


def _granting(schema: str, role: str, thing: str, rights: str) -> Composable:
    kind = "SCHEMA" if thing == schema else "FUNCTION" if thing in FUNCTIONS else "TABLE"
    on = Identifier(schema) if thing == schema else Identifier(schema, thing)
    return SQL("GRANT {} ON {} {} TO {}").format(SQL(rights), SQL(kind), on, Identifier(role))


def _single(name: str, words: str) -> Iterator[tuple[str, str]]:
    """Take `INSERT, UPDATE (version)` on a table apart."""
    for word in words.split(", "):
        right, _, column = word.partition(" ")
        yield right, f"{name} {column}" if column else name


def _wrong_rights(connection: Connection[Any], schema: str) -> Iterator[str]:
    asked = {"roles": roles_of(schema), "schema": schema}
    found = {tuple(row) for row in connection.execute(sql("rights").encode(), asked)}
    wanted = wanted_rights(schema)
    for words, rights in (("may", found - wanted), ("may not", wanted - found)):
        yield from (f"{role} {words} {right} on {thing}: {_MIGRATE}" for role, right, thing in sorted(rights))


def _strong_roles(connection: Connection[Any], roles: list[str]) -> Iterator[str]:
    for role, group in connection.execute(_MEMBERSHIPS, [roles]).fetchall():
        yield f"{role} must be a member of no role: say REVOKE {group} FROM {role}"
    for role, attribute in connection.execute(_ATTRIBUTES, [[OWNER, *roles]]).fetchall():
        yield f"{role} must not have {attribute}: say ALTER ROLE {role} NO{attribute}"


_MIGRATE = "run `fundledger migrate`"
_MEMBERSHIPS = """
SELECT pg_get_userbyid(member), pg_get_userbyid(roleid) FROM pg_auth_members
WHERE pg_get_userbyid(member) = ANY(%s) ORDER BY 1, 2
"""
_ATTRIBUTES = """
SELECT r.rolname, has.attribute FROM pg_roles r CROSS JOIN LATERAL (
    VALUES ('SUPERUSER', rolsuper), ('CREATEROLE', rolcreaterole), ('CREATEDB', rolcreatedb),
        ('REPLICATION', rolreplication), ('BYPASSRLS', rolbypassrls), ('LOGIN', rolcanlogin)
) AS has (attribute, really) WHERE r.rolname = ANY(%s) AND has.really ORDER BY 1, 2
"""
