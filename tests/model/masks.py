"""Patterns: group masks, and `like` in filters."""

from __future__ import annotations

import re


def selects(mask: str, group: str) -> bool:
    """Tell whether a group mask selects a group."""
    items = [item.strip() for item in mask.split(",")]
    hits = [item for item in items if like(group, item.removeprefix("!"), "*")]
    return bool(hits) and not any(item.startswith("!") for item in hits)


def like(text: str, pattern: str, run: str) -> bool:
    """Tell whether a pattern covers a text; one character of it stands for any run of others."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split(run))), text, re.DOTALL) is not None
