"""A table as CSV: the very cells that are shown, safe in a spreadsheet."""

from __future__ import annotations

import csv
import io
from typing import Final

from api.console.pace import GiveWay
from api.console.table import Table, is_number
from projections.spreadsheets import quote

MEDIA_TYPE: Final = "text/csv"
ROWS_AT_ONCE: Final = 20


async def csv_of(table: Table, give_way: GiveWay) -> bytes:
    """Write a table as CSV: labels, rows, totals; giving way now and then."""
    lines = io.StringIO()
    writer = csv.writer(lines)
    writer.writerow([column.label for column in table.columns])
    for number, row in enumerate((*table.rows, *table.totals), start=1):
        cells = zip(table.columns, row, strict=True)
        writer.writerow([cell if is_number(column, cell) else quote(cell) for column, cell in cells])
        if number % ROWS_AT_ONCE == 0:
            await give_way()
    return lines.getvalue().encode()
