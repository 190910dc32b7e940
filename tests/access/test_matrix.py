"""Every route x every scope x every state that a key can be in: the router says which there are.

A route is asked for what it cannot answer, so whoever gets through to its handler is told so, and nothing
happens. A new route is in here as soon as it is in the router.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import pytest

from api import batches
from api.middleware import ANY_SCOPE
from api.scopes import ROLES, SCOPES
from projections import install
from projections.accounts import PERSONAL, STRUCTURE
from tests.access.keychain import Wanted, make_a_key, make_keys, parts, written
from tests.access.router import GUARDED, OPEN, ROUTES, Probe, Route, probe
from tests.access.samples import right_body
from tests.api.served import Caller, Served, new_id

if TYPE_CHECKING:
    from tests.api.served import Answer

PAST = datetime(2020, 1, 1, tzinfo=UTC)
METHODS = ("OPTIONS", "GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND")

READS = {
    *("users:read", "groups:read", "symbols:read", "server:read"),
    *("accounts:read", "history:read", "reports:read"),
}
FUNDING = {"funding:deposit", "funding:withdraw", "funding:credit", "funding:transfer", "funding:adjust"}
MANAGING = {
    *("funding:correct", "users:write", "groups:write", "symbols:write", "server:write", "feed:write"),
    *("users:pii", "audit:read"),
}
KEYS = {"keys:read", "keys:write"}


class TestTheRouter:
    def test_only_health_and_the_schema_are_open_to_everyone(self) -> None:
        assert {str(route) for route in OPEN} == {
            "GET /healthz",
            "GET /readyz",
            "GET /metrics",
            "GET /schema",
            "GET /schema/openapi.json",
            "GET /schema/assets/{name}",
        }

    def test_routes_need_scopes_that_keys_can_have(self) -> None:
        assert {route.scope for route in GUARDED} <= {*SCOPES, ANY_SCOPE}
        assert [str(route) for route in GUARDED if route.scope == ANY_SCOPE] == ["POST /balances/batch"]

    def test_who_only_reads_needs_a_scope_that_only_lets_read(self) -> None:
        for route in GUARDED:
            if route.scope not in {ANY_SCOPE, "feed:write"}:
                assert route.reads == str(route.scope).endswith(":read"), route

    def test_roles_are_these_scopes(self) -> None:
        assert {role: set(scopes) for role, scopes in ROLES.items()} == {
            "provisioning": (READS | {"users:write", "users:pii"}) - {"history:read"},
            "finance": FUNDING | READS - {"symbols:read", "reports:read"},
            "reporting": READS | {"users:pii"},
            "feed": {"feed:write", "symbols:read", "symbols:write"},
            "dealer": READS,
            "manager": READS | FUNDING | MANAGING,
            "admin": READS | FUNDING | MANAGING | KEYS,
            "user": {"users:read", "accounts:read", "history:read"},
        }
        assert set(SCOPES) == READS | FUNDING | MANAGING | KEYS


@pytest.fixture(scope="session")
def of_scopes(served: Served, shared_url: str) -> dict[tuple[str, bool], Caller]:
    """Give for each scope a caller who has it alone, and one who has all but it."""
    wanted = {(scope, True): Wanted(scopes=(scope,)) for scope in SCOPES} | {
        (scope, False): Wanted(scopes=tuple(other for other in SCOPES if other != scope)) for scope in SCOPES
    }
    keys = make_keys(shared_url, *wanted.values())
    return {name: Caller(served, key) for name, key in zip(wanted, keys, strict=True)}


@pytest.fixture(scope="session")
def states(served: Served, shared_url: str) -> dict[str, tuple[str | None, str | None]]:
    """Give the header that presents a key in each state, and the code with which it is refused, if it is."""
    valid, expired, revoked, masked, narrowed = make_keys(
        shared_url,
        Wanted(),
        Wanted(expires_at=PAST),
        Wanted(revoked=True),
        Wanted(groups="nowhere"),
        Wanted(logins=(999_999_998,)),
    )
    install.migrate(shared_url, "other")
    foreign = make_a_key(shared_url, ledger="other")
    key_id, secret = parts(valid)
    other_id, other_secret = parts(revoked)
    texts = {
        "valid": (valid, None),
        "of another mask": (masked, None),
        "of other logins": (narrowed, None),
        "expired": (expired, "key_expired"),
        "revoked": (revoked, "key_revoked"),
        "of another ledger": (foreign, "key_unknown"),
        "an unknown id": (written("0123456789abcdef", secret), "key_unknown"),
        "the right id and another secret": (written(key_id, "s" * 43), "key_unknown"),
        "the right id and another key's secret": (written(key_id, other_secret), "key_unknown"),
        "a dead key's id and a living one's secret": (written(other_id, secret), "key_unknown"),
        "a wrong check": (valid[:-1] + ("0" if valid[-1] != "0" else "1"), "key_malformed"),
    }
    headers = {
        state: (f"Bearer {text}" if state != "none" else None, code) for state, (text, code) in texts.items()
    }
    malformed = (
        "",
        "Bearer",
        "Bearer x",
        valid,
        f"Basic {valid}",
        f"Bearer {valid} {valid}",
        f"Bearer{valid}",
    )
    return (
        headers
        | {"none": (None, "key_missing")}
        | {f"the header {text[:12]!r}, malformed": (text, "key_malformed") for text in malformed}
    )


def asked(caller: Caller, route: Route, question: Probe, header: str | None = None) -> Answer:
    headers = {} if header is None else {"authorization": header}
    return caller.send(route.method, question.path, question.body, request_id="matrix", headers=headers)


class TestEveryRoute:
    @pytest.mark.parametrize("route", GUARDED, ids=str)
    def test_lets_in_the_keys_with_its_scope_and_no_other(
        self, of_scopes: dict[tuple[str, bool], Caller], route: Route
    ) -> None:
        question = probe(route)
        for (scope, alone), caller in of_scopes.items():
            let_in = route.scope == ANY_SCOPE or (scope == route.scope) == alone
            answer = asked(caller, route, question)
            assert answer.said == (question.said if let_in else (401, "scope_missing")), (scope, alone)

    @pytest.mark.parametrize("route", GUARDED, ids=str)
    def test_lets_in_living_keys_of_this_ledger_and_no_other(
        self, served: Served, states: dict[str, tuple[str | None, str | None]], route: Route
    ) -> None:
        question = probe(route)
        for state, (header, code) in states.items():
            answer = asked(Caller(served, None), route, question, header)
            assert answer.said == (question.said if code is None else (401, code)), state

    @pytest.mark.parametrize("route", OPEN, ids=str)
    def test_that_is_open_minds_no_key(
        self, served: Served, states: dict[str, tuple[str | None, str | None]], route: Route
    ) -> None:
        path = route.at(name="swagger-ui.css")
        for state, (header, _) in states.items():
            headers = {} if header is None else {"authorization": header}
            assert Caller(served, None).send("GET", path, headers=headers).status == 200, state

    @pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
    def test_takes_no_other_method_whoever_asks(self, served: Served, admin: Caller, path: str) -> None:
        here = [route for route in ROUTES if route.path == path]
        taken = {route.method for route in here}
        for caller in (admin, Caller(served, None)):
            for method in METHODS:
                if method not in taken:
                    answer = caller.send(method, here[0].at())
                    assert answer.said == (405, "method_not_allowed"), method
                    assert set(answer.headers["allow"].split(", ")) == taken
        assert served.http.head(served.url + here[0].at()).status_code == 405

    @pytest.mark.parametrize("route", GUARDED, ids=str)
    def test_has_no_back_door_in_how_its_path_is_written(self, served: Served, route: Route) -> None:
        path, nobody = route.at(), Caller(served, None)
        ways = {
            *(path + "/", "/" + path, path + "//", path + ";x=1", path + "%00", path + "#"),
            *(path.replace("/", "//"), path.replace("/", "/./"), "/healthz/.." + path, "/schema" + path),
            *(path.upper(), path.title(), path.replace("s", "%73"), path.replace("s", "%2573")),
            *(path + "?scope=", path + "?authorization=Bearer", path + "%3Fx", path + "%2F"),
        }
        for written_so in ways:
            answer = nobody.send(route.method, written_so, b"{}" if route.body else None)
            assert answer.status in {401, 404, 405}, (written_so, answer.text)


class TestScopesOfItems:
    def test_every_operation_of_a_batch_has_a_scope(self) -> None:
        assert set(batches.SCOPES) == set(get_args(batches.Item))
        assert set(batches.SCOPES.values()) == {
            route.scope for route in GUARDED if route.path.startswith("/balances/") and not route.reads
        } - {ANY_SCOPE}

    def test_an_operation_of_a_batch_needs_the_scope_of_its_route(
        self, of_scopes: dict[tuple[str, bool], Caller]
    ) -> None:
        items = [
            right_body(item, requestId=f"item-{number}") for number, item in enumerate(batches.SCOPES, 1)
        ]
        for (scope, alone), caller in of_scopes.items():
            results = caller.batch(*items)["results"]
            for needed, result in zip(batches.SCOPES.values(), results, strict=True):
                let_in = (scope == needed) == alone
                assert (result.get("code") != "scope_missing") == let_in, (scope, alone, needed)
                assert let_in or result["httpStatus"] == 401
                assert not let_in or result["code"].startswith("unknown_"), result

    def test_one_operation_without_its_scope_refuses_an_atomic_batch(
        self, of_scopes: dict[tuple[str, bool], Caller]
    ) -> None:
        for kind, scope in batches.SCOPES.items():
            item = right_body(kind, requestId="atomic-item")
            refused = of_scopes[scope, False].batch(item, atomic=True)
            assert (refused.said, refused["index"]) == ((401, "scope_missing"), 0)

    @pytest.mark.parametrize("field", STRUCTURE)
    def test_filtering_and_ordering_by_a_personal_column_needs_its_scope(
        self, of_scopes: dict[tuple[str, bool], Caller], field: str
    ) -> None:
        base = {"groupFilter": "*", "limit": 0, "offset": 0}
        without, with_it = of_scopes["users:pii", False], of_scopes["keys:read", False]
        taken = [
            rule for rule in _rules_on(field) if with_it.post("/accounts/query", base | rule).status == 200
        ]
        assert len(taken) >= 6
        for rule in taken:
            told = without.post("/accounts/query", base | rule)
            assert told.said == ((401, "scope_missing") if field in PERSONAL else (200, None)), rule

    def test_the_hash_of_a_key_is_told_to_no_scope(
        self, served: Served, admin: Caller, of_scopes: dict[tuple[str, bool], Caller]
    ) -> None:
        hashes = [digest for (digest,) in served.ledger.rows("SELECT secret_hash FROM keys")]
        for caller in (admin, of_scopes["audit:read", True]):
            told = caller.get("/audit/events", limit=10_000).text
            assert told.count('"key-created"') > len(SCOPES)
            assert not [digest for digest in hashes if digest in told]


DEFINITIONS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("/groups/secret", {"currency": "EUR", "maxOperation": 5000, "permissions": {"desk": "A"}}, "groups"),
    (
        "/symbols/SECRET",
        {"digits": 2, "contractSize": 1, "baseCurrency": "EUR", "profitCurrency": "USD"},
        "symbols",
    ),
    (
        "/server",
        {"timezone": "UTC", "dayEnd": "00:00", "overnightDays": "all", "bookCurrency": "USD"},
        "server",
    ),
)


class TestDefinitions:
    """What is defined is read by the scope of its own route, however it is asked for."""

    @pytest.mark.parametrize(("path", "body", "what"), DEFINITIONS)
    def test_its_operation_and_its_request_are_read_by_the_scope_of_its_route_alone(
        self,
        served: Served,
        shared_url: str,
        admin: Caller,
        path: str,
        body: dict[str, Any],
        what: str,
    ) -> None:
        sent = new_id()
        operation = admin.put(path, body, request_id=sent)["operationId"]
        client = served.caller("user", "--logins", str(admin.open()))
        reader = Caller(served, make_a_key(shared_url, "history:read", f"{what}:read"))
        auditor = Caller(served, make_a_key(shared_url, "audit:read"))
        for asked_for in (f"/balances/operations/{operation}", f"/requests/{sent}"):
            assert client.get(asked_for).said == (401, "scope_missing")
            assert reader.get(asked_for)["operationId"] == operation
        position = int(operation.removeprefix("op_"))
        [event] = auditor.get("/audit/events", after=position - 1, limit=1)["events"]
        assert event["operationId"] == operation

    @pytest.mark.parametrize(("path", "body", "what"), DEFINITIONS)
    def test_who_defined_it_is_answered_as_at_first_and_another_use_of_the_id_tells_only_readers(
        self,
        served: Served,
        shared_url: str,
        path: str,
        body: dict[str, Any],
        what: str,
    ) -> None:
        sent, opening = new_id(), {"group": "standard"}
        writer = Caller(served, make_a_key(shared_url, f"{what}:write", "history:read", "users:write"))
        first = writer.put(path, body, request_id=sent)
        assert writer.get(f"/requests/{sent}")["operationId"] == first["operationId"]
        again = writer.put(path, body, request_id=sent)
        assert (again.said, again["operation"]) == ((409, "request_applied"), first.body)
        opener = Caller(served, make_a_key(shared_url, "users:write"))
        reader = Caller(served, make_a_key(shared_url, "users:write", f"{what}:read"))
        reused = opener.post("/users", opening, request_id=sent)
        assert reused.said == (400, "request_id_reused")
        assert not {"operation", "operationId", "fields"} & reused.body.keys()
        for known in (reader, writer):
            assert known.post("/users", opening, request_id=sent)["operation"] == first.body


def _rules_on(field: str) -> list[dict[str, Any]]:
    """Give every way in which a question can name a field; not every field takes each."""
    return [
        {"orderBy": [field, "ASC"]},
        {"whereBetween": [[field, [0, 1]]]},
        {"whereNotBetween": [[field, [0, 1]]]},
        *({"where": [[field, operator, value]]} for operator in ("=", ">", "like") for value in (0, "x")),
        *({name: [[field, value]]} for name in ("whereNot",) for value in (0, "x")),
        *({name: [[field, [value]]]} for name in ("whereIn", "whereNotIn") for value in (0, "x")),
    ]
