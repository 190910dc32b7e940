"""No cell of ours is run by a spreadsheet, and what was quoted for it is read back as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from projections.spreadsheets import RUN_BY_SPREADSHEETS, quote, unquote

TEXTS = st.text(st.sampled_from("=+-@\t\r\n'1a "), max_size=6)


@given(TEXTS)
def test_no_text_is_written_so_that_a_spreadsheet_would_run_it(text: str) -> None:
    assert not quote(text).startswith(RUN_BY_SPREADSHEETS)
    assert quote(text) in {text, f"'{text}"}


@given(TEXTS.filter(lambda text: not (text[:1] == "'" and text[1:2] in RUN_BY_SPREADSHEETS)))
def test_a_text_that_was_quoted_is_read_back_as_it_was(text: str) -> None:
    assert unquote(quote(text)) == text


def test_a_text_that_nothing_would_run_is_left_alone() -> None:
    for text in ("", "'", "O'Neill", "'s-Hertogenbosch", "1=1"):
        assert quote(text) == unquote(text) == text
