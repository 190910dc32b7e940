"""Text is text: stored and given back as it came, or refused; it never runs, splits or forges anything.

Where it is tried follows from the structs of bodies and queries and from the routes: a new field is in here
as soon as a route takes it.
"""

from __future__ import annotations

import json
import logging
import re
import socket
import sys
from http.client import HTTPResponse
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import pytest

from api.cli.logs import FORMAT, Lines
from ledger.masks import parse_mask
from tests.access.corpus import CORPUS, ODD
from tests.access.router import GUARDED, ROUTES, Route
from tests.access.samples import items_of, right_body, sample, variants
from tests.api.served import BOUND_S, Caller, Served, new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.api.served import Answer

WRITING = [route for route in GUARDED if route.body is not None and not route.reads]
HEADERS = {
    *("content-type", "content-length", "date", "x-request-id", "connection", "transfer-encoding"),
    *("allow", "content-disposition", "cache-control", "x-accel-buffering"),
}
"""The headers that an answer may have."""


_numbers = count(1)


class Shop(msgspec.Struct):
    """Two accounts with money, and what a right body of each route names."""

    admin: Caller
    first: int
    second: int

    def named(self, *names: str) -> dict[str, Any]:
        """Give right values for what bodies and paths name."""
        known: dict[str, Any] = {
            **dict.fromkeys(("login", "from"), self.first),
            "to": self.second,
            "logins": [self.first],
            "group": "standard",
            "symbol": "INJECT",
            "dealId": f"inject-{next(_numbers)}",
            "ticket": 770_001,
            "requestId": new_id(),
            "timezone": "UTC",
        }
        if {"operationId", "corrects", "operation_id"} & set(names):
            paid = self.admin.booked("deposit", login=self.first, amount=9)["operationId"]
            known |= dict.fromkeys(("operationId", "corrects", "operation_id"), paid)
        return {name: known[name] for name in names if name in known}

    def right(self, struct: type[Any]) -> Any:
        """Give a right body, or item of one, with an item in each of its lists."""
        if struct.__struct_config__.array_like:
            return right_body(struct, **self.named("symbol"))
        fields = msgspec.structs.fields(struct)
        names = [field.encode_name for field in fields if field.required or field.name == "request_id"]
        body = right_body(struct, **self.named(*names))
        return body | {name: [self.right(items[0])] for name, items in items_of(struct)}

    def send(self, route: Route, body: Any) -> Answer:
        """Send a body; the answer is as it is described, and has the headers that there are."""
        path = route.at(**self.named(*route.places))
        answer = self.admin.send(route.method, path, text_of(body), request_id=new_id())
        assert answer.status < 500, answer.text
        assert set(answer.headers) <= HEADERS
        return answer

    def ask(self, route: Route, query: dict[str, str]) -> Answer:
        """Ask with a query; bodies and what else is needed are right."""
        required = {} if route.query is None else next(variants(route.query))
        pairs = {name: str(value) for name, value in required.items()} | query
        path = f"{route.at(**self.named(*route.places))}?{urlencode(pairs, errors='surrogatepass')}"
        body = None if route.body is None or route.method == "GET" else text_of(self.right(route.body))
        answer = self.admin.send(route.method, path, body, request_id=new_id())
        assert answer.status < 500, answer.text
        assert set(answer.headers) <= HEADERS
        return answer

    def account(self, **fields: str) -> int:
        """Open an account."""
        login: int = self.admin.post("/users", {"group": "standard", **fields})["login"]
        return login

    def question(self, rules: dict[str, Any]) -> Answer:
        """Ask for accounts."""
        return self.admin.post("/accounts/query", {"groupFilter": "*", "limit": 1000, "offset": 0} | rules)

    def listed(self, rules: dict[str, Any]) -> list[int]:
        """Give the logins of the accounts that match."""
        answer = self.question(rules)
        assert answer.status == 200, answer.text
        return [row[0] for row in answer["rows"]]

    def takes(self, route: Route, given: dict[str, Any], text: str) -> bool:
        """Tell whether a body with this text in it is taken; then it is kept so, else nothing is left."""
        assert route.body is not None
        body = self.right(route.body) | given
        beside = len(self.named(*route.places).keys() & {"operation_id"})
        before = self.admin.served.last_position
        answer = self.send(route, body)
        if answer.status >= 400:
            assert self.admin.served.last_position == before + beside
        elif "operationId" in answer.body:
            check_kept(self.events(before), answer["operationId"], text, times=len(given))
        return answer.status < 400

    def events(self, after: int) -> list[dict[str, Any]]:
        """Give what has been booked after a position."""
        found: list[dict[str, Any]] = self.admin.get("/audit/events", after=after, limit=10_000)["events"]
        return found


@pytest.fixture(scope="module")
def shop(admin: Caller) -> Shop:
    pair = {"digits": 5, "contractSize": 1, "baseCurrency": "EUR", "profitCurrency": "USD"}
    assert admin.put("/symbols/INJECT", pair).status == 200
    return Shop(admin, admin.open(balance="1000000"), admin.open())


def text_of(body: Any) -> bytes:
    """Write JSON with everything beyond ASCII escaped: half a character cannot be written otherwise."""
    return json.dumps(body, ensure_ascii=True).encode()


class TestBodies:
    @pytest.mark.parametrize("route", WRITING, ids=str)
    def test_a_right_body_is_taken_so_that_a_refusal_is_the_texts(self, shop: Shop, route: Route) -> None:
        assert route.body is not None
        answer = shop.send(route, shop.right(route.body))
        assert answer.status < 300, answer.text
        assert not answer.body.get("errors"), answer.text
        assert {result.get("code") for result in answer.body.get("results", [])} <= {None}

    @pytest.mark.parametrize("route", WRITING, ids=str)
    def test_every_field_of_a_body_takes_text_as_text_or_not_at_all(self, shop: Shop, route: Route) -> None:
        """Fields that take any text take each together: where one of them refuses it, each is asked alone."""
        assert route.body is not None
        fields = msgspec.structs.fields(route.body)
        names = [field.encode_name for field in fields]
        free = [name for name in names if shop.takes(route, {name: CORPUS["sql"]}, CORPUS["sql"])]
        for text in CORPUS.values():
            if free and not shop.takes(route, dict.fromkeys(free, text), text):
                assert not [name for name in free if shop.takes(route, {name: text}, text)], text
        for field in fields:
            for text, value in tried_in(field):
                if field.encode_name not in free or value != text:
                    shop.takes(route, {field.encode_name: value}, text)

    @pytest.mark.parametrize(
        "route", [route for route in WRITING if list(items_of(route.body or Shop))], ids=str
    )
    def test_every_field_of_an_item_takes_text_as_text_or_not_at_all(
        self, served: Served, shop: Shop, route: Route
    ) -> None:
        assert route.body is not None
        for name, items in items_of(route.body):
            for struct in items:
                for field in msgspec.structs.fields(struct):
                    tried = [(text, value) for text, value in tried_in(field) if not HALF.search(text)]
                    body = {name: [_with(struct, shop.right(struct), field, value) for _, value in tried]}
                    body = shop.right(route.body) | body
                    before = served.last_position
                    answer = shop.send(route, body)
                    assert answer.status == 200, answer.text
                    events, results = shop.events(before), answer.body.get("results", [])
                    taken = {
                        result["operationId"]: text
                        for result, (text, _) in zip(results, tried, strict=bool(results))
                        if result["status"] == "accepted"
                    }
                    for operation, text in taken.items():
                        check_kept(events, operation, text)
                    assert {event["operationId"] for event in events} == taken.keys()

    @pytest.mark.parametrize("route", WRITING, ids=str)
    def test_no_field_of_another_name_is_taken(self, served: Served, shop: Shop, route: Route) -> None:
        assert route.body is not None
        body, before = shop.right(route.body), served.last_position
        for text in CORPUS.values():
            answer = shop.send(route, body | {text: 1})
            assert answer.said == (400, "body_malformed" if HALF.search(text) else "unknown_field")
        assert "operation_id" in route.places or served.last_position == before


HALF = re.compile("[\ud800-\udfff]")


def tried_in(field: Any) -> Iterator[tuple[str, Any]]:
    """Give what is tried in a field: all texts where text belongs, else some; inside of it too."""
    words = str(field.type)
    for name in CORPUS if re.search(r"\bstr\b|Raw|dict", words) else ODD:
        text = CORPUS[name]
        yield text, text
        if "dict" in words:
            yield text, {text: {"inner": [text]}}
        if "list" in words:
            yield text, [text]


def check_kept(events: list[dict[str, Any]], operation: str, text: str, *, times: int = 1) -> None:
    """Hold a text that was taken to the events that keep it: it is there as it came, as often."""
    kept = [event["data"] for event in events if event["operationId"] == operation]
    assert kept
    assert all(list(_texts(data)).count(text) >= times for data in kept), (text, kept)


def _with(struct: type[Any], item: Any, field: Any, value: Any) -> Any:
    if isinstance(item, dict):
        return item | {field.encode_name: value}
    fields = msgspec.structs.fields(struct)
    place = [known.encode_name for known in fields].index(field.encode_name)
    item += [sample(struct, known) for known in fields[len(item) : place + 1]]
    return [*item[:place], value, *item[place + 1 :]]


def _texts(tree: Any) -> Iterator[str]:
    """Give all texts of a tree, names too."""
    if isinstance(tree, dict):
        for name, inner in tree.items():
            yield name
            yield from _texts(inner)
    elif isinstance(tree, list):
        for inner in tree:
            yield from _texts(inner)
    elif isinstance(tree, str):
        yield tree


class TestQuestions:
    @pytest.mark.parametrize("route", [route for route in GUARDED if route.query is not None], ids=str)
    def test_every_parameter_takes_text_as_text_or_not_at_all(
        self, served: Served, shop: Shop, route: Route
    ) -> None:
        assert route.query is not None
        for field in msgspec.structs.fields(route.query):
            for text in CORPUS.values():
                answer = shop.ask(route, {field.encode_name: text})
                assert answer.status == 400 or "str" in str(field.type), answer.text

    @pytest.mark.parametrize("route", [route for route in GUARDED if route.method == "GET"], ids=str)
    def test_no_parameter_of_another_name_is_taken(self, shop: Shop, route: Route) -> None:
        for text in CORPUS.values():
            answer = shop.ask(route, {text: "1"})
            assert answer.said == (400, "bad_query" if HALF.search(text) else "unknown_field"), answer.text

    def test_a_text_of_an_account_is_found_as_it_is_and_not_otherwise(self, shop: Shop) -> None:
        names = {text: shop.account(name=text, comment=text) for text in KEPT}
        mine = [["login", [*names.values()]]]
        for text, login in names.items():
            for rules in ([["name", [text]]], [["comment", [text]]]):
                assert shop.listed({"whereIn": [*rules, *mine]}) == [login]
            assert shop.listed({"whereIn": mine, "where": [["name", "=", text]]}) == [login]
            assert shop.listed({"whereIn": mine, "whereNot": [["name", text]]}) == sorted(
                {*names.values()} - {login}
            )
            found = shop.listed({"whereIn": mine, "where": [["name", "like", text]]})
            assert found == [names[name] for name in names if _is_like(name, text)]

    def test_no_text_is_taken_for_a_field_an_operator_or_a_direction(self, shop: Shop) -> None:
        for text in KEPT:
            refused: list[tuple[dict[str, Any], str]] = [
                ({"where": [[text, "=", 1]]}, "unknown_field"),
                ({"where": [["login", text, 1]]}, "bad_operator"),
                ({"whereIn": [[text, [1]]]}, "unknown_field"),
                ({"whereBetween": [["balance", [text, text]]]}, "wrong_type"),
                ({"orderBy": [text, "ASC"]}, "unknown_field"),
                ({"orderBy": ["login", text]}, "wrong_type"),
                ({"totalsCurrency": text}, "bad_currency"),
            ]
            for rules, code in refused:
                assert shop.question(rules).said == (400, code)

    def test_a_mask_selects_what_it_says(self, shop: Shop) -> None:
        groups = [group["group"] for group in shop.admin.get("/groups")["groups"]]
        for text in KEPT:
            answer = shop.question({"groupFilter": text, "limit": 10_000})
            place = answer["structure"].index("group")
            found = {row[place] for row in answer["rows"]}
            assert found <= {group for group in groups if parse_mask(text).selects(group)}

    def test_a_text_of_an_operation_is_found_as_it_is_and_not_otherwise(self, shop: Shop) -> None:
        for text in KEPT:
            note: dict[str, Any] = {"reference": text, "comment": text, "metadata": {text: text}}
            booked = shop.admin.booked("deposit", login=shop.second, amount=1, **note)
            rows = shop.admin.history(login=shop.second, reference=text)
            assert {row["reference"] for row in rows} == {text}
            assert rows[-1]["position"] == booked["position"]
            assert (rows[-1]["comment"], rows[-1]["metadata"]) == (text, {text: text})

    def test_a_cursor_is_one_that_was_given_out(self, shop: Shop) -> None:
        page = shop.admin.get("/balances/history", login=shop.first, limit=1)["next"]
        for cursor in (*KEPT, page[:-1], page + "A", page.swapcase(), "A" * len(page), ""):
            for path in ("/balances/history", "/balances/history?format=csv"):
                answer = shop.admin.get(path, login=shop.first, cursor=cursor) if "?" not in path else None
                assert answer is None or answer.said == (400, "bad_cursor"), cursor


KEPT = [text for text in CORPUS.values() if "\0" not in text and not HALF.search(text)]
"""Texts that can be stored."""


def _is_like(name: str, pattern: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("%"))), name, re.DOTALL) is not None


class TestPaths:
    @pytest.mark.parametrize("route", [route for route in ROUTES if route.places], ids=str)
    def test_what_stands_in_a_path_is_text_or_no_route(
        self, served: Served, shop: Shop, route: Route
    ) -> None:
        body = None if route.body is None else text_of(shop.right(route.body))
        for text in (*CORPUS.values(), "..", ".", "%", "//", "a/../b"):
            for place in _in_path(text):
                before = served.last_position
                target = re.sub(r"\{.*?\}", place.replace("\\", r"\\"), route.path)
                answer = raw(served, route.method, target, body, key=shop.admin.key)
                assert answer.status < 500, (target, answer.text)
                assert set(answer.headers) <= HEADERS
                if answer.status == 200 and route.method == "PUT":
                    check_kept(shop.events(before), json.loads(answer.text)["operationId"], text)


class TestHeaders:
    @pytest.mark.parametrize(
        "name",
        ["x-request-id", "Idempotency-Key", "x-operator-id", "Last-Event-ID", "Accept", "Authorization"],
    )
    def test_every_header_takes_text_as_text_or_not_at_all(
        self, served: Served, shop: Shop, name: str
    ) -> None:
        body = {"login": shop.second, "amount": 1}
        for text in CORPUS.values():
            for value in {text.encode("utf-8", "surrogatepass"), text.encode("latin-1", "replace")}:
                before = served.last_position
                headers = (
                    {"x-request-id": new_id().encode(), name: value}
                    if name != "x-request-id"
                    else {name: value}
                )
                answer = raw(
                    served, "POST", "/balances/deposit", text_of(body), key=shop.admin.key, headers=headers
                )
                assert answer.status in {201, 400, 401}, answer.text
                assert set(answer.headers) <= HEADERS
                if answer.status == 201 and name == "x-operator-id":
                    [event] = shop.events(before)
                    assert event["operatorId"] == _as_sent(value)

    def test_a_header_of_an_answer_holds_no_more_than_its_own_value(self, served: Served, shop: Shop) -> None:
        for text in (
            "x\r\nset-cookie: evil=1",
            "x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
            "x%0d%0aset-cookie:%20evil=1",
        ):
            for headers in ({"x-request-id": text.encode()}, {"Idempotency-Key": text.encode()}):
                answer = raw(served, "GET", "/groups", None, key=shop.admin.key, headers=headers)
                assert "set-cookie" not in answer.headers
                assert "evil" not in answer.text


class Raw(msgspec.Struct, frozen=True):
    """An answer to bytes that no client would send."""

    status: int
    headers: dict[str, str]
    text: str


def raw(
    served: Served,
    method: str,
    target: str,
    body: bytes | None,
    *,
    key: str | None = None,
    headers: dict[str, bytes] | None = None,
) -> Raw:
    """Send a request byte by byte as it is written here."""
    address = urlsplit(served.url)
    given = {"host": address.netloc.encode(), "content-length": str(len(body or b"")).encode()}
    given |= {} if key is None else {"authorization": f"Bearer {key}".encode()}
    given |= {name.lower(): value for name, value in (headers or {}).items()} | {"connection": b"close"}
    lines = [f"{method} {target} HTTP/1.1".encode(), *(b"%b: %b" % (n.encode(), v) for n, v in given.items())]
    with socket.create_connection((address.hostname, address.port), timeout=BOUND_S) as connection:
        connection.sendall(b"\r\n".join([*lines, b"", body or b""]))
        answer = HTTPResponse(connection, method=method)
        answer.begin()
        return Raw(
            answer.status,
            {name.lower(): value for name, value in answer.getheaders()},
            answer.read().decode("utf-8", "replace"),
        )


def _in_path(text: str) -> set[str]:
    """Give ways to write a text into a path."""
    whole = quote(text, safe="", errors="surrogatepass")
    small = re.sub("%..", lambda found: found[0].lower(), whole)
    return {whole, small, quote(text, safe="/.%", errors="surrogatepass")} - {""}


def _as_sent(value: bytes) -> str:
    return value.decode().strip(" \t")


class TestTheLog:
    @pytest.mark.parametrize("name", CORPUS)
    def test_no_text_in_a_record_passes_for_another_record(self, name: str) -> None:
        text = CORPUS[name]
        try:
            raise ValueError(text)
        except ValueError:
            error = sys.exc_info()
        record = logging.LogRecord("fundledger", logging.ERROR, __file__, 1, "met %s", (text,), error)
        first, *others = Lines(FORMAT).format(record).split("\n")
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ERROR fundledger: met ", first)
        assert others
        assert all(line.startswith("    ") for line in others)
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", "".join([first, *others])
        )


class TestTheDatabase:
    def test_has_the_tables_columns_and_roles_that_it_had(self, served: Served, blueprint: list[Any]) -> None:
        assert served.ledger.rows(_BLUEPRINT) == blueprint


@pytest.fixture(scope="module", autouse=True)
def blueprint(served: Served) -> list[Any]:
    """Give what the database was like before any of these tests."""
    return served.ledger.rows(_BLUEPRINT)


_BLUEPRINT = (
    "SELECT table_schema::text, table_name::text, column_name::text, data_type::text"
    " FROM information_schema.columns"
    " UNION ALL SELECT 'role', rolname::text, rolsuper::text, rolcanlogin::text FROM pg_roles"
    " UNION ALL SELECT 'function', proname::text, '', '' FROM pg_proc ORDER BY 1, 2, 3, 4"
)
