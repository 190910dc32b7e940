"""`fundledger keys`: make, list, revoke and rotate keys, also while the service runs."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from datetime import datetime, timedelta
from typing import Any

import psycopg

from api import startup
from api.cli.where import book, database_url
from api.clocks import real_now
from api.keys import NewKey, make_key
from api.scopes import ROLES
from ledger.commands import CreateKey, Request, RevokeKey
from ledger.masks import parse_mask
from ledger.money import parse_amount_text
from ledger.refusals import NotFound, ValidationError
from projections import keys as rows_of_keys
from projections import schema

NAME_MAX = 128


def create(arguments: Namespace) -> int:
    """Make a key; its text is the last line of standard output, and is shown nowhere again."""
    if arguments.role == "user" and arguments.logins is None:
        raise ValidationError("logins_needed", "a user's key needs --logins", field="logins")
    key = make_key(arguments.settings.ledger)
    command = CreateKey(
        key=key.key_id,
        name=_name(arguments.name),
        role=arguments.role,
        scopes=ROLES[arguments.role],
        groups=_groups(arguments.groups),
        secret_hash=key.secret_hash,
        logins=arguments.logins,
        amount_max=_limit(arguments.max_amount, field="max-amount"),
        amount_day_max=_limit(arguments.max_amount_day, field="max-amount-day"),
        expires_at=arguments.expires,
    )
    with database_url(arguments.settings) as url:
        _book(url, arguments.settings.ledger, [(f"~key/{key.key_id}", command)])
    return _show_once(key)


def show(arguments: Namespace) -> int:
    """List the keys without their secrets."""
    with database_url(arguments.settings) as url, _connect(url, arguments.settings.ledger) as connection:
        rows = rows_of_keys.listed(connection)
    for key_id, name, role, groups, only, amount_max, amount_day_max, expires_at, revoked_at in rows:
        reach = groups if only is None else f"{groups} {','.join(map(str, only))}"
        limits = f"{amount_max or '-'}/{amount_day_max or '-'}"
        print("\t".join([key_id, role, name, reach, limits, _state(expires_at, revoked_at)]))
    return 0


def revoke(arguments: Namespace) -> int:
    """Kill a key; every process knows within a second."""
    command = RevokeKey(key=arguments.key, revoked_at=real_now())
    with database_url(arguments.settings) as url:
        with _connect(url, arguments.settings.ledger) as connection:
            _living(connection, arguments.key)
        _book(url, arguments.settings.ledger, [(f"~revoke/{arguments.key}", command)])
    print(f"revoked {arguments.key}")
    return 0


def rotate(arguments: Namespace) -> int:
    """Make a successor that may do the same, and end the key now or after an overlap."""
    key = make_key(arguments.settings.ledger)
    ends = real_now() + timedelta(seconds=arguments.overlap)
    with database_url(arguments.settings) as url:
        with _connect(url, arguments.settings.ledger) as connection:
            row = _living(connection, arguments.key)
        steps: list[tuple[str, CreateKey | RevokeKey]] = [
            (f"~key/{key.key_id}", _successor(key, row, replaces=arguments.key)),
            (f"~rotate/{arguments.key}/{key.key_id}", RevokeKey(key=arguments.key, revoked_at=ends)),
        ]
        _book(url, arguments.settings.ledger, steps)
    return _show_once(key)


def _living(connection: psycopg.Connection[Any], key_id: str) -> tuple[Any, ...]:
    row = rows_of_keys.living(connection, key_id, real_now())
    if row is None:
        raise NotFound("unknown_key", f"there is no living key {key_id}")
    return row


def _successor(key: NewKey, row: tuple[Any, ...], *, replaces: str) -> CreateKey:
    name, role, scopes, groups, only, amount_max, amount_day_max, expires_at = row
    return CreateKey(
        key=key.key_id,
        name=name,
        role=role,
        scopes=tuple(scopes),
        groups=groups,
        secret_hash=key.secret_hash,
        logins=None if only is None else tuple(only),
        amount_max=amount_max,
        amount_day_max=amount_day_max,
        expires_at=expires_at,
        replaces=replaces,
    )


def _book(url: str, ledger: str, steps: list[tuple[str, CreateKey | RevokeKey]]) -> None:
    requests = [Request(command=command, request_id=request_id) for request_id, command in steps]
    asyncio.run(book(url, ledger, requests))


def _connect(url: str, ledger: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(schema.conninfo_of(url, ledger))
    try:
        startup.check(connection, ledger)
    except BaseException:
        connection.close()
        raise
    return connection


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable() or len(text) > NAME_MAX:
        raise ValidationError(
            "bad_name", f"a key's name has 1..{NAME_MAX} printable characters", field="name"
        )
    return text


def _groups(text: str) -> str:
    mask = parse_mask(text, field="groups")
    if not mask.included.names and not mask.included.globs:
        raise ValidationError("bad_mask", "a mask without a positive item reaches nothing", field="groups")
    return mask.text


def _limit(text: str | None, *, field: str) -> str | None:
    if text is None:
        return None
    amount = parse_amount_text(text, field=field)
    if not amount.positive:
        raise ValidationError("amount_not_positive", f"--{field} must be above zero", field=field)
    return text


def _state(expires_at: datetime | None, revoked_at: datetime | None) -> str:
    now = real_now()
    if revoked_at is not None:
        return f"revoked {revoked_at.isoformat()}" if revoked_at <= now else f"ends {revoked_at.isoformat()}"
    if expires_at is not None:
        return f"{'expired' if expires_at <= now else 'expires'} {expires_at.isoformat()}"
    return "living"


def _show_once(key: NewKey) -> int:
    print(f"key {key.key_id}; its text is shown only now:")
    print(key.text)
    return 0
