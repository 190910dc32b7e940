"""A statement as PDF: the same statement gives the same bytes, for there is no time and no chance in them.

Loaded with the first statement that is asked for: the library and its fonts are not needed before.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from api.console.pace import GiveWay
from api.console.statement import Line, Part, Statement
from api.console.writing import on_the_wall, words
from ledger.money import format_minor

FONTS: Final = Path(__file__).parent / "fonts"
PLAIN: Final = "DejaVuSansCondensed"
BOLD: Final = "DejaVuSansCondensed-Bold"
WIDTH, HEIGHT = A4
MARGIN: Final = 42.0
TOP: Final = HEIGHT - MARGIN
BOTTOM: Final = MARGIN + 24
SIZE: Final = 7.5
LEADING: Final = 10.0
PAD: Final = 4.0
GREY: Final = 0.45
RULE: Final = 0.8
ROWS_AT_ONCE: Final = 5

for _name in (PLAIN, BOLD):
    pdfmetrics.registerFont(TTFont(_name, FONTS / f"{_name}.ttf"))

Align = Literal["left", "right"]


class Cell(msgspec.Struct, frozen=True):
    """A column of a table: where it begins or, of numbers, ends; and how wide it may be."""

    x: float
    width: float
    align: Align = "left"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the paper: cells with their lines of text. A head comes again on each page that goes on."""

    cells: Sequence[tuple[Cell, Sequence[str]]]
    bold: bool = False
    size: float = SIZE
    grey: bool = False
    ruled: bool = False
    above: float = 0.0
    head: bool = False
    keep: int = 0

    @property
    def height(self) -> float:
        """How much of a page it takes; with a head, that of its first row as well."""
        lines = max((len(lines) for _, lines in self.cells), default=0)
        return self.above + lines * self.size * LEADING / SIZE + PAD


FULL: Final = Cell(MARGIN, WIDTH - 2 * MARGIN)
LABEL: Final = Cell(MARGIN, 200)
COUNT: Final = Cell(MARGIN + 290, 60, "right")
SUM: Final = Cell(WIDTH - MARGIN, 120, "right")
TIME: Final = Cell(MARGIN, 108)
OPERATION: Final = Cell(MARGIN + 112, 62)
KIND: Final = Cell(MARGIN + 174, 68)
SAYS: Final = Cell(MARGIN + 244, 114)
CHANGE: Final = Cell(WIDTH - MARGIN - 78, 74, "right")
AFTER: Final = Cell(WIDTH - MARGIN, 76, "right")


async def pdf_of(statement: Statement, give_way: GiveWay) -> bytes:
    """Draw a statement, giving way now and then; what is put together at the end is not on the loop."""
    pages = await _paged(statement, give_way)
    file = io.BytesIO()
    canvas = Canvas(file, pagesize=A4, invariant=1, pageCompression=1, lang="en", initialFontName=PLAIN)
    canvas.setTitle(f"Statement of account {statement.login}")
    canvas.setAuthor(f"fundledger, ledger {statement.ledger}")
    canvas.setSubject(_days(statement))
    for number, rows in enumerate(pages, start=1):
        await _draw(canvas, rows, give_way)
        _foot(canvas, statement, f"page {number} of {len(pages)}")
        canvas.showPage()
    await asyncio.to_thread(canvas.save)
    return file.getvalue()


async def _paged(statement: Statement, give_way: GiveWay) -> list[list[tuple[float, Row]]]:
    """Put rows on pages, each with where it stands."""
    pages: list[list[tuple[float, Row]]] = [[]]
    y, head = TOP, None
    for number, row in enumerate(_rows(statement)):
        if y - row.height - row.keep * LEADING < BOTTOM:
            pages.append([])
            y = TOP
            if head is not None and not row.head:
                pages[-1].append((y, head))
                y -= head.height
        head = row if row.head else head if row.cells else None
        pages[-1].append((y, row))
        y -= row.height
        if number % ROWS_AT_ONCE == 0:
            await give_way()
    return pages


def _rows(statement: Statement) -> Iterator[Row]:
    """Say everything from top to bottom."""
    yield from _heading(statement)
    yield from _summary(statement, "Balance", statement.balance)
    yield from _summary(
        statement, "Credit (bonus money of the broker, apart from the balance)", statement.credit
    )
    yield from _operations(statement, "Operations on the balance", "Balance", statement.balance)
    if statement.credit.lines:
        yield from _operations(statement, "Operations on the credit", "Credit", statement.credit)
    yield _line(FULL, "End of the statement.", grey=True, above=8)


def _heading(statement: Statement) -> Iterator[Row]:
    clock = statement.clock
    opens = " ".join(on_the_wall(clock, clock.open_of(statement.period.from_day)))
    closes = " ".join(on_the_wall(clock, clock.close_of(statement.period.to_day)))
    yield _line(FULL, f"Statement of account {statement.login}", bold=True, size=14)
    if statement.simulated:
        yield _line(FULL, "SIMULATED LEDGER: no real money is in this statement", bold=True, size=10)
    if statement.name:
        yield _line(FULL, statement.name, size=10)
    yield _line(FULL, f"Ledger {statement.ledger}, in {statement.currency}, {_days(statement)}", size=10)
    yield _line(
        FULL,
        f"A server day ends at {clock.day_end} {clock.timezone}: from {opens} to {closes}. Times are those of"
        f" {clock.timezone}, with their offset from UTC. As booked: days and figures are the booking's.",
        grey=True,
    )
    if statement.position is not None:
        open_still = f"The period is not over: operations up to position {statement.position} of the log."
        yield _line(FULL, open_still, bold=True)


def _summary(statement: Statement, title: str, part: Part) -> Iterator[Row]:
    yield _line(FULL, title, bold=True, size=9, above=10, keep=4)
    yield Row(cells=[(LABEL, ["Opening"]), (SUM, [_money(part.opening, statement)])], ruled=True)
    for moved in part.movements:
        count = f"{moved.count} operation{'' if moved.count == 1 else 's'}"
        cells = [(LABEL, [words(moved.kind)]), (COUNT, [count]), (SUM, [_signed(moved.change, statement)])]
        yield Row(cells=cells)
    yield Row(cells=[(LABEL, ["Closing"]), (SUM, [_money(part.closing, statement)])], bold=True, ruled=True)


def _operations(statement: Statement, title: str, after: str, part: Part) -> Iterator[Row]:
    yield _line(FULL, title, bold=True, size=9, above=12, keep=5)
    labels = ("Booked", "Operation", "Kind", "Details", "Change", after)
    yield Row(
        cells=list(zip(COLUMNS, [[label] for label in labels], strict=True)), bold=True, head=True, keep=2
    )
    opening = [(TIME, ["Opening"]), (AFTER, [_money(part.opening, statement)])]
    yield Row(cells=opening, ruled=True, bold=True)
    for line in part.lines:
        yield _operation(line, statement)
    yield Row(cells=[(TIME, ["Closing"]), (AFTER, [_money(part.closing, statement)])], ruled=True, bold=True)
    yield Row(cells=[])


COLUMNS: Final = (TIME, OPERATION, KIND, SAYS, CHANGE, AFTER)


def _operation(line: Line, statement: Statement) -> Row:
    wall, offset = on_the_wall(statement.clock, line.recorded_at)
    texts = (f"{wall} {offset}", line.operation, words(line.kind), line.says)
    amounts = (_signed(line.change, statement), _money(line.after, statement))
    cells = [
        *((cell, _broken(text, cell, SIZE, PLAIN)) for cell, text in zip(COLUMNS, texts, strict=False)),
        *((cell, [amount]) for cell, amount in zip((CHANGE, AFTER), amounts, strict=True)),
    ]
    return Row(cells=cells)


def _line(
    cell: Cell,
    text: str,
    *,
    bold: bool = False,
    size: float = SIZE,
    grey: bool = False,
    above: float = 0.0,
    keep: int = 0,
) -> Row:
    lines = _broken(text, cell, size, BOLD if bold else PLAIN)
    return Row(cells=[(cell, lines)], bold=bold, size=size, grey=grey, above=above, keep=keep)


def _broken(text: str, cell: Cell, size: float, font: str) -> list[str]:
    """Break a text into lines; a word that is too long for one is broken too."""
    if pdfmetrics.stringWidth(text, font, size) <= cell.width and "\n" not in text:
        return [text]
    return [
        part for line in simpleSplit(text, font, size, cell.width) for part in _cut(line, cell, size, font)
    ]


def _cut(line: str, cell: Cell, size: float, font: str) -> Iterator[str]:
    while pdfmetrics.stringWidth(line, font, size) > cell.width and len(line) > 1:
        length = len(line) - 1
        while length > 1 and pdfmetrics.stringWidth(line[:length], font, size) > cell.width:
            length -= 1
        yield line[:length]
        line = line[length:]
    yield line


async def _draw(canvas: Canvas, rows: Sequence[tuple[float, Row]], give_way: GiveWay) -> None:
    for number, (y, row) in enumerate(rows):
        _draw_row(canvas, y, row)
        if number % ROWS_AT_ONCE == 0:
            await give_way()


def _draw_row(canvas: Canvas, y: float, row: Row) -> None:
    font = BOLD if row.bold else PLAIN
    canvas.setFont(font, row.size)
    canvas.setFillGray(GREY if row.grey else 0)
    top = y - row.above
    if row.ruled or row.head:
        canvas.setStrokeGray(RULE)
        canvas.setLineWidth(0.5)
        rule = top - row.height + row.above + PAD - 2.5 if row.head else top + 0.5
        canvas.line(MARGIN, rule, WIDTH - MARGIN, rule)
    for cell, lines in row.cells:
        draw = canvas.drawRightString if cell.align == "right" else canvas.drawString
        for number, line in enumerate(lines, start=1):
            draw(cell.x, top - number * row.size * LEADING / SIZE + 2, line)


def _foot(canvas: Canvas, statement: Statement, page: str) -> None:
    canvas.setFont(PLAIN, SIZE)
    canvas.setFillGray(GREY)
    simulated = "SIMULATED LEDGER, no real money. " if statement.simulated else ""
    canvas.drawString(MARGIN, MARGIN, f"{simulated}Account {statement.login}, {_days(statement)}")
    canvas.drawRightString(WIDTH - MARGIN, MARGIN, page)


def _days(statement: Statement) -> str:
    period = statement.period
    if period.from_day == period.to_day:
        return f"server day {period.from_day}"
    return f"server days {period.from_day} to {period.to_day}"


def _money(minor: int, statement: Statement) -> str:
    """Write money for paper: exactly its digits, thousands by commas."""
    whole, dot, decimals = format_minor(abs(minor), statement.digits).partition(".")
    return f"{'-' if minor < 0 else ''}{int(whole):,}{dot}{decimals}"


def _signed(minor: int, statement: Statement) -> str:
    return f"+{_money(minor, statement)}" if minor > 0 else _money(minor, statement)
