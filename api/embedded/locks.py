"""Locks on a data directory that the kernel lets go of when their process dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


class FileLock:
    """One process's hold on a lock file: none, shared, or exclusive."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def try_exclusive(self) -> bool:
        """Take it for ourselves alone; False (and no hold at all) when anybody else has it."""
        try:
            fcntl.flock(self._open(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            return False
        return True

    def share(self) -> None:
        """Hold it beside others; wait while somebody has it for himself alone."""
        fcntl.flock(self._open(), fcntl.LOCK_SH)

    def release(self) -> None:
        """Let go; harmless when not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def sign(self) -> None:
        """Leave our process id for those who find it taken."""
        os.truncate(self._open(), 0)
        os.pwrite(self._open(), str(os.getpid()).encode(), 0)

    def signature(self) -> str:
        """Read who signed last."""
        return self._path.read_text(encoding="ascii").strip() or "unknown"

    def _open(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._descriptor
