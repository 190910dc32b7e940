"""A request is applied once, for ever: repeats, reuses, references, and "timed out: did it happen?"."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.served import Answer, Caller, Served, define_groups, new_id, number, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def deposit(caller: Caller, body: dict[str, Any], **headers: str) -> Answer:
    return caller.send("POST", "/balances/deposit", body, headers=headers)


def nested(levels: int, *, lists: bool) -> dict[str, Any]:
    """Give metadata of so many levels of lists or objects."""
    inner: Any = 1
    for _ in range(levels - 1):
        inner = [inner] if lists else {"a": inner}
    return {"m": inner}


MONEY_ROUTES: dict[str, dict[str, Any]] = {
    "deposit": {"amount": 7},
    "withdraw": {"amount": 7},
    "credit": {"amount": 7, "expiresAt": "2199-01-01T00:00:00Z"},
    "adjust": {"kind": "rebate", "amount": 7},
    "correction": {"balance": 7, "reason": "r"},
}


class TestTheSameRequestAgain:
    @pytest.mark.parametrize("route", MONEY_ROUTES)
    def test_is_told_of_the_first_as_it_was_answered_then(self, admin: Caller, route: str) -> None:
        login, request_id = admin.open(balance="100"), new_id()
        body = {"login": login} | MONEY_ROUTES[route]
        first = admin.book(route, request_id=request_id, **body)
        admin.booked("deposit", login=login, amount=1)
        again = admin.book(route, request_id=request_id, **body)
        assert again.said == (409, "request_applied")
        assert (again["operationId"], again["operation"]) == (first["operationId"], first.body)
        assert again.headers["x-request-id"] == request_id

    def test_holds_for_a_transfer_with_both_legs(self, admin: Caller) -> None:
        body = {"from": admin.open(balance="9"), "to": admin.open(), "amount": 4}
        first = admin.post("/balances/transfer", body, request_id="transfer-once")
        again = admin.post("/balances/transfer", body, request_id="transfer-once")
        assert (again.said, again["operation"]) == ((409, "request_applied"), first.body)

    def test_holds_for_a_reversal(self, admin: Caller) -> None:
        paid = admin.booked("deposit", login=admin.open(), amount=4)["operationId"]
        path = f"operations/{paid}/reverse"
        first = admin.book(path, reason="r", request_id="reverse-once")
        again = admin.book(path, reason="r", request_id="reverse-once")
        assert (again.said, again["operation"]) == ((409, "request_applied"), first.body)

    def test_holds_for_an_account_that_is_opened(self, admin: Caller) -> None:
        first = admin.post("/users", {"group": "vip", "name": "Ann"}, request_id="open-once")
        admin.send("PATCH", f"/users/{first['login']}", {"name": "Bea"})
        again = admin.post("/users", {"group": "vip", "name": "Ann"}, request_id="open-once")
        assert again.said == (409, "request_applied")
        assert (again["operationId"], again["operation"]) == (first["operationId"], first.body)

    def test_holds_for_a_group_and_for_the_clock(self, admin: Caller) -> None:
        clock = {"timezone": "UTC", "dayEnd": "00:00", "overnightDays": "all", "bookCurrency": "USD"}
        for path, body in [("/groups/once", {"currency": "USD", "maxOperation": 5}), ("/server", clock)]:
            first = admin.put(path, body, request_id=f"once{path.replace('/', '.')}")
            again = admin.put(path, body, request_id=f"once{path.replace('/', '.')}")
            assert (first.status, again.said) == (200, (409, "request_applied"))
            assert (again["operationId"], again["operation"]) == (first["operationId"], first.body)

    def test_is_compared_after_parsing(self, admin: Caller) -> None:
        login = admin.open()
        first = admin.send(
            "POST",
            "/balances/deposit",
            b'{"login":%d,"amount":1500,"effectiveAt":"2026-01-05T10:00:00Z","comment":null}' % login,
            request_id="parsed-once",
        )
        assert first.status == 201
        for body in (
            b'{"amount":1500.00,"effectiveAt":"2026-01-05T12:00:00+02:00","login":%d}',
            b' {"amount" : "1500.0", "effectiveAt":"2026-01-05T10:00:00.000Z", "comment":"", "login":%d}',
        ):
            again = admin.send("POST", "/balances/deposit", body % login, request_id="parsed-once")
            assert again.said == (409, "request_applied")

    def test_from_another_key_and_operator_is_the_same_request(self, admin: Caller, served: Served) -> None:
        body = {"login": admin.open(), "amount": 3}
        first = deposit(admin, body, **{"x-request-id": "two-keys", "x-operator-id": "Ann"})
        other = served.caller("finance")
        again = deposit(other, body, **{"x-request-id": "two-keys", "x-operator-id": "Bea"})
        assert (again.said, again["operation"]) == ((409, "request_applied"), first.body)

    def test_is_a_repeat_whatever_has_changed_since(self, admin: Caller) -> None:
        source, target = admin.open(balance="10"), admin.open()
        withdrawal = {"login": source, "amount": 10}
        admin.book("withdraw", request_id="spent", **withdrawal)
        assert admin.book("withdraw", request_id="spent", **withdrawal).status == 409
        admin.post(f"/users/{source}/disable")
        assert admin.book("withdraw", request_id="spent", **withdrawal).said == (409, "request_applied")
        assert admin.held(target)[0] == number("0.00")

    def test_as_a_dry_run_is_told_so_too(self, admin: Caller) -> None:
        body = {"login": admin.open(), "amount": 3}
        admin.post("/balances/deposit", body, request_id="dry-after")
        again = admin.post("/balances/deposit?dryRun=true", body, request_id="dry-after")
        assert again.said == (409, "request_applied")

    def test_sent_forty_times_at_once_is_applied_once(self, admin: Caller, served: Served) -> None:
        login, request_id = admin.open(), new_id()
        last = served.last_position
        with ThreadPoolExecutor(20) as pool:
            answers = list(
                pool.map(
                    lambda _: admin.book("deposit", login=login, amount=5, request_id=request_id), range(40)
                )
            )
        assert sorted(answer.status for answer in answers) == [201] + [409] * 39
        [first] = [answer.body for answer in answers if answer.status == 201]
        assert all(answer["operation"] == first for answer in answers if answer.status == 409)
        assert (admin.held(login)[0], served.last_position) == (number("5.00"), last + 1)


class TestTheIdempotencyKeyHabit:
    def test_gives_the_first_answer_again(self, admin: Caller) -> None:
        body = {"login": admin.open(), "amount": 3}
        first = deposit(admin, body, **{"idempotency-key": "habit-1"})
        again = deposit(admin, body, **{"idempotency-key": "habit-1"})
        assert (first.status, again.status, again.text) == (201, 201, first.text)
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["x-request-id"] == "habit-1"

    def test_names_the_same_request_as_the_other_header(self, admin: Caller) -> None:
        body = {"login": admin.open(), "amount": 3}
        first = deposit(admin, body, **{"x-request-id": "habit-2"})
        assert deposit(admin, body, **{"idempotency-key": "habit-2"}).body == first.body
        both = {"idempotency-key": "habit-2", "x-request-id": "habit-2"}
        assert deposit(admin, body, **both).body == first.body

    def test_of_two_different_ids_neither_counts(self, admin: Caller) -> None:
        body = {"login": admin.open(), "amount": 3}
        refused = deposit(admin, body, **{"idempotency-key": "habit-3", "x-request-id": "habit-4"})
        assert refused.said == (400, "two_request_ids")
        assert admin.get("/requests/habit-3").status == admin.get("/requests/habit-4").status == 404

    def test_does_not_replay_another_request(self, admin: Caller) -> None:
        login = admin.open()
        deposit(admin, {"login": login, "amount": 3}, **{"idempotency-key": "habit-5"})
        refused = deposit(admin, {"login": login, "amount": 4}, **{"idempotency-key": "habit-5"})
        assert refused.said == (400, "request_id_reused")
        assert "idempotent-replayed" not in refused.headers

    def test_does_not_replay_what_another_id_booked(self, admin: Caller) -> None:
        body = {"login": admin.open(), "amount": 3, "method": "card", "reference": "habit-6"}
        deposit(admin, body, **{"idempotency-key": "habit-6"})
        again = deposit(admin, body, **{"idempotency-key": "habit-7"})
        assert again.said == (409, "reference_applied")

    def test_replays_an_opened_account(self, admin: Caller) -> None:
        habit = {"idempotency-key": "habit-8"}
        first = admin.send("POST", "/users", {"group": "vip"}, headers=habit)
        again = admin.send("POST", "/users", {"group": "vip"}, headers=habit)
        assert (again.status, again.body) == (201, first.body)
        assert again.headers["idempotent-replayed"] == "true"


class TestTheSameIdForSomethingElse:
    @pytest.mark.parametrize(
        ("other", "fields"),
        [
            ({"amount": 4}, ["amount"]),
            ({"amount": number("3.01")}, ["amount"]),
            ({"comment": "x"}, ["comment"]),
            ({"reference": "x", "method": "y"}, ["method", "reference"]),
            ({"metadata": {"a": 2}}, ["metadata"]),
            ({"effectiveAt": "2026-01-05T10:00:00Z"}, ["effectiveAt"]),
        ],
    )
    def test_is_refused_naming_the_fields_and_the_first_operation(
        self, admin: Caller, other: dict[str, Any], fields: list[str]
    ) -> None:
        request_id = new_id()
        body = {"login": admin.open(), "amount": 3, "metadata": {"a": 1}}
        first = admin.post("/balances/deposit", body, request_id=request_id)
        refused = admin.post("/balances/deposit", body | other, request_id=request_id)
        assert refused.said == (400, "request_id_reused")
        assert refused["fields"] == fields
        assert refused["operationId"] == first["operationId"]

    def test_another_account_differs_in_login(self, admin: Caller) -> None:
        request_id = new_id()
        admin.book("deposit", login=admin.open(), amount=3, request_id=request_id)
        refused = admin.book("deposit", login=admin.open(), amount=3, request_id=request_id)
        assert (refused.said, refused["fields"]) == ((400, "request_id_reused"), ["login"])

    def test_another_kind_differs_in_kind(self, admin: Caller) -> None:
        login, request_id = admin.open(balance="5"), new_id()
        admin.book("deposit", login=login, amount=3, request_id=request_id)
        refused = admin.book("withdraw", login=login, amount=3, request_id=request_id)
        assert (refused.said, refused["fields"]) == ((400, "request_id_reused"), ["kind"])

    def test_an_account_is_not_a_deposit(self, admin: Caller) -> None:
        login, request_id = admin.open(), new_id()
        admin.book("deposit", login=login, amount=3, request_id=request_id)
        refused = admin.post("/users", {"group": "vip"}, request_id=request_id)
        assert refused.said == (400, "request_id_reused")

    def test_names_nothing_of_an_account_that_the_key_may_not_see(
        self, admin: Caller, served: Served
    ) -> None:
        request_id = new_id()
        admin.book("deposit", login=admin.open("standard"), amount=3, request_id=request_id)
        masked = served.caller("finance", "--groups", "vip")
        refused = masked.book("deposit", login=admin.open("vip"), amount=4, request_id=request_id)
        assert refused.said == (400, "request_id_reused")
        assert not refused.body.keys() & {"fields", "operation", "operationId"}

    def test_names_nothing_of_a_group_that_the_key_may_not_see(self, admin: Caller, served: Served) -> None:
        request_id, login = new_id(), admin.open("standard")
        secret = {"currency": "USD", "permissions": {"secret": 1}}
        assert admin.put("/groups/hidden", secret, request_id=request_id).status == 200
        masked = served.caller("finance", "--groups", "standard")
        refused = masked.book("deposit", login=login, amount=4, request_id=request_id)
        assert refused.said == (400, "request_id_reused")
        assert not refused.body.keys() & {"fields", "operation", "operationId"}
        assert "secret" not in refused.text

    def test_is_judged_by_where_the_account_is_now(self, admin: Caller, served: Served) -> None:
        login, request_id = admin.open("standard"), new_id()
        body = {"login": login, "amount": 3}
        first = admin.post("/balances/deposit", body, request_id=request_id)
        admin.send("PATCH", f"/users/{login}", {"group": "vip"})
        sees, saw = (
            served.caller("finance", "--groups", "vip"),
            served.caller("finance", "--groups", "standard"),
        )
        again = sees.post("/balances/deposit", body, request_id=request_id)
        assert (again.said, again.body.get("operation")) == ((409, "request_applied"), first.body)
        other = {"login": admin.open("standard"), "amount": 3}
        refused = saw.post("/balances/deposit", other, request_id=request_id)
        assert refused.said == (400, "request_id_reused")
        assert "operationId" not in refused.body


class TestRequestIds:
    @pytest.mark.parametrize("route", MONEY_ROUTES)
    def test_a_money_command_needs_one(self, admin: Caller, route: str) -> None:
        refused = admin.post(f"/balances/{route}", {"login": admin.open()} | MONEY_ROUTES[route])
        assert (refused.said, refused["field"]) == ((400, "request_id_required"), "x-request-id")

    def test_a_transfer_and_a_reversal_need_one_too(self, admin: Caller) -> None:
        paid = admin.booked("deposit", login=admin.open(), amount=1)["operationId"]
        body = {"from": admin.open(balance="1"), "to": admin.open(), "amount": 1}
        assert admin.post("/balances/transfer", body).said == (400, "request_id_required")
        reverse = f"/balances/operations/{paid}/reverse"
        assert admin.post(reverse, {"reason": "r"}).said == (400, "request_id_required")

    def test_is_made_for_other_writes_and_returned(self, admin: Caller) -> None:
        answer = admin.post("/users", {"group": "vip"})
        made = answer.headers["x-request-id"]
        assert answer["requestId"] == made
        assert admin.get(f"/requests/{made}")["operationId"] == answer["operationId"]

    def test_is_made_for_reads_too(self, admin: Caller) -> None:
        assert admin.get("/groups").headers["x-request-id"]
        echoed = admin.send("GET", "/groups", request_id="read-it")
        assert echoed.headers["x-request-id"] == "read-it"

    @pytest.mark.parametrize("given", ["", "a b", "a/b", "~expiry", "ü", "x" * 129, "a\tb", "a,b", "a%20b"])
    @pytest.mark.parametrize("header", ["x-request-id", "Idempotency-Key"])
    def test_outside_of_the_alphabet_is_refused_and_not_echoed(
        self, admin: Caller, header: str, given: str
    ) -> None:
        refused = admin.send(
            "POST",
            "/balances/deposit",
            {"login": 1001, "amount": 1},
            headers={header: given.encode()},
        )
        assert (refused.said, refused["field"]) == ((400, "bad_request_id"), header)
        assert refused["requestId"] != given

    @pytest.mark.parametrize("given", ["x" * 128, "A-Za-z0-9._:-", "1", ":", "."])
    def test_of_the_alphabet_is_taken(self, admin: Caller, given: str) -> None:
        login = admin.open()
        assert admin.book("deposit", login=login, amount=1, request_id=given).status == 201
        if given not in {".", ":"}:
            assert admin.get(f"/requests/{given}")["login"] == login

    @pytest.mark.parametrize(
        "operator", [b"x" * 129, b"\xff\xfe", "\u200b".encode(), b"a\tb", "\u2028".encode()]
    )
    def test_an_operator_that_cannot_be_printed_is_refused(self, admin: Caller, operator: bytes) -> None:
        refused = admin.send("GET", "/groups", headers={"x-operator-id": operator})
        assert refused.said == (400, "bad_operator_id")

    @pytest.mark.parametrize("levels", [33, 500, 900])
    @pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
    def test_metadata_nested_too_deep_is_refused_and_uses_its_id_not_up(
        self, admin: Caller, levels: int, opening: bytes, closing: bytes
    ) -> None:
        login, request_id = admin.open(), new_id()
        deep = b'{"m":%b1%b}' % (opening * (levels - 1), closing * (levels - 1))
        body = b'{"login":%d,"amount":1,"metadata":%b}' % (login, deep)
        refused = admin.post("/balances/deposit", body, request_id=request_id)
        assert (refused.said, refused["field"]) == ((400, "metadata_too_large"), "metadata")
        assert admin.get(f"/requests/{request_id}").said == (404, "unknown_request")
        assert admin.book("deposit", login=login, amount=1, request_id=request_id).status == 201

    @pytest.mark.parametrize("levels", [30, 32])
    def test_metadata_nested_less_deep_is_booked_and_told_again(self, admin: Caller, levels: int) -> None:
        body = {"login": admin.open(), "amount": 1, "metadata": nested(levels, lists=levels == 30)}
        first = admin.post("/balances/deposit", body, request_id=f"deep-{levels}")
        again = admin.post("/balances/deposit", body, request_id=f"deep-{levels}")
        assert (first.status, again.said) == (201, (409, "request_applied"))
        assert again["operation"] == first.body

    def test_a_refused_request_uses_its_id_not_up(self, admin: Caller) -> None:
        login = admin.open()
        assert admin.book("withdraw", login=login, amount=5, request_id="free-again").status == 400
        assert admin.get("/requests/free-again").said == (404, "unknown_request")
        admin.booked("deposit", login=login, amount=5)
        assert admin.book("withdraw", login=login, amount=5, request_id="free-again").status == 201


class TestWhetherItHappened:
    def test_a_request_leads_to_its_operation_with_its_events(self, admin: Caller) -> None:
        login, request_id = admin.open(), new_id()
        booked = admin.book("deposit", login=login, amount=3, comment="c", request_id=request_id)
        told = admin.get(f"/requests/{request_id}")
        assert told.status == 200
        assert booked.body.items() <= told.body.items()
        assert (told["reversedBy"], told["correctedBy"]) == (None, [])
        [event] = told["events"]
        assert (event["type"], event["position"], event["requestId"]) == (
            "money-moved",
            booked["position"],
            request_id,
        )
        assert event["comment"] == "c"

    def test_by_request_and_by_operation_the_answer_is_the_same(self, admin: Caller) -> None:
        body = {"from": admin.open(balance="9"), "to": admin.open(), "amount": 4}
        booked = admin.post("/balances/transfer", body, request_id=new_id())
        by_request = admin.get(f"/requests/{booked['requestId']}")
        by_operation = admin.get(f"/balances/operations/{booked['operationId']}")
        assert by_request.body == by_operation.body
        assert by_operation["legs"] == booked["legs"]
        assert len(by_operation["events"]) == 2

    def test_an_account_that_was_opened_is_found_by_its_operation_too(self, admin: Caller) -> None:
        opened = admin.post("/users", {"group": "vip", "name": "Ann"})
        told = admin.get(f"/balances/operations/{opened['operationId']}")
        assert opened.body.items() <= told.body.items()

    @pytest.mark.parametrize("request_id", ["never-seen", "~expiry%2Fbal_1", "%00", "x" * 500])
    def test_a_request_that_never_happened_is_not_found(self, admin: Caller, request_id: str) -> None:
        assert admin.get(f"/requests/{request_id}").status in {400, 404}

    @pytest.mark.parametrize(
        ("operation", "said"),
        [
            ("bal_999999999", (404, "unknown_operation")),
            ("op_999999999", (404, "unknown_operation")),
            ("bal_1", (404, "unknown_operation")),
            ("bal_0", (404, "unknown_operation")),
            ("bal_", (400, "bad_operation_id")),
            ("17", (400, "bad_operation_id")),
            ("bal_-1", (400, "bad_operation_id")),
            ("bal_9999999999999999999999", (400, "bad_operation_id")),
            ("BAL_1", (400, "bad_operation_id")),
        ],
    )
    def test_an_operation_that_does_not_exist_is_not_found(
        self, admin: Caller, operation: str, said: tuple[int, str]
    ) -> None:
        assert admin.get(f"/balances/operations/{operation}").said == said

    def test_the_second_leg_is_no_operation_of_its_own(self, admin: Caller) -> None:
        body = {"from": admin.open(balance="9"), "to": admin.open(), "amount": 4}
        booked = admin.post("/balances/transfer", body, request_id=new_id())
        assert admin.get(f"/balances/operations/bal_{booked['position'] + 1}").status == 404

    def test_the_making_of_keys_is_nobodys_business_here(self, admin: Caller, served: Served) -> None:
        assert served.ledger.value("SELECT count(*) FROM requests WHERE request_id LIKE '~key/%%'") > 0
        assert admin.get("/balances/operations/op_1").said == (404, "unknown_operation")


class TestReferences:
    def given(self, admin: Caller, **other: Any) -> dict[str, Any]:
        return {"login": admin.open(), "amount": 3, "method": "card", "reference": new_id()} | other

    def test_a_payment_booked_under_another_id_is_told_of(self, admin: Caller) -> None:
        body = self.given(admin)
        first = admin.booked("deposit", **body)
        again = admin.book("deposit", **body | {"comment": "the provider called twice"})
        assert again.said == (409, "reference_applied")
        assert (again["operationId"], again["operation"]) == (first["operationId"], first.body)

    @pytest.mark.parametrize("other", [{"amount": 4}, {"login": None}])
    def test_another_amount_or_account_is_a_reuse(self, admin: Caller, other: dict[str, Any]) -> None:
        body = self.given(admin)
        first = admin.booked("deposit", **body)
        change = {name: admin.open() if value is None else value for name, value in other.items()}
        refused = admin.book("deposit", **body | change)
        assert (refused.said, refused["field"]) == ((400, "reference_reused"), "reference")
        assert refused["operationId"] == first["operationId"]

    @pytest.mark.parametrize("other", [{"method": "wire"}, {"method": None}])
    def test_only_the_same_method_counts_and_one_must_be_given(
        self, admin: Caller, other: dict[str, Any]
    ) -> None:
        body = self.given(admin)
        admin.booked("deposit", **body)
        assert admin.book("deposit", **body | other).status == 201
        assert admin.book("deposit", **self.given(admin, method=None)).status == 201

    def test_only_the_same_kind_counts(self, admin: Caller) -> None:
        body = self.given(admin)
        admin.booked("deposit", **body)
        assert admin.book("withdraw", **body).status == 201
        assert admin.book("adjust", kind="rebate", **body).status == 201
        assert admin.book("adjust", kind="rebate", **body).said == (409, "reference_applied")
        assert admin.book("adjust", kind="charge", **body).status == 201

    def test_a_reversal_frees_it(self, admin: Caller) -> None:
        body = self.given(admin)
        first = admin.booked("deposit", **body)["operationId"]
        admin.booked(f"operations/{first}/reverse", reason="bounced")
        second = admin.booked("deposit", **body)
        again = admin.book("deposit", **body)
        assert (again.said, again["operationId"]) == ((409, "reference_applied"), second["operationId"])

    def test_a_transfer_has_one_too(self, admin: Caller) -> None:
        body: dict[str, Any] = {"from": admin.open(balance="9"), "to": admin.open(), "amount": 4}
        note = {"method": "internal", "reference": new_id()}
        assert admin.book("transfer", **body, **note).status == 201
        assert admin.book("transfer", **body, **note).said == (409, "reference_applied")
        refused = admin.book("transfer", **body | {"to": admin.open()}, **note)
        assert refused.said == (400, "reference_reused")

    def test_names_nothing_of_an_account_that_the_key_may_not_see(
        self, admin: Caller, served: Served
    ) -> None:
        body = self.given(admin)
        admin.booked("deposit", **body)
        masked = served.caller("finance", "--groups", "vip")
        refused = masked.book("deposit", **body | {"login": admin.open("vip")})
        assert refused.said == (400, "reference_reused")
        assert not refused.body.keys() & {"operation", "operationId"}


@pytest.fixture(scope="module")
def lenient(database_url: str, log_file: Path, admin: Caller) -> Iterator[Caller]:
    """Serve the same ledger for published clients, which send no request ids."""
    with serving(database_url, log_file, "--request-id", "optional") as service:
        yield Caller(service, admin.key)


class TestRequestIdsOptional:
    def test_one_is_made_and_returned(self, lenient: Caller, admin: Caller) -> None:
        body = {"login": admin.open(), "amount": 3}
        answer = lenient.post("/balances/deposit", body)
        assert answer.status == 201
        made = answer["requestId"]
        assert answer.headers["x-request-id"] == made
        assert admin.get(f"/requests/{made}")["operationId"] == answer["operationId"]
        assert lenient.post("/balances/deposit", body)["requestId"] != made

    def test_one_that_is_sent_counts_as_ever(self, lenient: Caller, admin: Caller) -> None:
        body, request_id = {"login": admin.open(), "amount": 3}, new_id()
        assert lenient.post("/balances/deposit", body, request_id=request_id).status == 201
        assert lenient.post("/balances/deposit", body, request_id=request_id).status == 409

    def test_items_of_a_batch_need_none_either(self, lenient: Caller, admin: Caller) -> None:
        item = {"op": "deposit", "login": admin.open(), "amount": 3}
        first, second = lenient.batch(item, item)["results"]
        assert (first["httpStatus"], second["httpStatus"]) == (201, 201)
        assert first["requestId"] != second["requestId"]


def test_two_services_on_one_ledger_apply_a_request_once(
    admin: Caller, database_url: str, log_file: Path
) -> None:
    body, ids = {"login": admin.open(), "amount": 3}, [new_id() for _ in range(20)]
    with serving(database_url, log_file) as other, ThreadPoolExecutor(8) as pool:
        beside = Caller(other, admin.key)
        calls = [(caller, request_id) for request_id in ids for caller in (admin, beside)]
        answers = list(
            pool.map(lambda call: call[0].post("/balances/deposit", body, request_id=call[1]), calls)
        )
    assert sorted(answer.status for answer in answers) == [201] * 20 + [409] * 20
    assert admin.held(body["login"])[0] == number("60.00")


def test_groups_defined_twice_stay_the_same(admin: Caller) -> None:
    before = admin.get("/groups").body
    define_groups(admin)
    assert admin.get("/groups").body == before
