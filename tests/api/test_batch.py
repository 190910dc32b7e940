"""The batch call: many operations in one, each for itself, or all of them or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api.served import Answer, Caller, Served, new_id, number

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 1024 * 1024


def deposit(login: int, amount: object = 1, **other: Any) -> dict[str, Any]:
    return {"op": "deposit", "requestId": new_id(), "login": login, "amount": amount} | other


def withdraw(login: int, amount: object = 1, **other: Any) -> dict[str, Any]:
    return deposit(login, amount, op="withdraw", **other)


def statuses(answer: Answer) -> list[tuple[int, str | None]]:
    assert answer.status == 200, answer.text
    return [(result["httpStatus"], result.get("code")) for result in answer["results"]]


def without(item: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in names}


class TestIndependent:
    def test_each_result_is_what_the_item_alone_would_get(self, admin: Caller) -> None:
        login, target = admin.open(balance="100", credit="10"), admin.open()
        paid = admin.booked("deposit", login=login, amount=5)["operationId"]
        items: dict[str, dict[str, Any]] = {
            "deposit": {"login": login, "amount": 1},
            "withdraw": {"login": login, "amount": 1},
            "credit": {"login": login, "amount": 1},
            "transfer": {"from": login, "to": target, "amount": 1},
            "correction": {"login": login, "balance": 1, "reason": "r"},
            "adjust": {"login": login, "kind": "rebate", "amount": 1},
            f"operations/{paid}/reverse": {"reason": "r"},
        }
        alone = [
            admin.post(f"/balances/{path}?dryRun=true", body, request_id="alone")
            for path, body in items.items()
        ]
        rehearsed: list[dict[str, Any]] = []
        for path, body in items.items():
            op: dict[str, Any] = {"op": path} if "/" not in path else {"op": "reverse", "operationId": paid}
            rehearsed += admin.batch(op | body | {"requestId": "alone"}, dry_run=True)["results"]

        def shape(body: dict[str, Any]) -> dict[str, Any]:
            times = ("recordedAt", "effectiveAt", "httpStatus")
            return without(body, *times) | {"legs": [without(leg, *times) for leg in body.get("legs", [])]}

        assert [shape(result) for result in rehearsed] == [shape(answer.body) for answer in alone]

    def test_results_come_in_order_flat_and_with_status_and_request_id(self, admin: Caller) -> None:
        login = admin.open()
        items = [deposit(login, 10), withdraw(login, 3), withdraw(login, 8), deposit(login, 1)]
        answer = admin.batch(*items)
        assert statuses(answer) == [(201, None), (201, None), (400, "not_enough_money"), (201, None)]
        assert [result["requestId"] for result in answer["results"]] == [item["requestId"] for item in items]
        first, second, refused, last = answer["results"]
        assert (first["newBalance"], second["newBalance"]) == (number("10.00"), number("7.00"))
        assert last["newBalance"] == number("8.00")
        told = admin.get(f"/requests/{first['requestId']}").body
        assert without(first, "httpStatus") == without(told, "events", "reversedBy", "correctedBy")
        assert (refused["status"], refused["title"]) == (400, "ValidationError")
        assert refused["available"] == number("7.00")

    def test_a_problem_is_the_one_that_the_item_alone_would_get(self, admin: Caller) -> None:
        login, request_id = admin.open(), new_id()
        alone = admin.book("withdraw", login=login, amount=8, request_id=request_id)
        [refused] = admin.batch(withdraw(login, 8, requestId=request_id))["results"]
        assert refused == alone.body | {"httpStatus": 400}

    @pytest.mark.parametrize(
        ("role", "request_id", "wrong", "code"),
        [
            ("dealer", "right", {"login": "abc"}, "scope_missing"),
            ("dealer", "right", {"amount": None}, "scope_missing"),
            ("dealer", "a b", {"nonsense": 1}, "scope_missing"),
            ("dealer", None, {"amount": 0}, "scope_missing"),
            ("finance", "a b", {"nonsense": 1}, "bad_request_id"),
            ("finance", "a b", {"login": "abc"}, "bad_request_id"),
            ("finance", "a b", {"amount": 0}, "bad_request_id"),
            ("finance", None, {"nonsense": 1}, "unknown_field"),
            ("finance", None, {"amount": 0}, "amount_zero"),
            ("finance", None, {"comment": "\0"}, "bad_text"),
            ("finance", None, {}, "request_id_required"),
        ],
    )
    def test_of_two_reasons_an_item_is_told_the_one_that_it_alone_would_be_told(
        self,
        served: Served,
        admin: Caller,
        role: str,
        request_id: str | None,
        wrong: dict[str, Any],
        code: str,
    ) -> None:
        caller, body = served.caller(role), {"login": admin.open(), "amount": 1} | wrong
        sent = {} if request_id is None else {"requestId": new_id() if request_id == "right" else request_id}
        alone = caller.post("/balances/deposit", body, request_id=sent.get("requestId"))
        [result] = caller.batch({"op": "deposit"} | sent | body)["results"]
        assert (result["httpStatus"], result["code"]) == alone.said == (alone.status, code)
        refused = caller.batch({"op": "deposit"} | sent | body, atomic=True)
        assert (refused.said, refused["index"]) == (alone.said, 0)

    def test_an_item_that_is_no_utf8_is_refused_as_such(self, admin: Caller) -> None:
        login, good = admin.open(), new_id()
        broken = b'{"op":"deposit","requestId":"%b","login":%d,"amount":1}'
        items = [broken % (b"\xff", login), broken % (good.encode(), login)]
        answer = admin.post("/balances/batch", b'{"operations":[%b]}' % b",".join(items))
        assert statuses(answer) == [(400, "body_malformed"), (201, None)]

    def test_items_that_cannot_be_understood_fail_alone(self, admin: Caller) -> None:
        login = admin.open()
        bad: list[tuple[object, tuple[int, str], str | None]] = [
            ({"op": "deposit", "requestId": "b1"}, (400, "missing_field"), "b1"),
            ({"op": "sell", "requestId": "b2"}, (400, "wrong_type"), "b2"),
            ({"requestId": "b3"}, (400, "missing_field"), "b3"),
            (deposit(login, 0, requestId="b4"), (400, "amount_zero"), "b4"),
            (deposit(login, 1, requestId="b5", nonsense=1), (400, "unknown_field"), "b5"),
            (deposit(login, 1, requestId=7), (400, "wrong_type"), None),
            (deposit(login, 1, requestId=None), (400, "request_id_required"), None),
            (without(deposit(login), "requestId"), (400, "request_id_required"), None),
            (deposit(login, 1, requestId="a b"), (400, "bad_request_id"), "a b"),
            (deposit(login, 1, requestId="~expiry/bal_1"), (400, "bad_request_id"), "~expiry/bal_1"),
            (deposit(424242, 1, requestId="b6"), (400, "unknown_login"), "b6"),
            ([1, 2], (400, "wrong_type"), None),
            ("deposit", (400, "wrong_type"), None),
            (None, (400, "wrong_type"), None),
            (
                {"op": "reverse", "operationId": "bal_99999999", "reason": "r", "requestId": "b7"},
                (404, "unknown_operation"),
                "b7",
            ),
            (
                {"op": "reverse", "operationId": "op_1", "reason": "r", "requestId": "b8"},
                (400, "wrong_type"),
                "b8",
            ),
        ]
        good = deposit(login, 5)
        answer = admin.batch(*[item for item, _, _ in bad], good)
        assert statuses(answer) == [*[said for _, said, _ in bad], (201, None)]
        told = [result["requestId"] for result in answer["results"]]
        assert told == [*[request_id for _, _, request_id in bad], good["requestId"]]
        assert admin.held(login)[0] == number("5.00")

    def test_a_repeat_gets_its_409_with_the_first_operation(self, admin: Caller) -> None:
        login = admin.open()
        item = deposit(login, 5)
        first, again = admin.batch(item, item)["results"]
        assert (first["httpStatus"], again["httpStatus"], again["code"]) == (201, 409, "request_applied")
        assert again["operation"] == without(first, "httpStatus")
        [single] = admin.batch(item)["results"]
        assert (single["operationId"], single["operation"]) == (again["operationId"], again["operation"])
        reused, _ = admin.batch(item | {"amount": 6}, deposit(login))["results"]
        assert (reused["code"], reused["fields"]) == ("request_id_reused", ["amount"])

    def test_an_item_and_a_single_call_share_their_request_ids(self, admin: Caller) -> None:
        item = deposit(admin.open(), 5)
        booked = admin.post(
            "/balances/deposit", without(item, "op", "requestId"), request_id=item["requestId"]
        )
        [again] = admin.batch(item)["results"]
        assert (again["httpStatus"], again["operation"]) == (409, booked.body)

    def test_the_whole_call_again_changes_nothing(self, admin: Caller, served: Served) -> None:
        items = [deposit(admin.open(), n) for n in range(1, 6)]
        admin.batch(*items)
        last = served.last_position
        assert statuses(admin.batch(*items)) == [(409, "request_applied")] * 5
        assert served.last_position == last

    def test_a_transfer_in_a_batch_has_both_legs(self, admin: Caller) -> None:
        source, target = admin.open(balance="9"), admin.open()
        item = {"op": "transfer", "requestId": new_id(), "from": source, "to": target, "amount": 4}
        [result] = admin.batch(item)["results"]
        assert [leg["login"] for leg in result["legs"]] == [source, target]

    def test_the_call_itself_needs_no_request_id_and_carries_one(self, admin: Caller) -> None:
        answer = admin.batch(deposit(admin.open()))
        assert answer.headers["x-request-id"]
        assert list(answer.body) == ["results"]

    def test_a_rehearsal_books_nothing(self, admin: Caller, served: Served) -> None:
        login, last = admin.open(), served.last_position
        items = [deposit(login, 5), withdraw(login, 4), withdraw(login, 4)]
        answer = admin.batch(*items, dry_run=True)
        assert statuses(answer) == [(200, None), (200, None), (400, "not_enough_money")]
        assert [result["status"] for result in answer["results"][:2]] == ["dry_run", "dry_run"]
        assert served.last_position == last
        assert admin.get(f"/requests/{items[0]['requestId']}").status == 404
        assert statuses(admin.batch(*items)) == [(201, None), (201, None), (400, "not_enough_money")]

    def test_each_item_needs_its_own_scope(self, admin: Caller, served: Served) -> None:
        login = admin.open(balance="10")
        paid = admin.booked("deposit", login=login, amount=5)["operationId"]
        items = [
            deposit(login),
            withdraw(login),
            deposit(login, op="credit"),
            {"op": "transfer", "requestId": new_id(), "from": login, "to": admin.open(), "amount": 1},
            {"op": "adjust", "requestId": new_id(), "login": login, "kind": "tax", "amount": -1},
            {"op": "correction", "requestId": new_id(), "login": login, "balance": 1, "reason": "r"},
            {"op": "reverse", "requestId": new_id(), "operationId": paid, "reason": "r"},
        ]
        denied = (401, "scope_missing")
        assert statuses(served.caller("finance").batch(*items)) == [(201, None)] * 5 + [denied] * 2
        assert statuses(served.caller("provisioning").batch(*items)) == [denied] * 7

    def test_each_item_is_held_to_the_keys_mask(self, admin: Caller, served: Served) -> None:
        masked = served.caller("finance", "--groups", "vip")
        items = [deposit(admin.open("standard")), deposit(admin.open("vip"))]
        assert statuses(masked.batch(*items)) == [(403, "outside_mask"), (201, None)]


class TestAtomic:
    def test_all_are_booked_in_order_in_one_go(self, admin: Caller) -> None:
        login = admin.open()
        answer = admin.batch(deposit(login, 10), withdraw(login, 10), deposit(login, 3), atomic=True)
        assert statuses(answer) == [(201, None)] * 3
        positions = [result["position"] for result in answer["results"]]
        assert positions == list(range(positions[0], positions[0] + 3))
        assert len({result["recordedAt"] for result in answer["results"]}) == 1

    @pytest.mark.parametrize(
        ("broken", "said"),
        [
            ({"op": "withdraw", "amount": 99}, (400, "not_enough_money")),
            ({"login": 424242}, (400, "unknown_login")),
            ({"amount": 0}, (400, "amount_zero")),
            ({"op": "sell"}, (400, "wrong_type")),
            ({"requestId": None}, (400, "request_id_required")),
        ],
    )
    def test_the_first_refused_item_refuses_the_whole_call(
        self, admin: Caller, served: Served, broken: dict[str, Any], said: tuple[int, str]
    ) -> None:
        login = admin.open()
        last = served.last_position
        items = [deposit(login, 5), deposit(login, 1) | broken, deposit(login, 1) | broken]
        refused = admin.batch(*items, atomic=True)
        assert (refused.said, refused["index"]) == (said, 1)
        assert served.last_position == last
        assert admin.get(f"/requests/{items[0]['requestId']}").status == 404

    def test_an_item_without_scope_refuses_the_whole_call(self, admin: Caller, served: Served) -> None:
        login = admin.open()
        correction = {"op": "correction", "requestId": new_id(), "login": login, "balance": 1, "reason": "r"}
        refused = served.caller("finance").batch(deposit(login), correction, atomic=True)
        assert (refused.said, refused["index"]) == ((401, "scope_missing"), 1)
        assert admin.held(login)[0] == number("0.00")

    def test_an_item_outside_of_the_mask_refuses_the_whole_call(self, admin: Caller, served: Served) -> None:
        inside, outside = admin.open("vip"), admin.open("standard")
        masked = served.caller("finance", "--groups", "vip")
        refused = masked.batch(deposit(inside), deposit(outside), atomic=True)
        assert (refused.said, refused["index"]) == ((403, "outside_mask"), 1)

    def test_the_same_call_again_is_a_409_as_a_whole(self, admin: Caller, served: Served) -> None:
        items = [deposit(admin.open(), n) for n in (1, 2, 3)]
        first = admin.batch(*items, atomic=True)
        last = served.last_position
        again = admin.batch(*items, atomic=True)
        assert again.said == (409, "request_applied")
        assert again["operationId"] == first["results"][0]["operationId"]
        assert served.last_position == last

    @pytest.mark.parametrize("applied", [0, 1, 2])
    def test_a_call_of_which_some_were_applied_before_is_refused(
        self, admin: Caller, served: Served, applied: int
    ) -> None:
        items = [deposit(admin.open(), n) for n in (1, 2, 3)]
        admin.batch(items[applied])
        last = served.last_position
        refused = admin.batch(*items, atomic=True)
        assert refused.said == (400, "batch_partly_applied")
        assert refused["index"] == applied
        assert served.last_position == last

    @pytest.mark.parametrize(("atomic", "dry_run"), [(True, False), (False, True), (True, True)])
    def test_one_request_id_twice_in_a_call_books_nothing(
        self, admin: Caller, served: Served, *, atomic: bool, dry_run: bool
    ) -> None:
        item, other, last = deposit(admin.open()), deposit(admin.open()), served.last_position
        refused = admin.batch(item, other, item | {"amount": 2}, atomic=atomic, dry_run=dry_run)
        assert refused.said == (400, "repeated_field")
        assert (refused["field"], refused["index"]) == ("requestId", 2)
        assert served.last_position == last
        assert statuses(admin.batch(item, other)) == [(201, None)] * 2

    @pytest.mark.parametrize("dry_run", [False, True])
    def test_of_a_wrong_item_and_a_request_id_given_twice_the_first_item_is_told(
        self, admin: Caller, *, dry_run: bool
    ) -> None:
        login = admin.open()
        wrong, item = deposit(login, 0), deposit(login)
        before = admin.batch(wrong, item, item, atomic=True, dry_run=dry_run)
        assert (before.said, before["index"]) == ((400, "amount_zero"), 0)
        behind = admin.batch(item, item, wrong, atomic=True, dry_run=dry_run)
        assert (behind.said, behind["index"]) == ((400, "repeated_field"), 1)
        assert admin.held(login)[0] == number("0.00")

    def test_a_rehearsal_decides_and_books_nothing(self, admin: Caller, served: Served) -> None:
        login, last = admin.open(), served.last_position
        fine = admin.batch(deposit(login, 5), withdraw(login, 5), atomic=True, dry_run=True)
        assert statuses(fine) == [(200, None), (200, None)]
        refused = admin.batch(deposit(login, 5), withdraw(login, 6), atomic=True, dry_run=True)
        assert (refused.said, refused["index"]) == ((400, "not_enough_money"), 1)
        assert served.last_position == last

    def test_is_one_transaction_beyond_any_batch_cap(self, admin: Caller) -> None:
        login = admin.open()
        items = [deposit(login, number("0.01")) for _ in range(2_500)]
        refused = admin.batch(*items, withdraw(login, 26), atomic=True)
        assert (refused.said, refused["index"]) == ((400, "not_enough_money"), 2_500)
        answer = admin.batch(*items, withdraw(login, 25), atomic=True)
        assert statuses(answer) == [(201, None)] * 2_501
        assert len({result["recordedAt"] for result in answer["results"]}) == 1
        assert admin.held(login)[0] == number("0.00")


class TestTheCall:
    @pytest.mark.parametrize(
        ("body", "code", "field"),
        [
            ({}, "missing_field", "operations"),
            ({"operations": {}}, "wrong_type", "operations"),
            ({"operations": None}, "wrong_type", "operations"),
            ({"operations": []}, "wrong_type", "operations"),
            ({"operations": [{}], "atomic": "yes"}, "wrong_type", "atomic"),
            ({"operations": [{}], "atomic": 1}, "wrong_type", "atomic"),
            ({"operations": [{}], "items": []}, "unknown_field", "items"),
            ([], "wrong_type", None),
        ],
    )
    def test_that_is_wrong_as_a_whole_is_refused_as_a_whole(
        self, admin: Caller, body: object, code: str, field: str | None
    ) -> None:
        refused = admin.post("/balances/batch", body)
        assert (refused.said, refused.body.get("field")) == ((400, code), field)

    @pytest.mark.parametrize(
        "body", [b"", b"{", b'{"operations":[{"op":}]}', b"\xff\xfe", b'{"operations":[1,]}']
    )
    def test_that_is_no_json_is_refused_as_a_whole(self, admin: Caller, body: bytes) -> None:
        assert admin.post("/balances/batch", body).said == (400, "body_malformed")

    def test_needs_a_key(self, nobody: Caller) -> None:
        assert nobody.batch(deposit(1001)).said == (401, "key_missing")

    def test_takes_ten_thousand_items(self, admin: Caller) -> None:
        logins = [admin.open() for _ in range(4)]
        items = [deposit(logins[n % 4], 1) for n in range(10_000)]
        answer = admin.batch(*items)
        assert statuses(answer) == [(201, None)] * 10_000
        assert [result["requestId"] for result in answer["results"]] == [item["requestId"] for item in items]
        assert {admin.held(login)[0] for login in logins} == {number("2500.00")}

    def test_refuses_one_item_more(self, admin: Caller, served: Served) -> None:
        last = served.last_position
        refused = admin.batch(*[deposit(1001) for _ in range(10_001)])
        assert (refused.said, refused["field"]) == ((400, "wrong_type"), "operations")
        assert served.last_position == last


class TestSizeLimits:
    def test_a_batch_of_exactly_16_mebibytes_is_taken(self, admin: Caller) -> None:
        body = _padded(admin.open(), 16 * MEBIBYTE)
        assert statuses(admin.post("/balances/batch", body)) == [(201, None)]

    def test_a_batch_beyond_16_mebibytes_is_too_large(self, admin: Caller) -> None:
        refused = admin.post("/balances/batch", _padded(admin.open(), 16 * MEBIBYTE + 1))
        assert refused.said == (413, "body_too_large")

    def test_a_batch_beyond_it_that_does_not_say_its_length_is_too_large(self, admin: Caller) -> None:
        body = _padded(admin.open(), 16 * MEBIBYTE + 1)
        assert _streamed(admin, "/balances/batch", body) == 413

    def test_a_single_body_of_exactly_64_kibibytes_is_taken(self, admin: Caller) -> None:
        body = b'{"login":%d,"amount":1}' % admin.open()
        padded = body.ljust(64 * 1024)
        assert admin.post("/balances/deposit", padded, request_id=new_id()).status == 201

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/balances/deposit"),
            ("POST", "/balances/withdraw"),
            ("POST", "/balances/credit"),
            ("POST", "/balances/transfer"),
            ("POST", "/balances/correction"),
            ("POST", "/balances/adjust"),
            ("POST", "/balances/operations/bal_1/reverse"),
            ("POST", "/users"),
            ("PATCH", "/users/1001"),
            ("PUT", "/groups/standard"),
            ("PUT", "/server"),
        ],
    )
    def test_a_single_body_beyond_64_kibibytes_is_too_large(
        self, admin: Caller, served: Served, method: str, path: str
    ) -> None:
        last, request_id = served.last_position, new_id()
        body = b'{"login":1001,"amount":1}'.ljust(64 * 1024 + 1)
        assert admin.send(method, path, body, request_id=request_id).said == (413, "body_too_large")
        assert served.last_position == last
        assert admin.get(f"/requests/{request_id}").status == 404

    def test_a_single_body_beyond_it_that_does_not_say_its_length_is_too_large(self, admin: Caller) -> None:
        body = b'{"login":%d,"amount":1}' % admin.open()
        assert _streamed(admin, "/balances/deposit", body.ljust(64 * 1024 + 1)) == 413

    def test_a_key_is_asked_for_before_the_size(self, nobody: Caller) -> None:
        assert nobody.post("/balances/deposit", b" " * 70_000).said == (401, "key_missing")


def _padded(login: int, size: int) -> bytes:
    body = b'{"operations":[{"op":"deposit","requestId":"%b","login":%d,"amount":1}]}'
    return (body % (new_id().encode(), login)).ljust(size)


def _streamed(caller: Caller, path: str, body: bytes) -> int:
    """Send a body in chunks, without its length in front."""

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    headers = {"authorization": f"Bearer {caller.key}", "x-request-id": new_id()}
    url = caller.served.url + path
    return caller.served.http.post(url, content=chunks(), headers=headers).status_code
