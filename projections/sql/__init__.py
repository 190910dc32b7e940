"""SQL in files with names; each begins with a sentence that says what it is for."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def sql(name: str) -> str:
    """Give the text of one SQL file of this folder."""
    return files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")


@cache
def with_fed_at(name: str) -> str:
    """Give the text of a file that asks up to when the open positions are known."""
    return sql(name).replace("{fed_at}", sql("fed_at").rstrip())
