"""A process: processor time and memory as the kernel accounts for them, and its end when it is told to."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

import msgspec

_MB = 1_000_000


class Memory(msgspec.Struct, frozen=True):
    """Resident memory in MB; `shared_fairly` divides shared pages among those who share them (PSS)."""

    resident: float
    shared_fairly: float


class ToldToEnd(KeyboardInterrupt):
    """SIGTERM came, as `timeout` and a cancelled job send it: what was started ends as by Ctrl-C."""


def end_when_told() -> None:
    """Have SIGTERM raise ToldToEnd, once: `timeout` tells the whole group, so that some are told twice."""
    signal.signal(signal.SIGTERM, _end)


def memory(pid: int) -> Memory:
    """Read what a process holds in memory now."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    sizes = {name: int(size) * 1024 / _MB for name, size in re.findall(r"(\w+):\s+(\d+) kB", rollup)}
    return Memory(sizes["Rss"], sizes["Pss"])


def cpu_us(pids: Iterable[int]) -> float:
    """Read how long the processes have been on a processor, in microseconds."""
    return sum(_thread_ns(task) for pid in pids for task in Path(f"/proc/{pid}/task").glob("*")) / 1_000


def ended_children_us(pid: int) -> float:
    """Read how long those children of a process were on a processor that have ended."""
    words = _after_name(pid)
    return sum(map(int, words[13:15])) * 1e6 / os.sysconf("SC_CLK_TCK")


def machine_us() -> float:
    """Read how long the processors have been busy, also for other machines on the same host."""
    words = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    ticks = dict(
        zip(("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"), words, strict=False)
    )
    busy = sum(int(value) for name, value in ticks.items() if name not in {"idle", "iowait"})
    return busy * 1e6 / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """Name a process and its children."""
    return [pid, *(child for child in map(int, _numbers()) if _parent(child) == pid)]


def _end(number: int, _: FrameType | None) -> None:
    signal.signal(number, lambda *_: None)
    raise ToldToEnd


def _thread_ns(task: Path) -> int:
    try:
        return int((task / "schedstat").read_text(encoding="ascii").split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _numbers() -> list[str]:
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _parent(pid: int) -> int:
    try:
        return int(_after_name(pid)[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _after_name(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
