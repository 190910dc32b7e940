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

from api.account_rows import RUN_BY_SPREADSHEETS, BadRow, Row, read_rows
from api.cli.progress import progress_bar
from api.cli.where import database_url, writing
from api.importing import Import, Result
from ledger.money import format_minor
from ledger.refusals import ValidationError

HEADER = ("row", "login", "status", "code", "detail", "operationIds")


class Tally:
    """Counts rows, and adds up the opening money that the ledger holds by them."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self._sums: dict[str, list[int]] = {}

    def add(self, result: Result) -> None:
        """Count a row."""
        self.statuses[result.status] += 1
        if (money := result.money) is not None:
            _, balance, credit = self._sums.get(money.currency, (0, 0, 0))
            held = [money.digits, balance + money.balance_change, credit + money.credit_change]
            self._sums[money.currency] = held

    def lines(self, *, done: str) -> Iterator[str]:
        """Say it all; `done` is the status of rows that went well."""
        counts = self.statuses
        yield (
            f"{counts.total()} rows: {counts[done]} {done}, {counts['already']} already there,"
            f" {counts['refused']} refused"
        )
        for currency, (digits, balance, credit) in sorted(self._sums.items()):
            balance_text, credit_text = format_minor(balance, digits), format_minor(credit, digits)
            yield f"opening {currency}: balance {balance_text}, credit {credit_text}"


def import_accounts(arguments: Namespace) -> int:
    """Import the file, and write what became of each of its rows beside it."""
    results = arguments.results or arguments.file.with_suffix(".results.csv")
    if results.resolve() == arguments.file.resolve():
        raise ValidationError("bad_file", f"the results cannot be written over {arguments.file}")
    with arguments.file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        rows = read_rows(lines)
        with database_url(arguments) as url, results.open("w", encoding="utf-8", newline="") as sheet:
            tally = uvloop.run(_import(arguments, url, rows, sheet=sheet, lines=lines))
    done = "importable" if arguments.dry_run else "imported"
    print("\n".join([*tally.lines(done=done), f"results: {results}"]))
    if refused := tally.statuses["refused"]:
        print(f"fundledger: {refused} rows were refused; {results} says why", file=sys.stderr)
        return 1
    return 0


async def _import(
    arguments: Namespace, url: str, rows: Iterator[Row | BadRow], *, sheet: TextIO, lines: TextIO
) -> Tally:
    tally = Tally()
    with progress_bar(_size(lines)) as seen:
        async with writing(url, arguments.ledger) as writer:
            write = csv.writer(sheet, lineterminator="\n").writerow
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
    """Give the text with a quote before what a spreadsheet would take for a formula."""
    clean = text.encode("utf-8", "replace").decode()
    return f"'{clean}" if clean.startswith(RUN_BY_SPREADSHEETS) else clean
