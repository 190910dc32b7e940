"""The embedded PostgreSQL as the rest of the service sees it: start, stop, keep running, connect."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from api.embedded import cluster as clusters
from api.embedded import postmaster as postmasters
from api.embedded.account import account_for
from api.embedded.cluster import PORT, SUPERUSER, Cluster
from api.embedded.errors import CommandFailed, DataDirectoryInUse, NotReady, NotStarted
from api.embedded.launcher import Launcher, launcher_for
from api.embedded.locks import FileLock
from api.embedded.postmaster import Postmaster

_RECOVERY_SECONDS = 600.0
"""After a crash the server replays up to `max_wal_size` before it takes connections."""

_JOIN_SECONDS = 60.0
_ADOPT_SECONDS = 60.0
_POLL_SECONDS = 0.01
_LOG_TAIL_BYTES = 2000

_log = logging.getLogger("fundledger.embedded")


class EmbeddedPostgres:
    """The one server of a data directory.

    A service owns it: it starts it, restarts it when it dies, and stops it at its end. Commands use it
    beside the service, or, when none runs, start it for themselves; the last of them stops it.
    """

    def __init__(self, data: Path, *, shared_buffers: str | None = None) -> None:
        self._cluster = Cluster(Path(data).expanduser().resolve())
        self._shared_buffers = shared_buffers
        self._service_lock = FileLock(self._cluster.service_lock)
        self._server_lock = FileLock(self._cluster.server_lock)
        self._changing = threading.Lock()
        self._launcher: Launcher | None = None
        self._postmaster: Postmaster | None = None
        self._owner = False

    def start(self, *, owner: bool = True) -> None:
        """Have the server running, made first if need be: as its owner (one only), or beside others."""
        with self._changing:
            if self._launcher is not None:
                return
            try:
                self._prepare(owner=owner)
                self._join()
            except BaseException:
                self._leave()
                raise

    def stop(self) -> None:
        """Stop the server if it is ours to stop, cleanly; harmless when not started."""
        with self._changing:
            if self._postmaster is not None and (self._owner or self._is_last()):
                self._postmaster.stop()
            self._leave()

    @contextmanager
    def session(self, *, dbname: str = "fundledger") -> Iterator[str]:
        """Lend a command a database of the server, by URL: beside the service, or started for this alone."""
        self.start(owner=False)
        try:
            self.create_database_if_missing(dbname)
            yield self.url(dbname=dbname)
        finally:
            self.stop()

    def running(self) -> bool:
        """Say whether the server's process is there; cheap."""
        return self._postmaster is not None and self._postmaster.running()

    def ensure_running(self) -> bool:
        """Start the server again if it has died, and say whether it had; for its owner. Blocks meanwhile."""
        with self._changing:
            if not self._owner:
                raise NotStarted(self._cluster.data)
            if self.running():
                return False
            _log.warning("PostgreSQL in %s has died: starting it again", self._cluster.data)
            self._postmaster = self._launch()
            return True

    def url(self, *, dbname: str = "fundledger", user: str = SUPERUSER) -> str:
        """Return where to connect."""
        host = quote(str(self._cluster.sockets), safe="")
        return f"postgresql://{quote(user, safe='')}@/{quote(dbname, safe='')}?host={host}&port={PORT}"

    def create_database_if_missing(self, dbname: str = "fundledger") -> bool:
        """Create a database unless it is there; say whether it was created."""
        with self._connect() as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [dbname]).rowcount:
                return False
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(dbname)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):  # another was first
                return False
        return True

    def version(self) -> str:
        """Return the server's version, such as 18.4."""
        with self._connect() as connection:
            return str(connection.info.parameter_status("server_version"))

    @property
    def pid(self) -> int | None:
        """Return the server's process id while it runs."""
        return self._postmaster.pid if self._postmaster is not None and self._postmaster.running() else None

    def _prepare(self, *, owner: bool) -> None:
        account = account_for(self._cluster.files)
        clusters.prepare(self._cluster, account)
        if owner:
            self._claim()
        self._launcher = launcher_for(account, self._cluster.data)

    def _claim(self) -> None:
        if not self._service_lock.try_exclusive():
            raise DataDirectoryInUse(self._cluster.data, self._service_lock.signature())
        self._service_lock.sign()
        self._owner = True

    def _join(self) -> None:
        deadline = time.monotonic() + _JOIN_SECONDS
        while not (self._join_alone() if self._server_lock.try_exclusive() else self._join_others()):
            self._let_go()
            if time.monotonic() > deadline:
                raise NotReady(self._cluster.data, _JOIN_SECONDS)
            time.sleep(_POLL_SECONDS)

    def _join_alone(self) -> bool:
        self._postmaster = self._adopt() or self._launch()
        self._server_lock.share()
        # Between the two holds another process may have come, gone, and stopped the server as the last.
        return self._postmaster.running()

    def _join_others(self) -> bool:
        self._server_lock.share()  # waits while somebody starts or stops the server
        self._postmaster = postmasters.find(self._cluster)
        return self._postmaster is not None and postmasters.says_ready(self._cluster, self._postmaster.pid)

    def _adopt(self) -> Postmaster | None:
        """Take over a server whose service was killed; one that takes no connections is ended instead."""
        postmaster = postmasters.find(self._cluster)
        if postmaster is None:
            return None
        if self._await_ready(postmaster, _ADOPT_SECONDS) and self._disconnect_clients():
            _log.info(
                "PostgreSQL still runs in %s (process %d): using it", self._cluster.data, postmaster.pid
            )
            return postmaster
        postmaster.stop()
        return None

    def _launch(self) -> Postmaster:
        launcher = self._started_launcher()
        clusters.initialise(self._cluster, launcher)
        postmasters.clear_remains(self._cluster)
        clusters.write_settings(self._cluster, launcher, shared_buffers=self._shared_buffers)
        clusters.trim_log(self._cluster, launcher.account)
        postmaster = self._spawn(launcher)
        try:
            if self._await_ready(postmaster, _RECOVERY_SECONDS):
                return postmaster
            raise self._failure(postmaster)
        except BaseException:
            postmaster.stop()
            raise

    def _spawn(self, launcher: Launcher) -> Postmaster:
        files = str(launcher.seen(self._cluster.files))
        with self._cluster.log.open("ab") as log:
            child = launcher.spawn(
                "postgres", "-D", files, "-c", f"cluster_name={self._cluster.name}", log=log
            )
        return Postmaster(child.pid, child)

    def _await_ready(self, postmaster: Postmaster, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not postmasters.says_ready(self._cluster, postmaster.pid):
            if postmaster.ends_within(_POLL_SECONDS) or time.monotonic() > deadline:
                return False
        return True

    def _failure(self, postmaster: Postmaster) -> Exception:
        if postmaster.running():
            return NotReady(self._cluster.data, _RECOVERY_SECONDS)
        words = self._cluster.log.read_bytes()[-_LOG_TAIL_BYTES:]
        return CommandFailed("postgres", words.decode(errors="replace"))

    def _disconnect_clients(self) -> bool:
        try:
            with self._connect() as connection:
                connection.execute(_TERMINATE_CLIENTS)
        except psycopg.OperationalError:
            return False
        return True

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(self.url(dbname="postgres"), autocommit=True, connect_timeout=5)

    def _is_last(self) -> bool:
        self._server_lock.release()
        return self._server_lock.try_exclusive()

    def _leave(self) -> None:
        self._let_go()
        self._service_lock.release()
        self._launcher, self._owner = None, False

    def _let_go(self) -> None:
        if self._postmaster is not None:
            self._postmaster.let_go()
        self._postmaster = None
        self._server_lock.release()

    def _started_launcher(self) -> Launcher:
        if self._launcher is None:
            raise NotStarted(self._cluster.data)
        return self._launcher


# A client that was killed in the middle of a statement leaves it running, with its locks.
_TERMINATE_CLIENTS = """
    SELECT pg_terminate_backend(pid, 5000)
      FROM pg_stat_activity
     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
