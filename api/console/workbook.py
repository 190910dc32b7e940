"""A table as a workbook: the very cells that are shown, numbers as numbers where they stay the same.

Loaded with the first workbook that is asked for: the library is not needed before.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import xlsxwriter

from api.console.pace import GiveWay
from api.console.table import Column, Table, is_number

MEDIA_TYPE: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
DIGITS_MAX: Final = 15
"""A workbook's cells are doubles: a number of more digits would not stay the number that it was."""

ROWS_AT_ONCE: Final = 20
WIDTH_MIN: Final = 9
WIDTH_MAX: Final = 40
ROWS_MEASURED: Final = 200


async def xlsx_of(table: Table, give_way: GiveWay, *, title: str, made_at: datetime) -> bytes:
    """Write a table as a workbook, giving way now and then; it is put together beside the event loop."""
    file = io.BytesIO()
    workbook = xlsxwriter.Workbook(file, _OPTIONS)
    workbook.set_properties({"title": title, "created": made_at.replace(tzinfo=None)})
    sheet = workbook.add_worksheet(title)
    formats = _Formats(workbook)
    _lay_out(sheet, table, formats)
    for number, row in enumerate(table.rows, start=1):
        _write(sheet, number, row, table, formats, bold=False)
        if number % ROWS_AT_ONCE == 0:
            await give_way()
    for number, row in enumerate(table.totals, start=len(table.rows) + 1):
        _write(sheet, number, row, table, formats, bold=True)
    await asyncio.to_thread(workbook.close)
    return file.getvalue()


_OPTIONS: Final = {
    "constant_memory": True,
    # What a text looks like, it is not: it stays the text that it was.
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}


class _Formats:
    """The formats of cells, made once each: of texts, and of numbers by their decimals."""

    def __init__(self, workbook: Any) -> None:
        self._workbook = workbook
        self._made: dict[tuple[tuple[str, object], ...], Any] = {}

    def text(self, *, bold: bool, right: bool) -> Any:
        return self._of(bold=bold, align="right" if right else "left")

    def number(self, decimals: int, *, bold: bool) -> Any:
        return self._of(bold=bold, align="right", num_format=f"0.{'0' * decimals}" if decimals else "0")

    def _of(self, **properties: object) -> Any:
        name = tuple(sorted(properties.items()))
        if name not in self._made:
            self._made[name] = self._workbook.add_format(properties)
        return self._made[name]


def _lay_out(sheet: Any, table: Table, formats: _Formats) -> None:
    """Set the widths before anything is written, then write the labels; they stay in sight."""
    for place, column in enumerate(table.columns):
        cells = [row[place] for row in (*table.rows[:ROWS_MEASURED], *table.totals)]
        width = max(map(len, (column.label, *cells))) + 2
        sheet.set_column(place, place, min(max(width, WIDTH_MIN), WIDTH_MAX))
    sheet.freeze_panes(1, 1)
    sheet.autofilter(0, 0, len(table.rows), len(table.columns) - 1)
    for place, column in enumerate(table.columns):
        sheet.write_string(0, place, column.label, formats.text(bold=True, right=column.numeric))


def _write(
    sheet: Any, number: int, row: Sequence[str], table: Table, formats: _Formats, *, bold: bool
) -> None:
    for place, (column, cell) in enumerate(zip(table.columns, row, strict=True)):
        if fits(column, cell):
            decimals = len(cell.partition(".")[2])
            sheet.write_number(number, place, float(cell), formats.number(decimals, bold=bold))
        else:
            right = is_number(column, cell)
            sheet.write_string(number, place, cell, formats.text(bold=bold, right=right))


def fits(column: Column, cell: str) -> bool:
    """Tell whether a cell can be a number of a workbook and stay the same number."""
    digits = sum(character.isdigit() for character in cell.lstrip("-0."))
    return is_number(column, cell) and digits <= DIGITS_MAX
