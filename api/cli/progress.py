"""How far a long command has come, for whoever watches it on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(total: int | None) -> Iterator[Callable[[int, str], None]]:
    """Lend what takes the part that is done, and words for it; standard error elsewhere stays empty."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)

        def seen(done: int, words: str) -> None:
            progress.update(task, completed=done, description=words)

        yield seen
