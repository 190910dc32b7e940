"""Any file of accounts is read row by row, or refused with the reason."""

from __future__ import annotations

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from api.account_rows import COLUMNS, BadRow
from ledger.commands import Command, Request
from projections.spreadsheets import quote, unquote
from tests.fuzz.hostile import ANY_TEXT, CURIOUS, TEXTS, documented_codes
from tests.fuzz.readers import sheet_rows

MANY = settings(max_examples=150)

CELLS = TEXTS | st.sampled_from(
    ["1001", "standard", "1500.00", "'=1", "2024-05-31", "true", '"', 'a"b', "a\nb"]
)


@MANY
@given(text=st.text(max_size=200) | st.text("login,group\"\r\n1'=", max_size=60))
def test_any_file_is_read_or_is_refused(text: str) -> None:
    for row in sheet_rows(text):
        assert row.number >= 2


@MANY
@given(
    header=st.lists(st.sampled_from([*COLUMNS]), unique=True, max_size=8),
    cells=st.lists(st.lists(CELLS, max_size=10), max_size=4),
)
def test_any_row_asks_for_an_account_or_says_why_not(header: list[str], cells: list[list[str]]) -> None:
    sheet = io.StringIO(newline="")
    csv.writer(sheet).writerows(
        [[*header, *(name for name in ("login", "group") if name not in header)], *cells]
    )
    for row in sheet_rows(sheet.getvalue()):
        if isinstance(row, BadRow):
            assert row.refusal.code in documented_codes()
        else:
            assert isinstance(row.open, Request)
            assert isinstance(row.account, Command)


@MANY
@given(text=ANY_TEXT | CURIOUS)
def test_a_text_that_an_export_quotes_is_taken_back_as_it_was(text: str) -> None:
    assert unquote(quote(text)) == text or text.startswith("'")
