"""Any JSON and any bytes are a body, or are refused for what is wrong with them."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api import accounts_query, bodies, feed_bodies
from ledger.refusals import ValidationError
from tests.fuzz.hostile import TOKENS, VALUES, json_of, outcome
from tests.fuzz.readers import BODIES

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = settings(max_examples=150)


NAMES_IN_BODIES = (
    "login amount credit balance comment reference method effectiveAt expiresAt metadata from to reason "
    "corrects kind group name leverage enable regdate currency digits maxOperation marginCall permissions "
    "contractSize baseCurrency profitCurrency swapLong timezone dayEnd overnightDays bookCurrency dealId "
    "profit lots ticket symbol side openPrice openTime quotes positions closed deals logins epoch seq "
    "snapshotId final operations groupFilter limit offset where orderBy op operationId requestId "
)
FIELD_NAMES = st.sampled_from(NAMES_IN_BODIES.split())
LIKELY = st.sampled_from(
    [1, 1001, "1001", 1.5, "USD", "standard", "deposit", "buy", "snapshot", "bal_1", "*", []]
)


@settings(max_examples=300)
@given(
    decode=st.sampled_from(list(BODIES)),
    body=st.dictionaries(FIELD_NAMES, LIKELY | VALUES, max_size=8) | VALUES,
)
def test_any_json_is_a_body_or_is_refused(decode: Callable[[bytes], Any], body: object) -> None:
    outcome(lambda: BODIES[decode](decode(json_of(body))))


@MANY
@given(decode=st.sampled_from(list(BODIES)), body=st.binary(max_size=80))
def test_any_bytes_are_a_body_or_are_refused(decode: Callable[[bytes], Any], body: bytes) -> None:
    outcome(lambda: BODIES[decode](decode(body)))


WHOLE: list[tuple[Callable[[bytes], Any], dict[str, Any]]] = [
    (bodies.decoder(bodies.DepositBody), {"login": 1001, "amount": 1, "metadata": {}, "comment": "c"}),
    (
        bodies.decoder(bodies.GroupBody),
        {"currency": "USD", "digits": 2, "maxOperation": 5, "permissions": {}},
    ),
    (bodies.decoder(bodies.OpenBody), {"login": 1001, "group": "standard", "leverage": 100, "enable": 1}),
    (bodies.decoder(feed_bodies.PositionsBody), {"kind": "delta", "positions": [], "closed": [], "seq": 1}),
    (accounts_query.decode, {"groupFilter": "*", "limit": 1, "offset": 0, "where": [], "whereIn": []}),
]


@pytest.mark.parametrize("token", TOKENS, ids=range(len(TOKENS)))
def test_a_hostile_token_at_the_place_of_any_field_is_read_or_refused(token: bytes) -> None:
    for (decode, fields), place in product(WHOLE, (b"%b", b'{"a":%b}', b"[%b]")):
        for name in fields:
            members = {key: json_of(value) for key, value in fields.items()} | {name: place % token}
            text = b",".join(b'"%b":%b' % (key.encode(), value) for key, value in members.items())
            outcome(lambda decode=decode, text=text: decode(b"{%b}" % text))  # type: ignore[misc]


def test_a_number_beyond_all_exponents_is_refused_and_not_a_fault() -> None:
    decode = bodies.decoder(bodies.DepositBody)
    read = outcome(lambda: decode(b'{"login":1,"amount":1,"metadata":{"a":1e9999999999999999999999}}'))
    assert isinstance(read, ValidationError)
    assert read.code == "wrong_type"
