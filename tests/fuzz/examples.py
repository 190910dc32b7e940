"""The story that the examples of the OpenAPI document tell: each request in turn, and its answer."""

from __future__ import annotations

import re
import time
from typing import Any, Final

import httpx
import msgspec
from msgspec import UNSET, Raw

from api.examples import Example
from tests.service import BOUND_S, KEPT

BEGIN: Final = "2026-11-20T13:00:00Z"
METRIC: Final = "fundledger_operations_total"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """A request to send, with a key or without; a patient one is sent until it is answered well."""

    route: str
    title: str
    path: dict[str, str | int] = {}
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: str | None = None
    key: bool = True
    patient: bool = False

    @property
    def method(self) -> str:
        """GET, POST, PUT or PATCH."""
        return self.route.partition(" ")[0]

    @property
    def address(self) -> str:
        """The path with its places filled in."""
        return self.route.partition(" ")[2].format(**self.path)


def _wish(route: str, title: str, body: str | None = None, **rest: Any) -> Wish:
    return Wish(route=route, title=title, body=body, **rest)


def _named(request_id: str) -> dict[str, str]:
    return {"x-request-id": request_id}


DEPOSIT: Final = '{"login":1001,"amount":1500.00,"method":"card","reference":"psp-77"}'
STORY: Final[tuple[Wish, ...]] = (
    _wish(
        "PUT /server",
        "a clock",
        '{"timezone":"Europe/Athens","dayEnd":"00:00","overnightDays":"mon-fri","bookCurrency":"USD"}',
        headers=_named("s1"),
    ),
    _wish(
        "PUT /groups/{group}",
        "a group in USD",
        '{"currency":"USD","leverage":100,"maxOperation":100000}',
        path={"group": "STD-USD"},
        headers=_named("g1"),
    ),
    _wish(
        "PUT /groups/{group}",
        "a group in EUR",
        '{"currency":"EUR","withdrawPolicy":"mt"}',
        path={"group": "STD-EUR"},
        headers=_named("g2"),
    ),
    _wish(
        "PUT /symbols/{symbol}",
        "a symbol",
        '{"digits":5,"contractSize":100000,"baseCurrency":"EUR","profitCurrency":"USD","swapLong":-0.7,'
        '"spread":12}',
        path={"symbol": "EURUSD"},
        headers=_named("y1"),
    ),
    _wish(
        "POST /users",
        "an account",
        '{"login":1001,"group":"STD-USD","name":"Ann","country":"GR","regdate":1795179600}',
        headers=_named("u1"),
    ),
    _wish(
        "POST /users", "the next free login", '{"group":"STD-USD","regdate":1795179600}', headers=_named("u2")
    ),
    _wish(
        "POST /users",
        "an account in EUR",
        '{"login":2001,"group":"STD-EUR","regdate":1795179600}',
        headers=_named("u3"),
    ),
    _wish("POST /balances/deposit", "a card payment", DEPOSIT, headers=_named("psp-77")),
    _wish("POST /balances/deposit", "the same again", DEPOSIT, headers=_named("psp-77")),
    _wish("POST /balances/deposit", "no request id", DEPOSIT),
    _wish("POST /balances/deposit", "no key", DEPOSIT, headers=_named("psp-78"), key=False),
    _wish(
        "POST /balances/withdraw",
        "a dry run",
        '{"login":1001,"amount":"100.00"}',
        query={"dryRun": "true"},
        headers=_named("w0"),
    ),
    _wish("POST /balances/withdraw", "a withdrawal", '{"login":1001,"amount":100}', headers=_named("w1")),
    _wish("POST /balances/withdraw", "too much", '{"login":1001,"amount":9999}', headers=_named("w2")),
    _wish(
        "POST /balances/credit",
        "credit that expires",
        '{"login":1001,"amount":50,"expiresAt":"2026-12-31T00:00:00Z","comment":"welcome"}',
        headers=_named("c1"),
    ),
    _wish("POST /balances/transfer", "a cent", '{"from":1001,"to":1002,"amount":0.01}', headers=_named("t1")),
    _wish(
        "POST /balances/correction",
        "a fee passed on",
        '{"login":1001,"balance":-5,"corrects":"bal_10","reason":"fee passed on"}',
        headers=_named("k1"),
    ),
    _wish(
        "POST /balances/adjust",
        "money taken over",
        '{"login":2001,"kind":"opening","amount":250.5,"credit":10}',
        headers=_named("a1"),
    ),
    _wish(
        "POST /balances/operations/{operationId}/reverse",
        "a payout that came back",
        '{"reason":"the bank returned it"}',
        path={"operationId": "bal_11"},
        headers=_named("r1"),
    ),
    _wish(
        "POST /balances/operations/{operationId}/reverse",
        "a second time",
        '{"reason":"the bank returned it"}',
        path={"operationId": "bal_11"},
        headers=_named("r2"),
    ),
    _wish(
        "POST /balances/batch",
        "one booked, one refused",
        '{"operations":[{"op":"deposit","requestId":"b1","login":1001,"amount":1},'
        '{"op":"deposit","requestId":"b2","login":1001,"amount":0}]}',
    ),
    _wish("PATCH /users/{login}", "more leverage", '{"leverage":200}', path={"login": 1001}),
    _wish("POST /users/{login}/disable", "suspended", path={"login": 1002}),
    _wish("POST /users/{login}/disable", "suspended already", path={"login": 1002}),
    _wish("POST /users/{login}/enable", "back again", path={"login": 1002}),
    _wish(
        "POST /feed/quotes",
        "one known, one unknown symbol",
        '{"seq":1,"quotes":[["EURUSD",1.10500,1.10520],["SILVER",30,31]]}',
    ),
    _wish(
        "POST /feed/positions",
        "a position",
        '{"seq":1,"kind":"delta","positions":[{"ticket":7,"login":1001,"symbol":"EURUSD","side":"buy",'
        '"lots":0.01,"openPrice":1.1}]}',
    ),
    _wish("POST /feed/online", "one is online", '{"logins":[1001]}'),
    _wish(
        "POST /feed/deals",
        "a closed deal",
        '{"deals":[{"dealId":"4711","login":1001,"symbol":"EURUSD","lots":0.5,"profit":50.25,'
        '"commission":-3}]}',
    ),
    _wish("GET /feed/status", "how far it has come"),
    _wish("GET /users/{login}", "an account", path={"login": 1001}),
    _wish("GET /users/{login}", "no such account", path={"login": 4711}),
    _wish("GET /groups", "all groups"),
    _wish("GET /symbols", "all symbols"),
    _wish("GET /server", "the clock"),
    _wish(
        "GET /balances/history",
        "an account's day",
        query={"login": "1001", "fromDay": "2026-11-20", "limit": "2", "totals": "true"},
    ),
    _wish("GET /balances/history", "as CSV", query={"login": "1002", "format": "csv"}),
    _wish("GET /balances/operations/{operationId}", "a deposit", path={"operationId": "bal_10"}),
    _wish("GET /balances/operations/{operationId}", "an opening", path={"operationId": "op_7"}),
    _wish("GET /requests/{requestId}", "it happened", path={"requestId": "psp-77"}),
    _wish("GET /requests/{requestId}", "it did not", path={"requestId": "psp-79"}),
    _wish("GET /balances/asof", "that evening", query={"login": "1001", "at": "2026-11-20T23:00:00Z"}),
    _wish(
        "GET /accounts",
        "those with money",
        query={
            "groupFilter": "STD-*,!STD-EUR",
            "limit": "1",
            "offset": "0",
            "where": '[["balance",">",0.005]]',
            "orderBy": '["balance","DESC"]',
        },
    ),
    _wish(
        "POST /accounts/query",
        "totals alone",
        '{"groupFilter":"*","limit":0,"offset":0,"whereIn":[["country",["GR",""]]]}',
    ),
    _wish("GET /reports/exposure", "by symbol", query={"by": "symbol"}),
    _wish("GET /reports/exposure", "by group", query={"by": "group"}),
    _wish("GET /reports/exposure", "by currency", query={"by": "currency"}),
    _wish("GET /reports/users", "as JSON", query={"groupFilter": "STD-EUR"}),
    _wish("GET /reports/users", "line by line", query={"groupFilter": "STD-EUR", "format": "ndjson"}),
    _wish("GET /reports/users", "as CSV", query={"groupFilter": "STD-EUR", "format": "csv"}),
    _wish("GET /reports/daily", "one group", query={"day": "2026-11-20", "groupFilter": "STD-USD"}),
    _wish("GET /audit/events", "the deposit", query={"after": "9", "limit": "1"}),
    _wish("GET /audit/stream", "the deposit", query={"after": "9"}),
    _wish("GET /audit/refusals", "the first", query={"limit": "1"}, patient=True),
    _wish("GET /audit/checkpoint", "the newest", patient=True),
    _wish("GET /audit/proof/{operationId}", "of a deposit", path={"operationId": "bal_10"}, patient=True),
    _wish("GET /audit/consistency", "since a deposit", query={"from": "10"}, patient=True),
    _wish("GET /healthz", "alive"),
    _wish("GET /readyz", "ready"),
    _wish("GET /metrics", "operations by kind"),
)


def make(url: str, key: str) -> list[Example]:
    """Send every request, and give the examples that they make."""
    with httpx.Client(base_url=url, timeout=BOUND_S, limits=KEPT, trust_env=False) as http:
        return [_example(wish, *_told(http, wish, key)) for wish in STORY]


def written(examples: list[Example]) -> str:
    """Write examples, one a line, their JSON as it was sent."""
    return "[\n" + ",\n".join(msgspec.json.encode(example).decode() for example in examples) + "\n]\n"


def lasting(example: Example) -> str:
    """Give of an example what does not change from run to run: times, hashes and ids made up are blanked."""
    text = msgspec.json.encode(example).decode()
    for pattern, name in _PASSING:
        text = re.sub(pattern, name, text)
    return text


_PASSING: Final = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
    (r"\b[0-9a-f]{32}\b", "ID"),
    (r"\b[0-9a-f]{64}\b", "HASH"),
    (r"\b[0-9a-f]{16}\b", "KEY"),
    (r'"keyId":"[0-9a-f]{8}"', '"keyId":"KEY"'),
    (r'"note":"[^"]*"', '"note":"NOTE"'),
    (r'"proof":\[[^]]*\]', '"proof":[]'),
    (r'"(size|to)":\d+', '"SIZE":0'),
    (r'"next":"[A-Za-z0-9_=-]{32,}"', '"next":"CURSOR"'),
    (r'"age":[0-9.]+', '"age":0'),
    (r'"sealing":"[a-z]+"', '"sealing":"STATE"'),
)


def _told(http: httpx.Client, wish: Wish, key: str) -> tuple[int, str, str]:
    """Give what was answered at last."""
    told = _sent(http, wish, key)
    until = time.monotonic() + BOUND_S
    while wish.patient and not _well(*told) and time.monotonic() < until:
        told = _sent(http, wish, key)
    return told


def _well(status: int, _: str, text: str) -> bool:
    """Tell whether an answer holds what is made behind the answers before it: a seal, a refused attempt."""
    return status == 200 and '"refusals":[]' not in text


def _sent(http: httpx.Client, wish: Wish, key: str) -> tuple[int, str, str]:
    """Give status, media type and text; of a stream that never ends, as far as its first event."""
    headers = wish.headers | ({"Authorization": f"Bearer {key}"} if wish.key else {})
    with http.stream(
        wish.method, wish.address, params=wish.query, headers=headers, content=wish.body
    ) as answer:
        kind = answer.headers["content-type"].partition(";")[0]
        if kind == "text/event-stream":
            return answer.status_code, kind, _first_event(answer)
        return answer.status_code, kind, answer.read().decode()


def _first_event(answer: httpx.Response) -> str:
    text = ""
    for chunk in answer.iter_text():
        text += chunk
        if (found := re.search(r"id: .*?\n\n", text, re.DOTALL)) is not None:
            return found[0]
    raise AssertionError("the stream has ended")


def _example(wish: Wish, status: int, media_type: str, text: str) -> Example:
    return Example(
        title=wish.title,
        route=wish.route,
        path=wish.path,
        query=wish.query,
        headers=wish.headers,
        body=UNSET if wish.body is None else Raw(wish.body.encode()),
        status=status,
        media_type=media_type,
        answer=Raw(_in_json(text, media_type)),
    )


def _in_json(text: str, media_type: str) -> bytes:
    """Give an answer as it stands in the file: JSON on one line, texts as strings."""
    if media_type in {"application/json", "application/problem+json"}:
        return text.replace("\n", "").encode()
    if METRIC in text:
        text = "".join(line for line in text.splitlines(keepends=True) if METRIC in line)
    return msgspec.json.encode(text)
