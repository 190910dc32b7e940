"""Keys by example: how one is presented, which accounts it reaches, up to what amount."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from api.database import READERS_MAX, Database
from api.service import Service
from tests.api.served import Caller, Served, new_id, number

PERSONAL = ("name", "email", "phone", "address", "city", "zipcode", "comment")


class TestAKey:
    @pytest.mark.parametrize(
        "header",
        [
            "",
            "Bearer",
            "Bearer x",
            "Bearer fl_",
            "Bearer fl_0123456789abcdef_short",
            "Basic dXNlcjpwYXNz",
            "Bearer {key}x",
            "Bearer {upper}",
            "{key}",
            "Token {key}",
            "Bearer {key} {key}",
        ],
    )
    def test_that_is_malformed_is_told_so(self, served: Served, admin: Caller, header: str) -> None:
        assert admin.key is not None
        written = header.format(key=admin.key, upper=admin.key.upper())
        refused = Caller(served, None).send("GET", "/groups", headers={"authorization": written})
        assert refused.said == (401, "key_malformed")

    def test_with_a_typing_error_fails_its_own_check(self, served: Served, admin: Caller) -> None:
        assert admin.key is not None
        for place in (4, 25, 40, len(admin.key) - 1):
            other = "0" if admin.key[place] != "0" else "1"
            mistyped = admin.key[:place] + other + admin.key[place + 1 :]
            assert Caller(served, mistyped).get("/groups").said == (401, "key_malformed")

    def test_is_known_by_any_case_of_bearer(self, served: Served, admin: Caller) -> None:
        for word in ("bearer", "BEARER"):
            answer = Caller(served, None).send(
                "GET", "/groups", headers={"authorization": f"{word} {admin.key}"}
            )
            assert answer.status == 200

    def test_that_expires_later_lives(self, served: Served) -> None:
        assert served.caller("admin", "--expires", "2199-01-01T00:00:00Z").get("/groups").status == 200

    def test_that_stands_in_the_wrong_place_is_refused_and_kept_nowhere(
        self, served: Served, admin: Caller
    ) -> None:
        last = served.last_position
        body: dict[str, Any] = {"login": 1, "amount": 1, "comment": f"my key: {admin.key}"}
        for refused in (
            admin.book("deposit", **body),
            admin.book("deposit", request_id=admin.key, login=1, amount=1),
            admin.send("GET", "/groups", headers={"x-operator-id": str(admin.key)}),
            admin.get("/groups", key=admin.key),
            admin.get(f"/requests/{admin.key}"),
        ):
            assert refused.said == (400, "key_misplaced")
            assert str(admin.key) not in refused.text + str(refused.headers)
        assert served.last_position == last

    @pytest.mark.parametrize("header", ["x-request-id", "Idempotency-Key", "x-operator-id"])
    def test_that_stands_in_another_header_is_refused_by_its_name(self, admin: Caller, header: str) -> None:
        refused = admin.send("GET", "/groups", headers={header: str(admin.key)})
        assert (refused.said, refused["field"]) == ((400, "key_misplaced"), header)


@pytest.fixture(scope="module")
def places(admin: Caller, served: Served) -> dict[str, Any]:
    inside, outside = admin.open("vip", balance="100"), admin.open("standard", balance="100")
    return {
        "inside": inside,
        "outside": outside,
        "paid_inside": admin.booked("deposit", login=inside, amount=5),
        "paid_outside": admin.booked("deposit", login=outside, amount=5),
        "across": admin.booked("transfer", from_=outside, to=inside, amount=1),
        "masked": served.caller("manager", "--groups", "vip"),
        "only": served.caller("manager", "--logins", str(inside)),
    }


@pytest.fixture(params=["masked", "only"])
def limited(request: pytest.FixtureRequest, places: dict[str, Any]) -> Caller:
    caller: Caller = places[request.param]
    return caller


class TestWhereAKeyMayNotReach:
    """A key for group `vip`, and a key for one login: accounts elsewhere are out of reach."""

    @pytest.mark.parametrize(
        ("route", "body"),
        [
            ("deposit", {"amount": 1}),
            ("withdraw", {"amount": 1}),
            ("credit", {"amount": 1}),
            ("adjust", {"kind": "charge", "amount": 1}),
            ("correction", {"balance": 1, "reason": "r"}),
        ],
    )
    def test_no_money_moves_there(
        self, places: dict[str, Any], limited: Caller, served: Served, route: str, body: dict[str, Any]
    ) -> None:
        last = served.last_position
        assert limited.book(route, login=places["outside"], **body).said == (403, "outside_mask")
        assert served.last_position == last
        assert limited.book(route, login=places["inside"], **body).status == 201

    def test_no_transfer_touches_it_on_either_side(self, places: dict[str, Any], limited: Caller) -> None:
        inside, outside = places["inside"], places["outside"]
        for source, target in [(inside, outside), (outside, inside)]:
            refused = limited.book("transfer", from_=source, to=target, amount=1)
            assert refused.said == (403, "outside_mask")

    def test_nothing_there_is_reversed_or_corrected(self, places: dict[str, Any], limited: Caller) -> None:
        for booked in (places["paid_outside"], places["across"]):
            reverse = f"operations/{booked['operationId']}/reverse"
            assert limited.book(reverse, reason="r").said == (403, "outside_mask")
        corrects = places["paid_outside"]["operationId"]
        refused = limited.book("correction", login=places["inside"], balance=1, reason="r", corrects=corrects)
        assert refused.said == (403, "outside_mask")

    def test_no_account_there_is_read_or_changed(self, places: dict[str, Any], limited: Caller) -> None:
        path = f"/users/{places['outside']}"
        for method, there, body in [
            ("GET", path, None),
            ("PATCH", path, {"name": "x"}),
            ("POST", f"{path}/disable", None),
            ("POST", f"{path}/enable", None),
        ]:
            assert limited.send(method, there, body).said == (403, "outside_mask")
        assert limited.get(f"/users/{places['inside']}").status == 200

    def test_no_balance_and_no_operation_there_is_read(self, places: dict[str, Any], limited: Caller) -> None:
        booked = places["paid_outside"]
        login, at = places["outside"], "2199-01-01T00:00:00Z"
        assert limited.get("/balances/asof", login=login, at=at).said == (403, "outside_mask")
        assert limited.get("/balances/history", login=login).said == (403, "outside_mask")
        for path in (f"/balances/operations/{booked['operationId']}", f"/requests/{booked['requestId']}"):
            assert limited.get(path).said == (403, "outside_mask")
        assert limited.get(f"/requests/{places['paid_inside']['requestId']}").status == 200

    def test_lists_totals_and_csv_show_only_what_may_be_seen(
        self, places: dict[str, Any], limited: Caller, admin: Caller
    ) -> None:
        rows = limited.history()
        assert {row["group"] for row in rows} == {"vip"}
        seen = {row["login"] for row in rows}
        assert places["outside"] not in seen
        assert [row["position"] for row in rows] == [
            row["position"] for row in admin.history() if row["login"] in seen
        ]
        page = limited.get("/balances/history", totals="true", limit=1)
        assert page["count"] == len(rows)
        assert sum(kind["count"] for kind in page["totals"]["USD"].values()) == len(rows)
        csv = limited.get("/balances/history", format="csv").text
        assert str(places["outside"]) not in {line.split(",")[3] for line in csv.splitlines()[1:]}
        assert limited.get("/balances/history", requestId=places["paid_outside"]["requestId"])["rows"] == []

    def test_of_a_transfer_across_only_the_own_leg_is_listed(
        self, places: dict[str, Any], limited: Caller
    ) -> None:
        [row] = limited.history(requestId=places["across"]["requestId"])
        assert row["login"] == places["inside"]

    def test_groups_are_listed_as_far_as_the_mask_goes(self, places: dict[str, Any]) -> None:
        groups = places["masked"].get("/groups")["groups"]
        assert [group["group"] for group in groups] == ["vip"]

    def test_no_group_there_is_defined_joined_or_left_for(self, places: dict[str, Any]) -> None:
        masked: Caller = places["masked"]
        for refused in (
            masked.put("/groups/standard", {"currency": "USD"}),
            masked.put("/groups/new", {"currency": "USD"}),
            masked.post("/users", {"group": "standard"}),
            masked.send("PATCH", f"/users/{places['inside']}", {"group": "standard"}),
        ):
            assert refused.said == (403, "outside_mask")
        assert masked.post("/users", {"group": "vip"}).status == 201

    def test_nothing_that_concerns_every_account_is_defined(self, limited: Caller, served: Served) -> None:
        last = served.last_position
        pair = {"digits": 5, "contractSize": 1, "baseCurrency": "EUR", "profitCurrency": "USD"}
        clock = {"timezone": "UTC", "dayEnd": "00:00", "overnightDays": "all", "bookCurrency": "USD"}
        assert limited.put("/symbols/EURUSD", pair).said == (403, "whole_ledger_only")
        assert limited.put("/server", clock).said == (403, "whole_ledger_only")
        assert served.last_position == last

    def test_a_key_for_logins_defines_no_group_not_even_that_of_its_own(self, places: dict[str, Any]) -> None:
        refused = places["only"].put("/groups/vip", {"currency": "USD", "leverage": 1})
        assert refused.said == (403, "outside_mask")

    def test_whose_an_operation_is_is_not_told(self, places: dict[str, Any], limited: Caller) -> None:
        operation = places["paid_outside"]["operationId"]
        for refused in (
            limited.book(f"operations/{operation}/reverse", reason="r"),
            limited.book("correction", login=places["inside"], balance=1, corrects=operation, reason="r"),
        ):
            assert refused.said == (403, "outside_mask")
            told = {name: text for name, text in refused.body.items() if name != "requestId"}
            assert str(places["outside"]) not in str(told)  # a request id may hold these digits by chance

    def test_a_key_for_logins_opens_no_other(self, places: dict[str, Any]) -> None:
        for body in ({"group": "vip"}, {"group": "vip", "login": 777_777}):
            assert places["only"].post("/users", body).said == (403, "outside_mask")

    @pytest.mark.parametrize(
        ("mask", "reached"),
        [
            ("*", {"standard", "vip", "euro"}),
            ("vip,standard", {"standard", "vip"}),
            ("*,!vip", {"standard", "euro"}),
            ("VIP", set()),
            (" v* , euro ", {"vip", "euro"}),
        ],
    )
    def test_a_mask_reaches_the_groups_that_it_selects(
        self, served: Served, admin: Caller, mask: str, reached: set[str]
    ) -> None:
        caller = served.caller("finance", "--groups", mask)
        for group in ("standard", "vip", "euro"):
            status = caller.book("deposit", login=admin.open(group), amount=1).status
            assert status == (201 if group in reached else 403)

    def test_an_account_follows_its_present_group(self, served: Served, admin: Caller) -> None:
        masked, login = served.caller("manager", "--groups", "vip"), admin.open("standard", balance="3")
        assert masked.get(f"/users/{login}").status == 403
        admin.send("PATCH", f"/users/{login}", {"group": "vip"})
        assert masked.get(f"/users/{login}").status == 200
        assert [row["group"] for row in masked.history(login=login)] == ["standard"]


@pytest.fixture(scope="module")
def opened(admin: Caller) -> Any:
    details = {name: f"the {name}" for name in PERSONAL} | {"country": "GR"}
    return admin.post("/users", {"group": "vip"} | details)


class TestPersonalColumns:
    @pytest.mark.parametrize(
        ("role", "shown"),
        [("reporting", True), ("provisioning", True), ("admin", True), ("finance", False), ("dealer", False)],
    )
    def test_are_blank_without_users_pii(self, served: Served, opened: Any, role: str, shown: bool) -> None:
        profile = served.caller(role).get(f"/users/{opened['login']}")
        found = {name: profile[name] for name in PERSONAL}
        assert found == {name: f"the {name}" if shown else "" for name in PERSONAL}
        assert profile["country"] == "GR"

    def test_are_blank_in_operations_and_requests_too(self, served: Served, opened: Any) -> None:
        dealer = served.caller("dealer")
        for path in (f"/balances/operations/{opened['operationId']}", f"/requests/{opened['requestId']}"):
            told = dealer.get(path)
            assert told.status == 200
            assert not [name for name in PERSONAL if f"the {name}" in told.text]


@pytest.fixture(scope="module")
def capped(served: Served) -> Caller:
    return served.caller("manager", "--max-amount", "100")


class TestLimits:
    @pytest.mark.parametrize(
        ("route", "body"),
        [
            ("deposit", {"amount": "?"}),
            ("withdraw", {"amount": "?"}),
            ("credit", {"amount": "?"}),
            ("credit", {"amount": "-?"}),
            ("adjust", {"kind": "charge", "amount": "-?"}),
            ("adjust", {"kind": "bonus-conversion", "amount": "?"}),
            ("adjust", {"kind": "opening", "amount": "1", "credit": "?"}),
            ("correction", {"balance": "-?", "reason": "r"}),
            ("correction", {"balance": "1", "credit": "?", "reason": "r"}),
        ],
    )
    def test_one_operation_moves_up_to_the_keys_limit(
        self, admin: Caller, capped: Caller, route: str, body: dict[str, str]
    ) -> None:
        def asked(amount: str) -> dict[str, Any]:
            written = {name: text.replace("?", amount) for name, text in body.items()}
            return {
                name: text if name in {"kind", "reason"} else number(text) for name, text in written.items()
            }

        login = admin.open(balance="1000", credit="1000")
        refused = capped.book(route, login=login, **asked("100.01"))
        assert refused.said == (403, "key_limit")
        assert capped.book(route, login=login, **asked("100")).status == 201

    def test_a_transfer_a_reversal_and_a_compensation_count_too(self, admin: Caller, capped: Caller) -> None:
        source, target = admin.open(balance="1000"), admin.open()
        body: dict[str, Any] = {"from_": source, "to": target}
        assert capped.book("transfer", amount=number("100.01"), **body).said == (403, "key_limit")
        assert capped.book("transfer", amount=100, **body).status == 201
        paid = admin.booked("deposit", login=target, amount=101)["operationId"]
        assert capped.book(f"operations/{paid}/reverse", reason="r").said == (403, "key_limit")
        admin.booked("correction", login=target, balance=-302, reason="r")
        compensation: dict[str, Any] = {"login": target, "kind": "negative-balance"}
        assert capped.book("adjust", **compensation).said == (403, "key_limit")

    def test_is_in_each_accounts_own_currency(self, admin: Caller, capped: Caller) -> None:
        for group in ("yen", "dinar"):
            login = admin.open(group)
            assert capped.book("deposit", login=login, amount=100).status == 201
            assert capped.book("deposit", login=login, amount=101).said == (403, "key_limit")

    def test_a_day_has_an_end_of_its_own(self, admin: Caller, served: Served) -> None:
        login, other = admin.open(balance="1000"), admin.open()
        caller = served.caller("manager", "--max-amount-day", "100")
        body: dict[str, Any] = {"login": login, "amount": 60}
        first = caller.book("deposit", request_id="day-1", **body)
        assert first.status == 201
        assert caller.book("deposit", request_id="day-1", **body).said == (409, "request_applied")
        assert caller.post("/balances/deposit?dryRun=true", body, request_id="x").status == 403
        assert caller.book("deposit", login=other, amount=number("40.01")).said == (403, "key_day_limit")
        assert caller.book("withdraw", login=login, amount=5000).said == (403, "key_day_limit")
        assert caller.book("withdraw", login=login, amount=30).status == 201
        assert caller.book("deposit", login=other, amount=10).status == 201
        assert caller.book("deposit", login=other, amount=number("0.01")).said == (403, "key_day_limit")
        assert caller.book("deposit", login=admin.open("yen"), amount=100).status == 201
        assert served.caller("manager", "--max-amount-day", "100").book("deposit", **body).status == 201

    def test_what_was_refused_or_rehearsed_counts_for_nothing(self, admin: Caller, served: Served) -> None:
        login = admin.open()
        caller = served.caller("manager", "--max-amount-day", "100")
        for _ in range(3):
            assert caller.book("withdraw", login=login, amount=60).said == (400, "not_enough_money")
            rehearsal = {"login": login, "amount": 60}
            assert caller.post("/balances/deposit?dryRun=true", rehearsal, request_id="y").status == 200
        assert caller.book("deposit", login=login, amount=100).status == 201

    def test_a_day_is_counted_within_one_batch_too(self, admin: Caller, served: Served) -> None:
        login = admin.open()
        caller = served.caller("manager", "--max-amount-day", "100")
        items = [
            {"op": "deposit", "requestId": new_id(), "login": login, "amount": amount}
            for amount in (60, 50, 40, 1)
        ]
        codes = [result.get("code") for result in caller.batch(*items)["results"]]
        assert codes == [None, "key_day_limit", None, "key_day_limit"]


class TestAKeyIsCheckedAtOnce:
    @pytest.mark.anyio
    async def test_also_while_reports_hold_every_connection_that_reads(
        self, served: Served, admin: Caller
    ) -> None:
        database = Database(served.database_url, "main")
        service = Service(database, ledger="main")
        await database.open()
        try:
            async with AsyncExitStack() as reports:
                for _ in range(READERS_MAX):
                    await reports.enter_async_context(database.reading())
                key = await service.keys.check(f"Bearer {admin.key}".encode())
            assert key.key_id == admin.key_id
        finally:
            await database.close()
