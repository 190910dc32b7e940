"""The log on standard error: a record a line, as JSON or plainly for people, and never a flood of one line.

Whatever a record holds, its text cannot pass for another record, and what is secret is masked. Of an error
it tells type and place; its words only at level debug, because they may repeat what a caller has sent.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final, TextIO

import msgspec

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
INDENT: Final = "    "
OURS: Final = "fundledger"
"""The parent of our loggers; of others' only warnings are of interest, whatever the level."""

SAME_MAX: Final = 3
SAME_S: Final = 10.0
"""Of lines that say the same, so many are written in such a time; the next one counts those left out."""

KINDS_MAX: Final = 1_000
FIRST: Final = ("timestamp", "level", "logger", "event")
"""What a line of JSON begins with."""


class Lines(logging.Formatter):
    """Writes records for people: a line each, with its fields, and a stack indented below."""

    def __init__(self, fmt: str = FORMAT, *, words: bool = True) -> None:
        super().__init__(fmt)
        self._words = words

    def format(self, record: logging.LogRecord) -> str:
        """Give the record as text; what a terminal would obey is written out."""
        lines = super().format(record).splitlines()
        lines[0] += "".join(f" {name}={_in_a_line(value)}" for name, value in _fields(record).items())
        return masked(f"\n{INDENT}".join(_OBEYED.sub(_written_out, line) for line in lines))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's name
        """Give the stack."""
        return stack_of(ei[1], words=self._words)


class Pace(logging.Filter):
    """Of warnings and worse that say the same lets through so many in a while, and counts the others."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._seen: dict[object, _Same] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to write the record."""
        if record.levelno < logging.WARNING:
            return True
        now, gist = self._now(), _gist(record)
        same = self._seen.get(gist)
        if same is None or now >= same.until:
            self._seen[gist] = _Same(until=now + SAME_S)
            self._tidy(now)
            if same is not None and same.left_out:
                record.fields = _fields(record) | {"left_out": same.left_out}
            return True
        same.seen += 1
        return same.left_out == 0

    def _tidy(self, now: float) -> None:
        """Forget what has not been said for a while, once there is much of it."""
        if len(self._seen) > KINDS_MAX:
            self._seen = {gist: same for gist, same in self._seen.items() if now < same.until}


class _Same(msgspec.Struct):
    until: float
    seen: int = 1

    @property
    def left_out(self) -> int:
        return max(0, self.seen - SAME_MAX)


def log_warnings() -> None:
    """Write what a command has to warn of, plainly."""
    _install(Lines(), logging.WARNING)


def log_as_service(level: str, form: str) -> None:
    """Write a service's log from a level on; `auto` is for people where a terminal is."""
    words = level == "debug"
    plain = form == "lines" or (form == "auto" and sys.stderr.isatty())
    formatter = Lines(words=words) if plain else json_lines(words=words)
    _install(formatter, logging.getLevelNamesMapping()[level.upper()])


def json_lines(*, words: bool = False) -> logging.Formatter:
    """Write records as JSON, a line each."""
    import structlog
    from structlog.stdlib import ProcessorFormatter, add_log_level, add_logger_name

    def stack(_: object, __: str, event: Any) -> Any:
        if error := event.pop("exc_info", None):
            event["exception"] = stack_of(error[1], words=words)
        return event

    def render(_: object, __: str, event: Any) -> str:
        return masked(json.dumps({name: event[name] for name in FIRST} | event, default=str))

    def add_fields(_: object, __: str, event: Any) -> Any:
        return event | _fields(event["_record"])

    return ProcessorFormatter(
        foreign_pre_chain=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_log_level,
            add_logger_name,
            add_fields,
        ],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            stack,
            render,
        ],
    )


def masked(text: str) -> str:
    """Give a text without keys and passwords."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text


def stack_of(error: BaseException | None, *, words: bool) -> str:
    """Give where an error was raised, and what led to it; in its own words too, if asked."""
    if error is None:
        return ""
    if words:
        return "".join(traceback.format_exception(error)).rstrip("\n")
    parts = [
        f"Traceback (most recent call last):\n{_places(one)}{_type_of(one)}"
        for one in reversed(list(_chain(error)))
    ]
    return "\n\nwhich led to\n\n".join(parts)


class _Handler(logging.StreamHandler[TextIO]):
    """Writes to standard error as we do."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(formatter)
        self.addFilter(_with_ids)
        self.addFilter(Pace())


def _install(formatter: logging.Formatter, level: int) -> None:
    """Log this way, unless whoever runs us in a process of theirs has a log of their own."""
    root = logging.getLogger()
    if all(isinstance(handler, _Handler) for handler in root.handlers):
        root.handlers[:] = [_Handler(formatter)]
        root.setLevel(max(level, logging.WARNING))
        logging.getLogger(OURS).setLevel(level)
        logging.captureWarnings(True)


def _with_ids(record: logging.LogRecord) -> bool:
    """Say of a record that was written for a request, whose it is."""
    from api.log_lines import ASKING

    if (ask := ASKING.get()) is not None:
        caller = ask.caller
        ids = {"request_id": ask.request_id, "operator_id": caller.operator_id, "key_id": caller.key_id}
        record.fields = {name: value for name, value in ids.items() if value is not None} | _fields(record)
    return True


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = getattr(record, "fields", {})
    return found


def _in_a_line(value: object) -> str:
    return " ".join(str(value).splitlines())


def _gist(record: logging.LogRecord) -> tuple[object, ...]:
    """What is the same about records that say the same."""
    said = _fields(record)
    error = record.exc_info[0] if record.exc_info else None
    return (record.name, record.msg, error, said.get("code"), said.get("key_id"))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and what led to it, the last one first."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting.append(one.__cause__ or (None if one.__suppress_context__ else one.__context__))
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _places(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__))


def _type_of(error: BaseException) -> str:
    kind, state = type(error), getattr(error, "sqlstate", None)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return name if state is None else f"{name} ({state})"


_SECRETS: Final = (
    (re.compile(r"fl_([0-9a-f]{16})_[^\s\"']{20,}"), r"fl_\1_***"),
    (re.compile(r"(://[^\s:/@]*):[^\s@]+@"), r"\1:***@"),
    (re.compile(r"(password\s*=\s*)('(\\.|[^'])*'|[^\s&\"']+)", re.IGNORECASE), r"\1***"),
)

# Control characters, and those that turn the direction of writing.
_OBEYED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
