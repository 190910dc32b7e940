"""`fundledger import`: take over the accounts of a running broker from a CSV file."""

from __future__ import annotations

import csv
import os
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

import uvloop

from api.account_rows import BadRow, Row, read_rows
from api.cli.progress import progress_bar
from api.cli.where import database_url, writing
from api.importing import Import, Result
from api.startup import CLOCK_BEHIND_MAX
from ledger.events import MoneyMoved
from ledger.money import format_minor
from ledger.refusals import ValidationError
from projections.spreadsheets import quote

HEADER = ("row", "login", "status", "code", "detail", "operationIds")


class Sums:
    """Adds up opening money by currency."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, int, int]] = {}

    def add(self, money: MoneyMoved | None) -> None:
        """Add what a row brought, if it did."""
        if money is not None:
            _, balance, credit = self._sums.get(money.currency, (0, 0, 0))
            added = (money.digits, balance + money.balance_change, credit + money.credit_change)
            self._sums[money.currency] = added

    def lines(self, what: str) -> Iterator[str]:
        """Say what became of it, a line a currency."""
        for currency, (digits, balance, credit) in sorted(self._sums.items()):
            balance_text, credit_text = format_minor(balance, digits), format_minor(credit, digits)
            yield f"opening money {what}, {currency}: balance {balance_text}, credit {credit_text}"


class Tally:
    """Counts rows, and adds up the opening money that was booked for them, now and before."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self._broken_at: int | None = None
        self._booked, self._booked_before = Sums(), Sums()

    def add(self, result: Result) -> None:
        """Count a row."""
        self.statuses[result.status] += 1
        self._booked.add(result.booked)
        self._booked_before.add(result.booked_before)
        if result.code == "bad_csv":
            self._broken_at = result.row

    def lines(self, *, dry_run: bool) -> Iterator[str]:
        """Say it all."""
        counts, done = self.statuses, "importable" if dry_run else "imported"
        yield (
            f"{counts.total()} rows: {counts[done]} {done}, {counts['already']} already there,"
            f" {counts['refused']} refused"
        )
        if self._broken_at is not None:
            yield f"the file is broken: from row {self._broken_at} on nothing was read"
        yield from self._booked.lines("to book" if dry_run else "booked")
        yield from self._booked_before.lines("booked before")


def import_accounts(arguments: Namespace) -> int:
    """Import the file, and write what became of each of its rows beside it."""
    results = arguments.results or arguments.file.with_suffix(".results.csv")
    if results.resolve() == arguments.file.resolve():
        raise ValidationError("bad_file", f"the results cannot be written over {arguments.file}")
    with arguments.file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        rows = read_rows(lines)
        with (
            database_url(arguments.settings) as url,
            results.open("w", encoding="utf-8", newline="") as sheet,
        ):
            tally = uvloop.run(_import(arguments, url, rows, sheet=sheet, lines=lines))
    print("\n".join([*tally.lines(dry_run=arguments.dry_run), f"results: {results}"]))
    if refused := tally.statuses["refused"]:
        words = f"{refused} rows were refused; {results} says why: put them right, and run the file again"
        print(f"fundledger: {words}", file=sys.stderr)
        return 1
    return 0


async def _import(
    arguments: Namespace, url: str, rows: Iterator[Row | BadRow], *, sheet: TextIO, lines: TextIO
) -> Tally:
    tally = Tally()
    with progress_bar(_size(lines)) as seen:
        async with writing(url, arguments.settings.ledger, behind_max=CLOCK_BEHIND_MAX) as writer:
            write = csv.writer(sheet).writerow  # ending lines with CR LF, it quotes cells that hold either
            write(HEADER)
            async for results in Import(writer, dry_run=arguments.dry_run).results(rows):
                for result in results:
                    tally.add(result)
                    write(_cells(result))
                sheet.flush()
                seen(_read(lines), f"{tally.statuses.total():,} rows")
    return tally


def _size(lines: TextIO) -> int | None:
    return os.fstat(lines.fileno()).st_size if lines.seekable() else None


def _read(lines: TextIO) -> int:
    return lines.buffer.tell() if lines.seekable() else 0


def _cells(result: Result) -> Sequence[Any]:
    login, detail = _text(result.login), _text(result.detail)
    return (result.row, login, result.status, result.code, detail, " ".join(result.operation_ids))


def _text(text: str) -> str:
    """Give the text as it can be written, whatever stood in the file."""
    return quote(text.encode("utf-8", "replace").decode())
