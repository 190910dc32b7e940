"""Log records as text: one line each, and whatever a record has beyond it indented and without tricks."""

from __future__ import annotations

import logging
import re
import sys
from typing import Final

FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
INDENT: Final = "    "


class Lines(logging.Formatter):
    """Lets no text that stands in a record pass for another record."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the record as text; what a terminal would obey is written out."""
        lines = super().format(record).splitlines()
        return f"\n{INDENT}".join(_OBEYED.sub(_written_out, line) for line in lines)


def log_to_standard_error() -> None:
    """Log warnings and worse."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines(FORMAT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


# Control characters, and those that turn the direction of writing.
_OBEYED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _written_out(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
