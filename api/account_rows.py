"""accounts.csv: the accounts of a running broker, one a row; its columns, and what a row asks for."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, TextIO

import msgspec

from api import bodies
from api.first_rows import FirstRows
from ledger.commands import Adjust, Command, Request
from ledger.money import Amount, parse_amount_text
from ledger.refusals import Refusal, ValidationError
from projections.spreadsheets import unquote

NEEDED: Final = ("login", "group")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One account to take over. `number` is the row's in a spreadsheet: the header is row 1.

    Its request ids lie outside of the callers' alphabet: nobody else can use them up.
    """

    number: int
    login: int
    account: Command
    balance: Amount | None
    credit: Amount | None

    @property
    def open(self) -> Request:
        """Ask for the account."""
        return Request(command=self.account, request_id=f"~import/open/{self.login}")

    @property
    def fund(self) -> Request:
        """Ask for its opening money; where there is none, only whether an earlier row had some."""
        command = Adjust(login=self.login, kind="opening", amount=self.balance, credit=self.credit)
        return Request(command=command, request_id=f"~import/opening/{self.login}", dry_run=not self.funded)

    @property
    def funded(self) -> bool:
        """Whether it brings opening money."""
        return self.balance is not None or self.credit is not None


class BadRow(msgspec.Struct, frozen=True):
    """A row that cannot be understood. `login` is what stands in its cell."""

    number: int
    login: str
    refusal: Refusal


def read_rows(lines: TextIO) -> Iterator[Row | BadRow]:
    """Check the header, then give the rows one by one; a ValidationError where the header is wrong."""
    reader = csv.reader(lines, strict=True)  # else a quote that is never closed swallows the rest unseen
    header = _header(reader)
    return _rows(reader, header)


def _header(reader: Iterator[list[str]]) -> list[str]:
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise _broken(error) from error
    for name in header:
        if name not in COLUMNS:
            columns = ", ".join(COLUMNS)
            raise ValidationError("unknown_field", f"there is no column {name!r}; there are {columns}")
        if header.count(name) > 1:
            raise ValidationError("repeated_field", f"the column {name} is there twice", field=name)
    for name in NEEDED:
        if name not in header:
            raise ValidationError("missing_field", f"the first row names no column {name}", field=name)
    return header


def _rows(reader: Iterator[list[str]], header: list[str]) -> Iterator[Row | BadRow]:
    first_rows = FirstRows()
    number = 1
    while True:
        number += 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:  # where the next row begins is not known any more
            yield BadRow(number, "", _broken(error))
            return
        if cells:
            yield _row(number, header, cells, first_rows)


def _row(number: int, header: Sequence[str], cells: Sequence[str], first_rows: FirstRows) -> Row | BadRow:
    if len(cells) != len(header):
        detail = f"the row has {len(cells)} cells where the first one names {len(header)} columns"
        return BadRow(number, "", ValidationError("bad_row", detail))
    given = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    try:
        _check_first(number, given.get("login", ""), first_rows)
        return _parsed(number, given)
    except Refusal as refusal:
        return BadRow(number, given.get("login", ""), refusal)


def _check_first(number: int, login: str, first_rows: FirstRows) -> None:
    """Refuse a login that stands in an earlier row, whatever became of that one."""
    if not _NUMBER.fullmatch(login):
        return
    first = first_rows.first(int(login), number)
    if first != number:
        raise ValidationError("repeated_login", f"login {login} stands in row {first} already", field="login")


def _parsed(number: int, given: Mapping[str, str]) -> Row:
    values = {name: COLUMNS[name](_clean(cell, name), name) for name, cell in given.items()}
    balance, credit = values.pop("balance", None), values.pop("credit", None)
    if "login" not in values:
        raise ValidationError("missing_field", "login is missing", field="login")
    body = bodies.checked(values, bodies.OpenBody)
    assert body.login is not None
    return Row(
        number=number,
        login=body.login,
        account=body.command(),
        balance=balance if isinstance(balance, Amount) else None,
        credit=credit if isinstance(credit, Amount) else None,
    )


def _clean(cell: str, name: str) -> str:
    """Refuse what was no UTF-8 (half characters by now), and lines that a stray quote has made one cell."""
    if _HALVES.search(cell):
        raise ValidationError("bad_text", f"{name} is not UTF-8", field=name)
    if "\n" in cell or "\r" in cell:
        detail = f"{name} holds a line end: a quote may be astray"
        raise ValidationError("bad_text", detail, field=name)
    return cell


def _text(cell: str, name: str) -> str:  # noqa: ARG001 - one shape for all columns
    """Give the text, without the quote that our exports put before what a spreadsheet would run."""
    return unquote(cell)


def _number(cell: str, name: str) -> int:
    if not _NUMBER.fullmatch(cell):
        raise ValidationError(
            "wrong_type", f"{name} must be a whole number without leading zeros", field=name
        )
    return int(cell)


def _flag(cell: str, name: str) -> bool:
    if cell not in _FLAGS:
        raise ValidationError("wrong_type", f"{name} must be one of {', '.join(_FLAGS)}", field=name)
    return _FLAGS[cell]


def _regdate(cell: str, name: str) -> int:
    """Read epoch seconds, a day (its beginning in UTC) or an instant with its zone.

    Numbers of other lengths are refused: 20240531 is a day, and 13 digits are milliseconds.
    """
    if _SECONDS.fullmatch(cell):
        return int(cell)
    try:
        instant = datetime.fromisoformat(cell)
    except ValueError:
        instant = None
    if instant is not None and _DAY.fullmatch(cell):
        instant = instant.replace(tzinfo=UTC)
    if instant is None or instant.tzinfo is None:
        raise ValidationError("wrong_type", f"{name} {_REGDATE}", field=name)
    return int(instant.timestamp())


def _money(cell: str, name: str) -> Amount | None:
    """Read an exact amount; zero is no opening money."""
    amount = parse_amount_text(cell, field=name)
    return None if amount.is_zero else amount


def _broken(error: csv.Error) -> ValidationError:
    return ValidationError("bad_csv", f"this is no CSV from here on, and nothing below was read: {error}")


COLUMNS: Final[Mapping[str, Callable[[str, str], object]]] = {
    "login": _number,
    "group": _text,
    "name": _text,
    "email": _text,
    "country": _text,
    "phone": _text,
    "address": _text,
    "city": _text,
    "zipcode": _text,
    "comment": _text,
    "leverage": _number,
    "enable": _flag,
    "enable_read_only": _flag,
    "enable_change_password": _flag,
    "magic": _number,
    "customer_id": _number,
    "regdate": _regdate,
    "balance": _money,
    "credit": _money,
}

_HALVES = re.compile(r"[\udc80-\udcff]")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_SECONDS = re.compile(r"0|[1-9][0-9]{8,9}")
_REGDATE: Final = (
    "must be seconds since 1970, in 9 or 10 digits, a day such as 2024-05-31, or an instant with its zone"
)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FLAGS: Final = {"0": False, "1": True, "false": False, "true": True}
