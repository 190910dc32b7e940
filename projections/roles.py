"""Database roles: one that owns everything, and for each ledger one that writes and two that read.

Nobody logs in as them: logins are their members. A migrator may act as the owner. The service works as the
ledger's writer, which reaches that one schema. What each may do stands in projections.rights.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from projections.obstacles import RightsMissing
from projections.schema import LOCK_WAIT_MS, OWNER, SchemaOutdated, writer_of
from projections.sql import sql

OLD_SERVICE = "fundledger_service"
"""The one role of all ledgers' services, in databases of before there was a writer for each."""


def reader_of(schema: str) -> str:
    """Name the role that reads a ledger's reports, without what is personal."""
    return f"{schema}_reader"


def personal_reader_of(schema: str) -> str:
    """Name the role that reads all of a ledger's reports."""
    return f"{schema}_reader_personal"


def roles_of(schema: str) -> list[str]:
    """Name all roles of a ledger."""
    return [writer_of(schema), reader_of(schema), personal_reader_of(schema)]


def service_login_of(schema: str) -> str:
    """Name the login of the service on the embedded server."""
    return f"{schema}_service"


def prepare(connection: Connection[Any], schema: str) -> None:
    """Have the roles, let everything of the ledger belong to the owner, and act as the owner from here on."""
    _make_roles(connection, schema)
    _let_owner_create(connection)
    _take_over(connection, schema)
    _retire_old_service(connection, schema)
    become_owner(connection)


def become_owner(connection: Connection[Any]) -> None:
    """Act as the owner from here on, or say what the login or the owner lacks."""
    _check_may_act_as(connection, OWNER)
    _check_owner_creates(connection)
    connection.execute(SQL("SET ROLE {}").format(Identifier(OWNER)))


def become_writer(connection: Connection[Any], schema: str) -> None:
    """Act as the ledger's writer from here on, or say what the login lacks."""
    if not exists(connection, writer_of(schema)):
        raise SchemaOutdated(f"the ledger has no role {writer_of(schema)} yet")
    _check_may_act_as(connection, writer_of(schema))
    connection.execute(SQL("SET ROLE {}").format(Identifier(writer_of(schema))))


def become_reader(connection: Connection[Any], schema: str) -> None:
    """Act as whoever may read the log: the ledger's writer, or the owner where the login is a migrator."""
    migrates = exists(connection, OWNER) and may_act_as(connection, OWNER)
    if migrates:
        become_owner(connection)
    else:
        become_writer(connection, schema)


def make_service_login(connection: Connection[Any], schema: str) -> str:
    """As a superuser: have a login that is the ledger's writer and nothing else; give its name."""
    login, writer = service_login_of(schema), writer_of(schema)
    if not exists(connection, login):
        _create(connection, login, SQL("LOGIN"))
    member = connection.execute("SELECT pg_has_role(%s, %s, 'MEMBER')", [login, writer]).fetchone()
    if member != (True,):
        connection.execute(SQL("GRANT {} TO {}").format(Identifier(writer), Identifier(login)))
    return login


def may_act_as(connection: Connection[Any], role: str) -> bool:
    """Tell whether the login can become a role; a superuser can become any."""
    # From PostgreSQL 16 on a member may have been denied that.
    right = "SET" if connection.info.server_version >= 160000 else "MEMBER"
    found = connection.execute("SELECT pg_has_role(session_user, %s, %s)", [role, right]).fetchone()
    return found == (True,)


def exists(connection: Connection[Any], role: str) -> bool:
    """Tell whether there is such a role."""
    return role in _known(connection, [role])


def not_owned(connection: Connection[Any], schema: str) -> list[tuple[str, str, str]]:
    """Give what of a schema does not belong to the owner: kind, name, to whom it belongs."""
    return connection.execute(sql("not_owned").encode(), {"schema": schema, "owner": OWNER}).fetchall()


def _check_may_act_as(connection: Connection[Any], role: str) -> None:
    login = _login(connection)
    if not exists(connection, role):
        raise RightsMissing(f"the role {role} is not there: run `fundledger migrate` first")
    if not may_act_as(connection, role):
        raise RightsMissing(
            f"the login {login} may not act as {role}: as an administrator say GRANT {role} TO {login}"
        )


def _make_roles(connection: Connection[Any], schema: str) -> None:
    wanted = [OWNER, *roles_of(schema)]
    missing = [role for role in wanted if role not in _known(connection, wanted)]
    if OWNER not in missing:
        _check_may_act_as(connection, OWNER)
    for role in missing:
        try:
            _create(connection, role, SQL("NOLOGIN"))
        except psycopg.errors.InsufficientPrivilege as error:
            raise RightsMissing(_ask_for(_login(connection), missing)) from error
        # The same login may then migrate and serve; who wants them apart has two.
        if role in (OWNER, writer_of(schema)) and not may_act_as(connection, role):
            connection.execute(SQL("GRANT {} TO SESSION_USER").format(Identifier(role)))


def _ask_for(login: str, missing: list[str]) -> str:
    statements = "; ".join(f"CREATE ROLE {role} NOLOGIN" for role in missing)
    also = f"; GRANT {OWNER} TO {login}" if OWNER in missing else ""
    return f"the login {login} may not make roles: as an administrator say {statements}{also}"


def _create(connection: Connection[Any], role: str, kind: SQL) -> None:
    """Make a role, unless another database's migration was first: roles are the whole server's."""
    try:
        with connection.transaction():
            connection.execute(SQL("CREATE ROLE {} {}").format(Identifier(role), kind))
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        return


def _let_owner_create(connection: Connection[Any]) -> None:
    """Let the owner make schemas in this database: a ledger's, and the shadows of rebuilds."""
    [(database, able)] = connection.execute(_OWNER_CREATES, [OWNER]).fetchall()
    if not able:
        statement = SQL("GRANT CREATE ON DATABASE {} TO {}").format(SQL(database), Identifier(OWNER))
        with suppress(psycopg.errors.InsufficientPrivilege), connection.transaction():
            connection.execute(statement)


def _check_owner_creates(connection: Connection[Any]) -> None:
    [(database, able)] = connection.execute(_OWNER_CREATES, [OWNER]).fetchall()
    if not able:
        raise RightsMissing(
            f"{OWNER} may not make schemas in the database {database}:"
            f" as its owner say GRANT CREATE ON DATABASE {database} TO {OWNER}"
        )


def _take_over(connection: Connection[Any], schema: str) -> None:
    """Give the owner what belongs to somebody else: a database of before there was an owner."""
    login, found = _login(connection), not_owned(connection, schema)
    if found:
        connection.execute(SQL("SET LOCAL lock_timeout = {}").format(f"{LOCK_WAIT_MS}ms"))
    for kind, thing, owner in found:
        statement = SQL("ALTER {} {} OWNER TO {}").format(SQL(kind), SQL(thing), Identifier(OWNER))
        try:
            connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege as error:
            raise RightsMissing(
                f"{thing} belongs to {owner}, and the login {login} may not give it to {OWNER}:"
                f" migrate once as a superuser, or as a member of both that may create in the database"
            ) from error


def _retire_old_service(connection: Connection[Any], schema: str) -> None:
    """Let who could write by the old role write by the ledger's own."""
    writer = writer_of(schema)
    for (login,) in connection.execute(_OLD_MEMBERS, [OLD_SERVICE, schema, writer]).fetchall():
        connection.execute(SQL("GRANT {} TO {}").format(Identifier(writer), Identifier(login)))


def _known(connection: Connection[Any], roles: list[str]) -> set[str]:
    return {name for (name,) in connection.execute(_KNOWN, [roles]).fetchall()}


def _login(connection: Connection[Any]) -> str:
    [(login,)] = connection.execute("SELECT quote_ident(session_user)").fetchall()
    return str(login)


_KNOWN = "SELECT role FROM unnest(%s::text[]) AS role WHERE to_regrole(quote_ident(role)) IS NOT NULL"
_OWNER_CREATES = """
SELECT quote_ident(current_database()), has_database_privilege(%s, current_database(), 'CREATE')
"""
_OLD_MEMBERS = """
SELECT pg_get_userbyid(m.member) FROM pg_auth_members m JOIN pg_namespace n
    ON has_schema_privilege(m.roleid, n.oid, 'USAGE')
WHERE m.roleid = to_regrole(%s) AND n.nspname = %s AND NOT pg_has_role(m.member, %s, 'MEMBER')
"""
