"""The data directory: what lies where in it, how it is made, and the settings that the server runs with."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from api.embedded.account import Account
from api.embedded.errors import EmbeddedPostgresError, NotADataDirectory, WrongVersion
from api.embedded.launcher import MAJOR_VERSION, Launcher

SUPERUSER = "postgres"
PORT = 5432
"""Names the socket file only; there is no TCP port."""

_SETTINGS_FILE = "fundledger.conf"
_SOCKET_PATH_BYTES_MAX = 107
_OF_SEALS = ("seal-key.pem", "sealed-")
"""What api/seal_key.py keeps here; brought along where PostgreSQL's files are made anew."""

_LOG_BYTES_MAX = 16 * 2**20
_GIB = 2**30


@dataclass(frozen=True)
class Cluster:
    """Where everything lies, given the data directory."""

    data: Path

    @property
    def files(self) -> Path:
        """PostgreSQL's own files (PGDATA)."""
        return self.data / "postgres"

    @property
    def fresh(self) -> Path:
        """PostgreSQL's files while they are being made; left over when that was cut short."""
        return self.data / "postgres.new"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.data / "postgres.log"

    @property
    def old_log(self) -> Path:
        """What it said before the log grew too long."""
        return self.data / "postgres.log.1"

    @property
    def service_lock(self) -> Path:
        """Held by the one service on this directory."""
        return self.data / "service.lock"

    @property
    def server_lock(self) -> Path:
        """Shared by all who use the server; exclusive for who starts or stops it."""
        return self.data / "postgres.lock"

    @property
    def pid_file(self) -> Path:
        """Written by the server; tells its process and whether it is ready."""
        return self.files / "postmaster.pid"

    @property
    def socket_lock(self) -> Path:
        """Written by the server beside its socket; tells its process too."""
        return self.sockets / f".s.PGSQL.{PORT}.lock"

    @property
    def name(self) -> str:
        """The server's name in process titles, by which its processes are told from other servers'."""
        return f"fundledger-{hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]}"

    @property
    def sockets(self) -> Path:
        """The data directory itself, or a short private one when its path is too long for a socket."""
        path = os.fsencode(self.data / f".s.PGSQL.{PORT}")
        return self.data if len(path) <= _SOCKET_PATH_BYTES_MAX else Path("/tmp", self.name)  # noqa: S108 - 0700, checked


def prepare(cluster: Cluster, account: Account) -> None:
    """Make the data directory, or check that an existing one is ours, and the files that we keep in it."""
    cluster.data.mkdir(parents=True, exist_ok=True)
    if not cluster.files.exists():
        _refuse_foreign(cluster)
        _make_private(cluster.data, account)
    for path in (cluster.service_lock, cluster.server_lock, cluster.log):
        _touch(path, account)


def initialise(cluster: Cluster, launcher: Launcher) -> None:
    """Make PostgreSQL's files, whole or not at all."""
    if cluster.files.exists():
        _check_version(cluster)
        return
    shutil.rmtree(cluster.fresh, ignore_errors=True)
    launcher.run("initdb", f"--pgdata={launcher.seen(cluster.fresh)}", *INITDB_OPTIONS)
    with (cluster.fresh / "postgresql.conf").open("a", encoding="utf-8") as settings:
        settings.write(
            f"\ninclude = '{_SETTINGS_FILE}'  # written anew at each start; ALTER SYSTEM wins over it\n"
        )
    cluster.fresh.rename(cluster.files)
    _sync_directory(cluster.data)


def write_settings(cluster: Cluster, launcher: Launcher, *, shared_buffers: str | None) -> None:
    """Write the settings that the next start reads."""
    _make_socket_directory(cluster, launcher.account)
    settings = SETTINGS | {
        "shared_buffers": shared_buffers or _shared_buffers(),
        "unix_socket_directories": str(launcher.seen(cluster.sockets)),
    }
    lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
    path = cluster.files / _SETTINGS_FILE
    path.write_text(f"# Written by fundledger at each start.\n{lines}", encoding="utf-8")
    os.chown(path, launcher.account.uid, launcher.account.gid)


def trim_log(cluster: Cluster, account: Account) -> None:
    """Put a log that has grown long aside, in the place of the one before."""
    if cluster.log.stat().st_size > _LOG_BYTES_MAX:
        cluster.log.rename(cluster.old_log)
        _touch(cluster.log, account)


# No one but the account itself (and root) can reach the socket, so local connections are trusted.
# Text sorts by code point with rules that no system library's update changes.
INITDB_OPTIONS = (
    f"--username={SUPERUSER}",
    "--auth-local=trust",
    "--auth-host=reject",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--data-checksums",
)

SETTINGS = {
    # Reached through the socket alone.
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    # Acknowledged means on disk.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # Zeroing each new WAL segment doubled the slowest writes.
    "wal_init_zero": "off",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    # What a killed client left running ends soon.
    "client_connection_check_interval": "10s",
    # A repeat of a request may run into a constraint: with its statement that is 3 kB of log, without 0.2.
    "log_min_error_statement": "panic",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}


def _refuse_foreign(cluster: Cluster) -> None:
    paths = (cluster.files, cluster.fresh, cluster.log, cluster.service_lock, cluster.server_lock)
    ours = {path.name for path in paths}
    for entry in cluster.data.iterdir():
        if entry.name not in ours and not entry.name.startswith(_OF_SEALS):
            raise NotADataDirectory(cluster.data, entry.name)


def _make_private(directory: Path, account: Account) -> None:
    os.chown(directory, account.uid, account.gid)
    directory.chmod(0o700)


def _touch(path: Path, account: Account) -> None:
    if not path.exists():
        path.touch(mode=0o600)
        os.chown(path, account.uid, account.gid)


def _check_version(cluster: Cluster) -> None:
    found = (cluster.files / "PG_VERSION").read_text(encoding="ascii").strip()
    if found != MAJOR_VERSION:
        raise WrongVersion(cluster.files, found=found, wanted=MAJOR_VERSION)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_socket_directory(cluster: Cluster, account: Account) -> None:
    directory = cluster.sockets
    if directory == cluster.data:
        return
    if not directory.exists():
        directory.mkdir(mode=0o700)
        os.chown(directory, account.uid, account.gid)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid or status.st_mode & 0o077:
        raise EmbeddedPostgresError(f"{directory} is not a private directory of {account.name}: remove it")


def _shared_buffers() -> str:
    return "1GB" if _memory_bytes() >= 4 * _GIB else "128MB"


def _memory_bytes() -> int:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="ascii").strip() if limit.exists() else "max"
    return machine if text == "max" else min(machine, int(text))
