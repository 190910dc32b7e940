"""How far a long command has come: a bar on a terminal, elsewhere a line now and then; on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

LINE_EVERY_S: Final = 10.0
"""A command that is done sooner says nothing where there is no terminal."""

Seen = Callable[[int, str], None]


@contextmanager
def progress_bar(total: int | None, *, line_every_s: float = LINE_EVERY_S) -> Iterator[Seen]:
    """Lend what takes the part that is done, and words for it."""
    if not sys.stderr.isatty():
        yield _Lines(total, line_every_s).seen
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)

        def seen(done: int, words: str) -> None:
            progress.update(task, completed=done, description=words)

        yield seen


@contextmanager
def counted(events: int, *verbs: str) -> Iterator[Callable[[int], None]]:
    """Lend what takes the positions of a log that is gone through once for each verb."""
    with progress_bar(events * len(verbs)) as seen:
        yield Passes(events, verbs, seen).reached


class Passes:
    """Adds up passes over a log: one has begun where positions begin anew."""

    def __init__(self, events: int, verbs: tuple[str, ...], seen: Seen) -> None:
        self._events = events
        self._verbs = verbs
        self._seen = seen
        self._pass = 0
        self._last = 0

    def reached(self, position: int) -> None:
        """Take note of a position; the log may have grown meanwhile."""
        if position <= self._last and self._pass < len(self._verbs) - 1:
            self._pass += 1
        self._last = position
        events = max(self._events, position)
        words = f"{self._verbs[self._pass]} {position:,} of {events:,} events"
        self._seen(self._pass * self._events + position, words)


class _Lines:
    """Says it in a line now and then."""

    def __init__(self, total: int | None, every_s: float) -> None:
        self._total = total
        self._every_s = every_s
        self._due = time.monotonic() + every_s

    def seen(self, done: int, words: str) -> None:
        if time.monotonic() < self._due:
            return
        part = f", {min(100, 100 * done // self._total)} %" if self._total else ""
        print(f"{words}{part}", file=sys.stderr, flush=True)
        self._due = time.monotonic() + self._every_s
