"""Whatever is thrown at a route: a documented refusal, no event, and the request id still free."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.served import Caller, Served, new_id

if TYPE_CHECKING:
    from tests.api.served import Answer

EXAMPLES = 60
REFUSED = {400, 401, 403, 404, 405, 409, 413}

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/balances/deposit"): {"login": 1001, "amount": 1, "comment": "c", "metadata": {"a": 1}},
    ("POST", "/balances/withdraw"): {"login": 1001, "amount": 1, "reference": "r", "method": "m"},
    ("POST", "/balances/credit"): {"login": 1001, "amount": 1, "expiresAt": "2199-01-01T00:00:00Z"},
    ("POST", "/balances/transfer"): {"from": 1001, "to": 1002, "amount": 1},
    ("POST", "/balances/correction"): {"login": 1001, "balance": 1, "credit": 1, "reason": "r"},
    ("POST", "/balances/adjust"): {"login": 1001, "kind": "opening", "amount": 1, "credit": 1},
    ("POST", "/balances/operations/bal_1/reverse"): {"reason": "r"},
    ("POST", "/balances/batch"): {
        "operations": [{"op": "deposit", "requestId": "x", "login": 1001, "amount": 1}],
        "atomic": True,
    },
    ("POST", "/users"): {"group": "standard", "name": "n", "leverage": 100, "enable": 1, "regdate": 0},
    ("PATCH", "/users/1001"): {"group": "standard", "email": "e", "magic": 1, "customer_id": 1},
    ("PUT", "/groups/standard"): {
        "currency": "USD",
        "digits": 2,
        "maxOperation": 1000,
        "marginCall": 50,
        "permissions": {},
    },
    ("PUT", "/server"): {
        "timezone": "UTC",
        "dayEnd": "00:00",
        "overnightDays": "all",
        "bookCurrency": "USD",
    },
}

# Surrogates only as escapes: half a character cannot be written in UTF-8.
text = st.text(st.characters(codec="utf-8"), max_size=20)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=2**52, max_value=2**66),
    st.floats(allow_nan=False, allow_infinity=False),
    text,
    st.sampled_from(
        ["bal_1", "2026-01-05T10:30:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]
    ),
    st.sampled_from(["\x00", "deposit", "USD", "*", "!", "standard", "Europe/Athens", "../UTC", "24:00"]),
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
NASTY = [
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"a\\u0000b"',
    b"1e999999",
    b"-1e-999999",
    b"1E400",
    b"0." + b"0" * 5000 + b"1",
    b"9" * 5000,
    b"-" + b"9" * 5000 + b"." + b"9" * 5000,
    b"-0",
    b"0.0",
    b"1e2",
    b'"1e2"',
    b'"NaN"',
    b'"\xd9\xa1"',
    b"[" * 5000 + b"]" * 5000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b'{"a":"\\ud800"}',
    b'{"\\u0000":1}',
    b'{"\\ud800":1}',
    b'{"a":1e999999}',
    b'{"a":' + b"9" * 3000 + b"}",
    b"18446744073709551616",
    b"9223372036854775808",
    b'"' + b"x" * 60_000 + b'"',
    b'"2026-13-45T99:99:99Z"',
    b'"2026-01-05T10:30:00.123456789123Z"',
    b'"2026-06-30T23:59:60Z"',
    b"\xff",
    b"nul",
    b"",
]
fields = sorted({name for body in BODIES.values() for name in body} | {"nonsense", "opId", ""})
routes = st.sampled_from(sorted(BODIES))
calls = settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module", autouse=True)
def accounts(admin: Caller) -> None:
    for login in (1001, 1002):
        assert admin.post("/users", {"login": login, "group": "standard"}).status == 201


def left_no_trace(admin: Caller, served: Served, call: tuple[str, str], body: bytes | None) -> Answer:
    """Send something; unless it was taken, nothing happened and its id is free."""
    last, request_id = served.last_position, new_id()
    answer = admin.send(*call, body, request_id=request_id)
    assert answer.status in {200, 201} | REFUSED, answer.text
    if answer.status in REFUSED:
        assert served.last_position == last, answer.text
        assert admin.get(f"/requests/{request_id}").said == (404, "unknown_request")
    return answer


@calls
@given(call=routes, body=st.binary(max_size=200))
def test_bytes_that_mean_nothing(admin: Caller, served: Served, call: tuple[str, str], body: bytes) -> None:
    assert left_no_trace(admin, served, call, body).status == 400


@calls
@given(call=routes, body=values)
def test_json_that_means_nothing(admin: Caller, served: Served, call: tuple[str, str], body: object) -> None:
    left_no_trace(admin, served, call, json.dumps(body).encode())


@calls
@given(call=routes, changes=st.dictionaries(st.sampled_from(fields), values, min_size=1, max_size=3))
def test_a_body_with_wrong_values(
    admin: Caller, served: Served, call: tuple[str, str], changes: dict[str, Any]
) -> None:
    left_no_trace(admin, served, call, json.dumps(BODIES[call] | changes).encode())


@calls
@given(call=routes, data=st.data())
def test_a_body_with_fields_missing(
    admin: Caller, served: Served, call: tuple[str, str], data: st.DataObject
) -> None:
    kept = data.draw(st.sets(st.sampled_from(sorted(BODIES[call]))))
    body = {name: value for name, value in BODIES[call].items() if name in kept}
    left_no_trace(admin, served, call, json.dumps(body).encode())


@pytest.mark.parametrize("call", sorted(BODIES), ids="".join)
def test_a_nasty_token_in_any_place(admin: Caller, served: Served, call: tuple[str, str]) -> None:
    for name in [*BODIES[call], "comment", "metadata", "effectiveAt"]:
        for token in NASTY:
            members = {
                key: json.dumps(value).encode() for key, value in BODIES[call].items() if key != name
            } | {name: token}
            body = b",".join(b'"%b":%b' % (key.encode(), value) for key, value in members.items())
            left_no_trace(admin, served, call, b"{" + body + b"}")


@pytest.mark.parametrize("call", sorted(BODIES), ids="".join)
def test_a_nasty_token_alone(admin: Caller, served: Served, call: tuple[str, str]) -> None:
    for token in NASTY:
        assert left_no_trace(admin, served, call, token).status == 400


@pytest.mark.parametrize("token", NASTY, ids=range(len(NASTY)))
def test_a_nasty_token_in_an_item_harms_not_its_neighbours(
    admin: Caller, served: Served, token: bytes
) -> None:
    good = b'{"op":"deposit","requestId":"%b","login":1001,"amount":1}'
    for name in (b"login", b"amount", b"comment", b"metadata", b"requestId", b"op", b"effectiveAt"):
        bad = b'{"op":"deposit","login":1001,"amount":1,"requestId":"%b","%b":%b}' % (
            new_id().encode(),
            name,
            token,
        )
        items = [good % new_id().encode(), bad, good % new_id().encode()]
        answer = admin.post("/balances/batch", b'{"operations":[%b]}' % b",".join(items))
        if answer.status == 200:
            first, middle, last = (result["httpStatus"] for result in answer["results"])
            assert (first, last) == (201, 201)
            assert middle in {200, 201} | REFUSED
        else:
            assert answer.said == (400, "body_malformed")


PATHS = [
    ("GET", "/users/{}"),
    ("GET", "/requests/{}"),
    ("GET", "/balances/operations/{}"),
    ("POST", "/users/{}/disable"),
    ("POST", "/balances/operations/{}/reverse"),
    ("PUT", "/groups/{}"),
]
words = st.one_of(
    text.filter(lambda word: word not in {"", ".", ".."}),
    st.integers().map(str),
    st.sampled_from(
        ["bal_1", "op_1", "%00", "\x00", "+1", "1_000", "\u0661", "-1", "9" * 400, "1e3", "~key/1", "a b"]
    ),
)


@calls
@given(route=st.sampled_from(PATHS), word=words)
def test_any_word_in_a_path(admin: Caller, served: Served, route: tuple[str, str], word: str) -> None:
    method, path = route
    body = {"GET": None, "POST": b'{"reason":""}', "PUT": b'{"currency":"XTS","digits":9}'}[method]
    if word in {"1001", "1002"}:
        return
    left_no_trace(admin, served, (method, path.format(quote(word, safe=""))), body)


PARAMETERS = [
    "login",
    "groupFilter",
    "kind",
    "from",
    "to",
    "fromDay",
    "toDay",
    "requestId",
    "reference",
    "operatorId",
    "minAmount",
    "maxAmount",
    "basis",
    "order",
    "limit",
    "offset",
    "cursor",
    "totals",
    "format",
    "at",
    "dryRun",
]


@calls
@given(
    path=st.sampled_from(["/balances/history", "/balances/asof", "/groups", "/server", "/users/1001"]),
    query=st.dictionaries(st.sampled_from(PARAMETERS), words, max_size=3),
)
def test_any_word_in_a_query(admin: Caller, path: str, query: dict[str, str]) -> None:
    written = "&".join(f"{name}={quote(word, safe='')}" for name, word in query.items())
    assert admin.send("GET", f"{path}?{written}").status in {200} | REFUSED


@pytest.mark.parametrize(
    "query",
    ["%", "%zz", "%ff", "a=%ff", "login=%00", "=", "&&&", ";", "login", "kind=%00", "reference=%ff%fe"],
)
def test_a_query_that_is_no_query(admin: Caller, query: str) -> None:
    for path in ("/balances/history", "/balances/asof", "/requests/x"):
        assert admin.send("GET", f"{path}?{query}").status in {200, 400, 404}


CONTROLS = bytes([*range(32), 127])
"""What is no HTTP at all: the server answers that below every route."""


@calls
@given(
    name=st.sampled_from(
        ["authorization", "x-request-id", "idempotency-key", "x-operator-id", "content-type"]
    ),
    value=st.binary(max_size=60).map(lambda raw: raw.translate(None, CONTROLS).strip()),
)
def test_any_bytes_in_a_header(admin: Caller, served: Served, name: str, value: bytes) -> None:
    last = served.last_position
    answer = admin.send("POST", "/balances/deposit", b'{"login":1001,"amount":0}', headers={name: value})
    assert answer.status in {400, 401}
    assert served.last_position == last


def test_the_service_is_as_it_was(admin: Caller, nobody: Caller, served: Served) -> None:
    assert nobody.get("/readyz").status == 200
    assert admin.book("deposit", login=1001, amount=1).status == 201
    assert "Traceback" not in served.logged
    assert "fault" not in served.logged
