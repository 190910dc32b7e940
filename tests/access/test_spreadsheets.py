"""No cell that a caller can fill is run by whoever opens a file of ours: every column of every file.

Which columns there are follows from the rows and lists that files are written from; which files there are,
from the code that writes any.
"""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec
import pytest

from api.bodies import UpdateBody
from api.cli import main
from api.cli.imports import HEADER
from projections.accounts import STRUCTURE
from projections.accounts_filter import FIELDS
from projections.history_csv import COLUMNS, csv_header, csv_lines
from projections.history_rows import Row
from tests.api.served import ROOT, Caller, Exact, new_id

if TYPE_CHECKING:
    from pathlib import Path

RUN = ("=", "+", "-", "@", "\t", "\r", "\n")
STARTS = (*RUN, "\r\n=", '"=', " =", "'=", "'", "x\n=", 'x",=')
OF_OURS = {"kind", "currency", "warnings"}
"""Texts of a row of history that no caller writes: words of a list, and A-Z and 0-9."""

WRITERS = {
    "api/cli/imports.py": "the results of an import",
    "projections/history_csv.py": "history",
    "projections/users_export.py": "the users export",
}
"""The files of ours that a spreadsheet opens, by what writes them; tests/console holds the console's."""


def cells_of(text: str) -> list[list[str]]:
    """Read a file as a spreadsheet does."""
    return list(csv.reader(io.StringIO(text, newline="")))


def quote(text: str) -> str:
    """Give a text as it must stand in a cell."""
    return f"'{text}" if text.startswith(RUN) else text


def is_run(cell: str) -> bool:
    """Tell whether a spreadsheet would run a cell; a number is none of its formulas."""
    return cell.startswith(RUN) and not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", cell)


def test_every_writer_of_such_files_is_known() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("api", "ledger", "projections")
        for path in (ROOT / package).rglob("*.py")
        if "console" not in path.parts
        and re.search(r"csv\.writer|(?<!FROM STDIN \()FORMAT csv", path.read_text(encoding="utf-8"))
    }
    assert found == WRITERS.keys()


class TestHistory:
    @pytest.mark.parametrize("start", STARTS)
    def test_every_text_of_a_row_is_quoted_and_numbers_are_left_alone(self, start: str) -> None:
        texts = [name for name, kind in get_type_hints(Row).items() if "str" in str(kind)]
        for name in texts:
            text = f"{start}{name}"
            row = msgspec.structs.replace(a_row(), **{name: text})
            [cells] = cells_of(csv_lines([row]).decode())
            found = [cell for cell in cells if name in cell]
            assert found == [text if name in OF_OURS else quote(text)], name
            others = [cell for cell in cells if name not in cell]
            assert others.count("-5.00") == 4
            assert not [cell for cell in others if is_run(cell)]
        assert len(texts) > 8

    def test_a_file_says_the_same_as_the_answer_cell_by_cell(self, admin: Caller) -> None:
        login = admin.open(balance="1000")
        for start in STARTS:
            text = f"{start}1+1"
            note: dict[str, Any] = {
                "comment": text,
                "reference": text,
                "method": text,
                "metadata": {text: text},
            }
            operator = {"x-operator-id": text} if text.isprintable() and text == text.strip() else {}
            body = {"login": login, "amount": 1} | note
            sent = admin.send("POST", "/balances/withdraw", body, request_id=new_id(), headers=operator)
            assert sent.status == 201, sent.text
        for request_id in ("-1", "--", "-cmd"):
            admin.booked("withdraw", request_id=f"{request_id}:{new_id()}", login=login, amount=1)
        rows = admin.get("/balances/history", login=login, limit=1000)["rows"]
        names, *lines = cells_of(admin.get("/balances/history", login=login, format="csv").text)
        assert names == list(COLUMNS)
        assert names == cells_of(csv_header().decode())[0]
        for row, line in zip(rows, lines, strict=True):
            assert dict(zip(names, line, strict=True)) == {name: as_cell(row[name]) for name in names}
        assert not [cell for line in lines for cell in line if is_run(cell)]


class TestAccounts:
    def test_a_file_says_the_same_as_the_answer_cell_by_cell(self, admin: Caller) -> None:
        fields = {field.encode_name for field in msgspec.structs.fields(UpdateBody)}
        texts = [name for name in STRUCTURE if FIELDS[name] == "text" and name in fields]
        assert len(texts) >= 8
        for start in STARTS:
            opened = {"group": "standard"} | {name: f"{start}{name}" for name in texts}
            assert admin.post("/users", opened).status == 201
        for sign in "=+-@":
            assert admin.put(f"/groups/{sign}sheet", {"currency": "USD"}).status == 200
            debtor = admin.open(f"{sign}sheet")
            admin.booked("adjust", login=debtor, kind="charge", amount=-5)
        told = json.loads(admin.get("/reports/users").text, parse_float=Decimal)
        names, *lines = cells_of(admin.get("/reports/users", format="csv").text)
        assert names == told["structure"] == list(STRUCTURE)
        for row, line in zip(told["rows"], lines, strict=True):
            assert line == [as_cell(value) for value in row]
        assert not [cell for line in lines for cell in line if is_run(cell)]
        assert {line[names.index("group")] for line in lines} >= {f"'{sign}sheet" for sign in "=+-@"}
        assert "-5.00" in {line[names.index("balance")] for line in lines}


class TestTheResultsOfAnImport:
    @pytest.mark.parametrize("column", ["login", "group", "name", "balance", "regdate", "nonsense"])
    def test_no_cell_of_theirs_is_run(
        self, shared_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str
    ) -> None:
        file, results = tmp_path / "accounts.csv", tmp_path / "results.csv"
        right = {"login": "880000001", "group": "nowhere", "name": "n", "balance": "1", "regdate": "0"}
        with file.open("w", encoding="utf-8", newline="") as sheet:
            writer = csv.DictWriter(sheet, right.keys())
            writer.writeheader()
            for start in STARTS:
                writer.writerow(
                    right | ({column: f"{start}1+1"} if column in right else {"group": f"{start}2"})
                )
        where = ("--database-url", shared_url)
        assert main(["import", str(file), "--results", str(results), *where]) == 1
        head, *lines = cells_of(results.read_text(encoding="utf-8"))
        assert head == list(HEADER)
        assert len(lines) == len(STARTS)
        assert not [cell for line in lines for cell in line if is_run(cell)]
        assert "refused" in capsys.readouterr().err


def as_cell(value: Any) -> str:
    """Give a value of JSON as it stands in a cell."""
    match value:
        case None:
            return ""
        case list():
            return ",".join(value)
        case dict():
            return msgspec.json.encode(value).decode()
        case Exact():
            return str(value)
        case str():
            return quote(value)
        case _:
            return str(value)


def a_row() -> Row:
    """Give a row of history that says nothing by which a cell could be run, and owes money."""
    at, day = datetime(2026, 11, 20, tzinfo=UTC), date(2026, 11, 20)
    of_owed = dict.fromkeys(("amount", "balance_change", "booked_balance", "balance"), -500)
    none = {name: None for name, kind in get_type_hints(Row).items() if "None" in str(kind)}
    of_booking: dict[str, Any] = {"kind": "charge", "currency": "USD", "group_name": "standard", "digits": 2}
    times: dict[str, Any] = {"recorded_at": at, "effective_at": at, "server_day": day, "trading_day": day}
    given: dict[str, Any] = of_owed | none | of_booking | times
    return Row(**{name: given.get(name, 0) for name in Row.__struct_fields__})
