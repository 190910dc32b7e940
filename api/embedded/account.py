"""The system account that the server runs as: ours, or an unprivileged one when we are root."""

from __future__ import annotations

import logging
import os
import pwd
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from api.embedded.errors import NoAccount, WrongOwner

SYSTEM_ACCOUNT = "fundledger"
"""Made when root first starts a server: two services sharing `nobody` could read each other's money."""

_log = logging.getLogger("fundledger.embedded")


@dataclass(frozen=True)
class Account:
    """A system account by number; `name` is for messages."""

    uid: int
    gid: int
    name: str

    @property
    def is_ours(self) -> bool:
        """Say whether we already are this account."""
        return self.uid == os.geteuid()


def account_for(cluster: Path) -> Account:
    """Choose the account: whoever owns the files already, else ourselves, else the system account."""
    if cluster.exists():
        return _owner(cluster)
    if os.geteuid() != 0:
        return _by_uid(os.geteuid(), os.getegid())
    return _system_account()


def _owner(cluster: Path) -> Account:
    status = cluster.stat()
    owner = _by_uid(status.st_uid, status.st_gid)
    if owner.uid == 0 or os.geteuid() not in {0, owner.uid}:
        raise WrongOwner(cluster, owner.name)
    return owner


def _by_uid(uid: int, gid: int) -> Account:
    try:
        return Account(uid, gid, pwd.getpwuid(uid).pw_name)
    except KeyError:
        return Account(uid, gid, f"user {uid}")


def _system_account() -> Account:
    with suppress(KeyError):
        return _by_name(SYSTEM_ACCOUNT)
    _make_system_account()
    return _by_name(SYSTEM_ACCOUNT)


def _by_name(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(entry.pw_uid, entry.pw_gid, name)


def _make_system_account() -> None:
    _log.warning("PostgreSQL refuses to run as root: making the system account %r for it", SYSTEM_ACCOUNT)
    options = ("--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent")
    command = ("useradd", *options, "--shell", "/usr/sbin/nologin", SYSTEM_ACCOUNT)
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NoAccount(SYSTEM_ACCOUNT, "no useradd") from error
    except subprocess.CalledProcessError as error:
        if error.returncode != _USERADD_NAME_TAKEN:  # another process was first
            raise NoAccount(SYSTEM_ACCOUNT, error.stderr.strip()) from error


_USERADD_NAME_TAKEN = 9
