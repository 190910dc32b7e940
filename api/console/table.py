"""A table as it is shown: what a page, a CSV and a workbook hold alike, cell by cell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

Kind = Literal["text", "number", "money", "percent", "flag", "time"]
NUMERIC: Final = ("number", "money", "percent")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class Column(msgspec.Struct, frozen=True):
    """One column; `name` is the published one."""

    name: str
    label: str
    kind: Kind

    @property
    def numeric(self) -> bool:
        """Whether its cells are numbers."""
        return self.kind in NUMERIC

    @property
    def right(self) -> bool:
        """Whether its cells stand on the right, so that digits stand under digits."""
        return self.kind in {"money", "percent"}


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """Rows and totals as text, in the order of the columns. A total's first cell says what it is of."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    totals: Sequence[Sequence[str]] = ()

    @property
    def lead(self) -> int:
        """How many columns stand before the first that has a total: what a total is of stands across them."""
        filled = (place for total in self.totals for place, cell in enumerate(total) if place and cell)
        return min(filled, default=len(self.columns))


def is_number(column: Column, cell: str) -> bool:
    """Tell whether a cell is a number: a column of numbers may hold words, such as what a total is of."""
    return column.numeric and _NUMBER.fullmatch(cell) is not None
