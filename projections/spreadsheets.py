"""Text that is safe in a spreadsheet: what one would run as a formula gets a quote before it."""

from __future__ import annotations

from typing import Final

RUN_BY_SPREADSHEETS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def quote(text: str) -> str:
    """Give the text, with a quote before what a spreadsheet would take for a formula."""
    return f"'{text}" if text.startswith(RUN_BY_SPREADSHEETS) else text


def unquote(text: str) -> str:
    """Give the text that was quoted."""
    return text[1:] if text.startswith("'") and text[1:].startswith(RUN_BY_SPREADSHEETS) else text
