"""Events are stored as bytes that come back as the same event, and as the same bytes, for ever."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from ledger import events
from ledger.codec import BytesTranscoder, EventMapper, UnknownEvent, read_event
from ledger.events import AnyEvent, Event, decode, encode, operation_id
from tests import strategies
from tests.make import account_opened, at, deposited, given, group_defined, transferred, withdrawn

if TYPE_CHECKING:
    from ledger.book import Book

TYPES: tuple[type[Event], ...] = AnyEvent.__args__


@settings(max_examples=150)
@for_all(strategies.books())
def test_every_event_comes_back_as_it_was_and_as_the_same_bytes(book: Book) -> None:
    for event in book.booked:
        state = encode(event)
        assert decode(state) == event
        assert encode(decode(state)) == state


@for_all(strategies.metadata)
def test_metadata_comes_back_without_passing_through_a_float(metadata: dict[str, object] | None) -> None:
    [event] = given(deposited(metadata=metadata)).operations[4]
    again = decode(encode(event))
    assert getattr(again, "metadata", None) == metadata
    assert "float" not in _types(metadata) | _types(getattr(again, "metadata", None))


def _types(value: object) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(_types, value.values()))
    if isinstance(value, list):
        return set().union(*map(_types, value))
    return {type(value).__name__}


def test_an_event_is_stored_so_that_an_auditor_can_read_it() -> None:
    deposit = deposited(
        "1500.00", request_id="r1", key_id="k1", operator_id="alice", metadata={"rate": Decimal("1.50")}
    )
    [event] = given(deposit).operations[4]
    assert encode(event) == (
        b'{"type":"money-moved","position":4,"stream":"account:1001","version":2,"operation":4,'
        b'"recordedAt":"2026-11-18T12:00:00Z","serverDay":"2026-11-18","tradingDay":"2026-11-18","schema":1,'
        b'"requestId":"r1","operatorId":"alice","keyId":"k1","login":1001,"group":"standard","kind":"deposit",'
        b'"currency":"USD","digits":2,"amount":150000,"balanceChange":150000,"balance":150000,"credit":0,'
        b'"metadata":{"rate":1.50}}'
    )


def test_an_event_written_before_a_field_was_added_can_be_read() -> None:
    [event] = given(withdrawn(5)).operations[4]
    assert decode(encode(event).replace(b'"creditChange":0,', b"")) == event


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_the_stored_name_of_an_event_type_is_its_topic(kind: type[Event]) -> None:
    assert kind.__struct_config__.tag == kind.TOPIC


def test_every_event_type_can_be_read_back() -> None:
    named = {
        value
        for value in vars(events).values()
        if isinstance(value, type) and issubclass(value, Event) and "TOPIC" in vars(value)
    }
    assert named == set(TYPES)
    assert len({kind.TOPIC for kind in TYPES}) == len(TYPES)


def test_an_event_of_an_unknown_type_is_refused_by_its_position() -> None:
    with pytest.raises(UnknownEvent, match="position 17 of type 'moon-landed'") as caught:
        read_event(b'{"type":"moon-landed"}', topic="moon-landed", position=17)
    assert (caught.value.position, caught.value.topic) == (17, "moon-landed")
    with pytest.raises(UnknownEvent):
        read_event(b"not json", topic="money-moved")
    with pytest.raises(UnknownEvent):
        read_event(b'{"type":"money-moved"}', topic="money-moved")


def test_an_operation_is_named_by_the_position_of_its_first_event() -> None:
    book = given(group_defined("vip"), account_opened(2001), deposited(100), transferred(5))
    ids = [operation_id(event) for operation in book.operations.values() for event in operation]
    assert ids == ["op_1", "op_2", "op_3", "op_4", "op_5", "bal_6", "bal_7", "bal_7"]


def test_times_are_stored_to_the_microsecond() -> None:
    [event] = given(deposited(), now=at("2026-11-18 12:00:00.000001")).operations[4]
    assert b'"recordedAt":"2026-11-18T12:00:00.000001Z"' in encode(event)


def test_the_librarys_mapper_stores_the_same_bytes() -> None:
    mapper = EventMapper(BytesTranscoder())
    [event] = given(deposited(100)).operations[4]
    stored = mapper.to_stored_event(event)
    assert (stored.originator_id, stored.originator_version) == ("account:1001", 2)
    assert (stored.topic, stored.state) == ("money-moved", encode(event))
    assert mapper.to_domain_event(stored) == event


@for_all(
    st.recursive(st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=3), st.lists, max_leaves=5)
)
def test_plain_values_pass_the_librarys_transcoder(value: object) -> None:
    assert BytesTranscoder().decode(BytesTranscoder().encode(value)) == value
    assert msgspec.json.decode(BytesTranscoder().encode(value)) == value
