"""One running PostgreSQL server: found, watched and ended by its process."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from api.embedded.cluster import Cluster

_FAST_STOP_SECONDS = 120.0
"""A fast stop writes everything out first, which takes its time on a slow disk."""

_QUICK_STOP_SECONDS = 10.0
_STATUS_LINE = 7


class Postmaster:
    """The server's first process, held by a descriptor that no other process's number can be mistaken for."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._child = child
        self._descriptor = os.pidfd_open(pid)

    def running(self) -> bool:
        """Say whether the process is there."""
        return not self.ends_within(0)

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end, that long at most."""
        if self._descriptor < 0:
            return True
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        self._forget()
        return True

    def stop(self) -> None:
        """End it cleanly; after a long wait, hard (the next start then recovers)."""
        for how, seconds in _STOPS:
            self._signal(how)
            if self.ends_within(seconds):
                return

    def let_go(self) -> None:
        """Leave the process to itself."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._child is not None and self._child.poll() is None:
            self._child.returncode = 0  # or Popen warns that it still runs

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)
        self.ends_within(_QUICK_STOP_SECONDS)

    def _signal(self, how: signal.Signals) -> None:
        if self._descriptor >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, how)

    def _forget(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
        if self._child is not None:
            self._child.wait()


def find(cluster: Cluster) -> Postmaster | None:
    """Return the server that runs on these files, if one does; a stale process id is not taken for one."""
    pid = recorded_pid(cluster)
    if pid is None:
        return None
    with suppress(ProcessLookupError):
        postmaster = Postmaster(pid)
        if f"cluster_name={cluster.name}" in _arguments(pid):
            return postmaster
    return None


def says_ready(cluster: Cluster, pid: int) -> bool:
    """Say whether this server has announced that it takes connections."""
    lines = _pid_file_lines(cluster)
    return len(lines) > _STATUS_LINE and lines[0] == str(pid) and lines[_STATUS_LINE].strip() == "ready"


def recorded_pid(cluster: Cluster) -> int | None:
    """Return the process id that the last server left, dead or alive."""
    lines = _pid_file_lines(cluster)
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def clear_remains(cluster: Cluster) -> None:
    """End what a killed server left behind, and forget its process id when something else has it by now."""
    pid = recorded_pid(cluster)
    if pid is None:
        return  # it ended cleanly
    for orphan in list(_orphans(cluster)):
        orphan.kill()
    if Path(_arguments(pid)[0]).name != "postgres":
        # PostgreSQL takes any process of its account with that number for its predecessor: one that got it
        # after a reboot, or a dead one that nobody has reaped, as in a container without an init.
        cluster.pid_file.unlink()
        cluster.socket_lock.unlink(missing_ok=True)


_STOPS = (
    (signal.SIGINT, _FAST_STOP_SECONDS),
    (signal.SIGQUIT, _QUICK_STOP_SECONDS),
    (signal.SIGKILL, _QUICK_STOP_SECONDS),
)


def _orphans(cluster: Cluster) -> Iterator[Postmaster]:
    owner = cluster.files.stat().st_uid
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and _is_of(cluster, owner, entry):
            with suppress(ProcessLookupError):
                yield Postmaster(int(entry.name))


def _is_of(cluster: Cluster, owner: int, entry: Path) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        if entry.stat().st_uid != owner:
            return False
        arguments = _arguments(int(entry.name))
        return f"cluster_name={cluster.name}" in arguments or arguments[0].startswith(
            f"postgres: {cluster.name}: "
        )
    return False


def _arguments(pid: int) -> list[str]:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return [""]


def _pid_file_lines(cluster: Cluster) -> list[str]:
    with suppress(FileNotFoundError):
        return cluster.pid_file.read_text(encoding="utf-8").splitlines()
    return []
