"""The migrations of what stands beside the log and cannot be rebuilt: numbered, forward only."""

from __future__ import annotations

from importlib.resources import files


def migrations() -> list[tuple[str, str]]:
    """Give name and text of every migration, in order."""
    found = [entry for entry in files(__name__).iterdir() if entry.name.endswith(".sql")]
    return sorted((entry.name, entry.read_text(encoding="utf-8")) for entry in found)
