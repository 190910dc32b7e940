"""Any bytes for a key or a header are taken for what they are, or refused."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.keys import make_key
from api.middleware import Ask, introduce, item_request_id
from ledger.refusals import Unauthorized
from tests.fuzz.hostile import TEXTS, outcome
from tests.fuzz.readers import HEADERS, KEY, presented

if TYPE_CHECKING:
    pass

MANY = settings(max_examples=150)


@MANY
@given(text=st.binary(max_size=120) | TEXTS.map(lambda text: b"Bearer " + text.encode(errors="replace")))
@example(text=b"Bearer fl_0123456789abcdef_" + b"A" * 51)
def test_any_bytes_for_a_key_are_refused_without_a_look(text: bytes) -> None:
    refused = presented(text)
    assert isinstance(refused, Unauthorized)
    assert refused.code == "key_malformed"


@MANY
@given(place=st.integers(3, 78), character=st.sampled_from(string.ascii_letters + string.digits + "-_"))
def test_a_mistyped_key_is_refused_without_a_look(place: int, character: str) -> None:
    text = make_key("main").text
    mistyped = text[:place] + character + text[place + 1 :]
    if mistyped != text:
        assert isinstance(presented(f"Bearer {mistyped}".encode()), Unauthorized)


@MANY
@given(headers=st.dictionaries(st.sampled_from(HEADERS), st.binary(max_size=140)))
def test_any_headers_introduce_a_request_or_are_refused(headers: dict[bytes, bytes]) -> None:
    ask = outcome(lambda: introduce(headers, KEY))
    if isinstance(ask, Ask):
        assert 1 <= len(ask.request_id) <= 128
        assert ask.caller.operator_id is None or ask.caller.operator_id.isprintable()


@MANY
@given(text=st.none() | TEXTS)
def test_any_request_id_of_an_item_is_taken_or_refused(text: str | None) -> None:
    outcome(lambda: item_request_id(text))
