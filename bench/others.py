"""What else the machine did meanwhile: the processor time that was not the bench's."""

from __future__ import annotations

import os
import time

from bench import process
from bench.ground import Ground


class Others:
    """Watches the processors from its making on."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._began, self._machine, self._ours = time.monotonic(), process.machine_us(), self._own_us()

    def share(self) -> float:
        """Give the share of all processors that others took."""
        ours, machine = self._own_us() - self._ours, process.machine_us() - self._machine
        wall_us = (time.monotonic() - self._began) * 1e6
        return max(0.0, machine - ours) / wall_us / len(os.sched_getaffinity(0))

    def _own_us(self) -> float:
        """Add up the bench, what it started and ended, and PostgreSQL with its ended backends."""
        server, *_ = pids = self._ground.pids()
        ended = process.ended_children_us(os.getpid()) + process.ended_children_us(server)
        return process.cpu_us([os.getpid(), *pids]) + ended
