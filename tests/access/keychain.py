"""Keys of any scopes and in any state, made as the command line makes them but for their roles."""

from __future__ import annotations

import asyncio
import zlib
from datetime import datetime
from typing import Any

import msgspec

from api.cli.where import book
from api.clocks import real_now
from api.keys import Key, NewKey, make_key
from api.scopes import SCOPES
from ledger.commands import Access, CreateKey, Request, RevokeKey


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a key is to be."""

    scopes: tuple[str, ...] = SCOPES
    groups: str = "*"
    logins: tuple[int, ...] | None = None
    expires_at: datetime | None = None
    revoked: bool = False
    name: str = "a key"


def make_keys(database_url: str, *wanted: Wanted, ledger: str = "main") -> list[str]:
    """Make keys; give their texts."""
    texts, requests = [], []
    for want in wanted:
        key = make_key(ledger)
        texts.append(key.text)
        requests.append(Request(command=_creating(want, key), request_id=f"~key/{key.key_id}"))
        if want.revoked:
            command = RevokeKey(key=key.key_id, revoked_at=real_now())
            requests.append(Request(command=command, request_id=f"~revoke/{key.key_id}"))
    asyncio.run(book(database_url, ledger, requests))
    return texts


def make_a_key(database_url: str, *scopes: str, ledger: str = "main", **wanted: Any) -> str:
    """Make one key, with these scopes or with all."""
    [text] = make_keys(database_url, Wanted(scopes=scopes or SCOPES, **wanted), ledger=ledger)
    return text


def written(key_id: str, secret: str) -> str:
    """Write a key whose check is right, whether it exists or not."""
    return f"fl_{key_id}_{secret}{zlib.crc32(f'{key_id}_{secret}'.encode()):08x}"


def stored(key: NewKey) -> Key:
    """Give a key that lives and may do nothing, as a database would hold it."""
    return Key(
        key_id=key.key_id,
        name="a key",
        scopes=frozenset(),
        access=Access(),
        secret_hash=key.secret_hash,
        expires_at=None,
        revoked_at=None,
    )


def parts(key: str) -> tuple[str, str]:
    """Give a key's id and its secret."""
    _, key_id, rest = key.split("_", 2)
    return key_id, rest[:-8]


def _creating(want: Wanted, key: Any) -> CreateKey:
    return CreateKey(
        key=key.key_id,
        name=want.name,
        role="admin",
        scopes=want.scopes,
        groups=want.groups,
        secret_hash=key.secret_hash,
        logins=want.logins,
        expires_at=want.expires_at,
    )
