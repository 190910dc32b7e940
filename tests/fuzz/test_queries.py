"""Any query is read as it is written, or refused; a cursor goes on where it was written."""

from __future__ import annotations

import string
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api import accounts_query, bodies
from api.accounts_query import AccountsQuery
from api.bodies import converted
from api.history import HistoryQuery
from api.history_reading import position_of
from ledger.commands import EVERYTHING
from ledger.refusals import Refusal, ValidationError
from projections.accounts_filter import FIELDS
from projections.accounts_list import Question
from projections.history import Filter as HistoryFilter
from projections.history_filter import Order, read_cursor, write_cursor
from tests.fuzz.hostile import TEXTS, VALUES, json_of, outcome
from tests.fuzz.readers import PARAMETERS, QUERIES, SCOPES

if TYPE_CHECKING:
    pass

MANY = settings(max_examples=150)


RULES = [name for name in AccountsQuery.__struct_encode_fields__ if name.startswith(("where", "orderBy"))]
RULE_VALUES = VALUES | st.lists(
    st.lists(st.sampled_from([*FIELDS, "=", "like", ">", "ASC"]) | VALUES, max_size=3), max_size=3
)


@MANY
@given(
    query=st.sampled_from(list(QUERIES)),
    given_values=st.dictionaries(st.sampled_from(PARAMETERS), TEXTS, max_size=5),
)
def test_any_query_is_read_or_is_refused(query: type[Any], given_values: dict[str, str]) -> None:
    outcome(lambda: QUERIES[query](converted(given_values, query)))


NUMBERS = ("null", "NULL", "1e2", "1.0", "+1", "01", "1_0", "\u0661", "0x1", "true")
NOT_SO = {
    "login": NUMBERS,
    "limit": NUMBERS,
    "offset": NUMBERS,
    "from": ("null", "1700000000", "1e9", "2026-11-20", "now"),
    "to": ("null", "1700000000"),
    "fromDay": ("null", "20261120", "1700000000", "2026-11-20T00:00:00Z"),
    "toDay": ("null", "20261120"),
    "totals": ("null", "yes", "2", "on"),
    "order": ("null", "ASC"),
}
"""What lenient readers take for a number, a time, a flag, or for a parameter that is not there."""


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in NOT_SO.items() for text in ["", " 1", *texts]]
)
def test_a_parameter_is_read_as_it_is_written_or_refused(name: str, text: str) -> None:
    read = outcome(lambda: converted({name: text}, HistoryQuery).filter(EVERYTHING))
    assert isinstance(read, ValidationError)
    assert (read.code, read.field) == ("wrong_type", name)


@MANY
@given(name=st.sampled_from(RULES), value=RULE_VALUES.filter(lambda value: value is not None))
def test_any_rules_of_the_accounts_list_are_read_or_refused(name: str, value: object) -> None:
    asked = {"groupFilter": "*", "limit": 0, "offset": 0, name: value}
    body = outcome(lambda: accounts_query.decode(json_of(asked)).question(access=EVERYTHING, scopes=SCOPES))
    in_query = {"groupFilter": "*", "limit": "0", "offset": "0", name: json_of(value).decode()}
    query = outcome(
        lambda: converted(in_query, AccountsQuery).body().question(access=EVERYTHING, scopes=SCOPES)
    )
    assert isinstance(body, Question) == isinstance(query, Question)
    if isinstance(body, Question) and isinstance(query, Question):
        assert body.filter.rules == query.filter.rules


KEYS = st.tuples(
    st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(1, 2**63 - 2),
)
QUESTIONS = st.builds(
    HistoryFilter,
    login=st.none() | st.integers(1, 5000),
    kinds=st.sampled_from([(), ("deposit",), ("credit", "deposit")]),
    basis=st.sampled_from(["recorded", "effective"]),
    reference=st.none() | st.sampled_from(["a", "b"]),
)
ORDERS: st.SearchStrategy[Order] = st.sampled_from(["asc", "desc"])


@MANY
@given(key=KEYS, wanted=QUESTIONS, order=ORDERS)
def test_a_cursor_reads_back_as_it_was_written(
    key: tuple[datetime, int], wanted: HistoryFilter, order: Order
) -> None:
    assert read_cursor(write_cursor(key, wanted, order), wanted, order) == key


@MANY
@given(text=TEXTS, wanted=QUESTIONS, order=ORDERS)
def test_any_text_for_a_cursor_is_refused(text: str, wanted: HistoryFilter, order: Order) -> None:
    read = outcome(lambda: read_cursor(text, wanted, order))
    assert isinstance(read, ValidationError)
    assert read.code == "bad_cursor"


@MANY
@given(
    key=KEYS,
    wanted=QUESTIONS,
    order=ORDERS,
    place=st.integers(0, 31),
    character=st.sampled_from(string.ascii_letters + string.digits + "-_=+/ "),
)
def test_a_cursor_with_another_character_goes_on_from_there_or_is_refused(
    key: tuple[datetime, int], wanted: HistoryFilter, order: Order, place: int, character: str
) -> None:
    written = write_cursor(key, wanted, order)
    changed = written[:place] + character + written[place + 1 :]
    read = outcome(lambda: read_cursor(changed, wanted, order))
    assert isinstance(read, Refusal) or write_cursor(read, wanted, order) == changed


@MANY
@given(one=QUESTIONS, other=QUESTIONS, order=ORDERS, key=KEYS)
def test_a_cursor_is_of_its_own_question(
    one: HistoryFilter, other: HistoryFilter, order: Order, key: tuple[datetime, int]
) -> None:
    cursor = write_cursor(key, one, order)
    read = outcome(lambda: read_cursor(cursor, other, order))
    assert isinstance(read, ValidationError) == (one != other)


@MANY
@given(text=TEXTS)
def test_any_text_is_an_operation_id_or_is_refused(text: str) -> None:
    for read in (bodies.position, position_of):
        found = outcome(lambda read=read: read(text))  # type: ignore[misc]
        assert isinstance(found, Refusal) or (found >= 0 and str(found) in text)
