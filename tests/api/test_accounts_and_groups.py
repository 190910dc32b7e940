"""Accounts, groups and the server's definition: just enough of them for funding to be real."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from tests.api.served import BOUND_S, Caller, Served, new_id, number
from tests.service import within

STRUCTURE = [
    "login",
    "enable",
    "enable_read_only",
    "enable_change_password",
    "leverage",
    "currency",
    "group",
    "email",
    "country",
    "phone",
    "comment",
    "address",
    "city",
    "zipcode",
    "name",
    "regdate",
    "prevbalance",
    "prevmonthbalance",
    "balance",
    "credit",
    "margin",
    "margin_free",
    "margin_level",
    "equity",
    "profit",
    "net_profit",
    "storage",
    "commission",
    "online",
    "magic",
    "customer_id",
]
PROFILE: dict[str, Any] = {
    "name": "Änne Ähre",
    "leverage": 500,
    "email": "a@example.com",
    "country": "GR",
    "phone": "+30 1",
    "address": "Street 1",
    "city": "Athens",
    "zipcode": "10431",
    "comment": "vip lead",
    "magic": 7,
    "customer_id": 2**53 - 1,
    "enable": 1,
    "enable_read_only": 1,
    "enable_change_password": 0,
    "regdate": 1_700_000_000,
}
LAST_SECOND = int(datetime(2199, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())


def test_an_account_in_a_group_that_was_made_while_it_was_read_is_shown(
    admin: Caller, served: Served
) -> None:
    login, group = admin.open(), f"made-{new_id()}"
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY(pg_blocking_pids(pid))"
    with ThreadPoolExecutor() as pool, psycopg.connect(served.ledger.superuser) as holder:
        holder.execute("LOCK TABLE online IN ACCESS EXCLUSIVE MODE")  # which the account is read with
        shown = pool.submit(admin.get, f"/users/{login}")
        within(BOUND_S, lambda: served.ledger.value(blocked, holder.info.backend_pid) == 1)
        assert admin.put(f"/groups/{group}", {"currency": "USD"}).status == 200
        moved = pool.submit(admin.send, "PATCH", f"/users/{login}", {"group": group})
        there = "SELECT group_name FROM accounts WHERE login = %s"
        within(BOUND_S, lambda: served.ledger.value(there, login) == group)
        holder.rollback()
        assert moved.result().status == 200
        assert (shown.result().status, shown.result()["group"]) == (200, group)


class TestOpening:
    def test_an_account_is_answered_with_its_whole_profile(self, admin: Caller) -> None:
        answer = admin.post("/users", {"login": 900_001, "group": "standard"} | PROFILE, request_id="open-1")
        zero = number("0.00")
        assert answer.status == 201
        assert answer.body == {
            **PROFILE,
            "login": 900_001,
            "group": "standard",
            "currency": "USD",
            **dict.fromkeys(
                ("prevbalance", "prevmonthbalance", "balance", "credit", "margin", "margin_free"), zero
            ),
            **dict.fromkeys(("equity", "profit", "net_profit", "storage", "commission"), zero),
            "margin_level": zero,
            "online": 0,
            "withdrawable": zero,
            "digits": 2,
            "stale": False,
            "version": 1,
            "operationId": answer["operationId"],
            "requestId": "open-1",
        }
        assert re.fullmatch(r"op_[1-9][0-9]*", answer["operationId"])

    def test_its_fields_stand_in_the_published_order(self, admin: Caller) -> None:
        login = admin.open()
        assert list(admin.get(f"/users/{login}").body) == [
            *STRUCTURE,
            "withdrawable",
            "digits",
            "stale",
            "version",
        ]

    def test_without_details_it_has_the_defaults(self, admin: Caller) -> None:
        admin.put("/groups/geared", {"currency": "JPY", "leverage": 30})
        answer = admin.post("/users", {"group": "geared"})
        told = {name: answer[name] for name in ("leverage", "currency", "digits", "magic", "customer_id")}
        assert told == {"leverage": 30, "currency": "JPY", "digits": 0, "magic": 0, "customer_id": 0}
        flags = ("enable", "enable_read_only", "enable_change_password")
        assert [answer[flag] for flag in flags] == [1, 0, 1]
        assert all(answer[name] == "" for name in ("name", "email", "phone", "comment"))
        assert (answer["balance"], answer["margin_level"]) == (0, number("0.00"))
        operation = admin.get(f"/balances/operations/{answer['operationId']}")
        assert operation["regdate"] == answer["regdate"]
        assert abs(datetime.now().timestamp() - answer["regdate"]) < 60  # noqa: DTZ005 - as published

    def test_a_missing_login_is_the_next_free_one(self, admin: Caller) -> None:
        first = admin.post("/users", {"group": "standard"})["login"]
        assert admin.post("/users", {"group": "standard"})["login"] == first + 1
        admin.post("/users", {"group": "standard", "login": first + 500})
        assert admin.post("/users", {"group": "standard"})["login"] == first + 501

    def test_a_login_is_taken_once(self, admin: Caller) -> None:
        login = admin.open()
        refused = admin.post("/users", {"group": "standard", "login": login})
        assert (refused.said, refused["field"]) == ((400, "login_taken"), "login")

    def test_the_highest_login_leaves_no_free_one(self, served_elsewhere: Caller) -> None:
        body = {"group": "standard", "login": 2**53 - 1}
        assert served_elsewhere.post("/users", body).status == 201
        assert served_elsewhere.post("/users", {"group": "standard"}).said == (400, "bad_login")

    @pytest.mark.parametrize(
        ("fields", "code", "field"),
        [
            ({"group": None}, "wrong_type", "group"),
            ({"group": "nowhere"}, "unknown_group", "group"),
            ({"login": "5"}, "wrong_type", "login"),
            ({"login": 0}, "wrong_type", "login"),
            ({"login": 2**53}, "wrong_type", "login"),
            ({"leverage": 0}, "wrong_type", "leverage"),
            ({"enable": 2}, "wrong_type", "enable"),
            ({"enable": "yes"}, "wrong_type", "enable"),
            ({"magic": -1}, "wrong_type", "magic"),
            ({"regdate": 1.5}, "wrong_type", "regdate"),
            ({"regdate": "2026-01-01"}, "wrong_type", "regdate"),
            ({"regdate": LAST_SECOND + 1}, "wrong_type", "regdate"),
            ({"regdate": 1_713_000_000_000}, "wrong_type", "regdate"),
            ({"name": "x" * 257}, "wrong_type", "name"),
            ({"name": "\x00"}, "bad_text", "name"),
            ({"balance": 5}, "unknown_field", "balance"),
            ({"customerId": 5}, "unknown_field", "customerId"),
        ],
    )
    def test_what_is_wrong_is_refused_by_name(
        self, admin: Caller, fields: dict[str, Any], code: str, field: str
    ) -> None:
        refused = admin.post("/users", {"group": "standard"} | fields)
        assert (refused.said, refused["field"]) == ((400, code), field)

    def test_an_account_without_a_group_is_refused(self, admin: Caller) -> None:
        refused = admin.post("/users", {"name": "Ann"})
        assert (refused.said, refused["field"]) == ((400, "missing_field"), "group")


class TestChanging:
    @pytest.mark.parametrize("field", PROFILE)
    def test_one_field_changes_and_no_other(self, admin: Caller, field: str) -> None:
        login = admin.open()
        before = admin.get(f"/users/{login}").body
        value = PROFILE[field] if PROFILE[field] != before[field] else 0
        answer = admin.send("PATCH", f"/users/{login}", {field: value})
        assert answer.status == 200
        assert answer["operationId"].startswith("op_")
        after = admin.get(f"/users/{login}").body
        assert after == before | {field: value, "version": 2}
        assert after.items() <= answer.body.items()

    def test_a_registration_is_any_second_of_the_years_that_books_have(self, admin: Caller) -> None:
        login = admin.open()
        for second in (LAST_SECOND, 0):
            assert admin.send("PATCH", f"/users/{login}", {"regdate": second})["regdate"] == second

    def test_to_an_empty_text_it_is_emptied(self, admin: Caller) -> None:
        login = admin.post("/users", {"group": "standard", "email": "a@example.com"})["login"]
        assert admin.send("PATCH", f"/users/{login}", {"email": ""})["email"] == ""

    def test_to_another_group_of_the_same_currency(self, admin: Caller) -> None:
        login = admin.open("standard", balance="5")
        answer = admin.send("PATCH", f"/users/{login}", {"group": "vip"})
        assert (answer["group"], answer["balance"]) == ("vip", number("5.00"))

    @pytest.mark.parametrize(
        ("fields", "code", "field"),
        [
            ({"group": "euro"}, "currency_mismatch", "group"),
            ({"group": "nowhere"}, "unknown_group", "group"),
            ({"login": 5}, "unknown_field", "login"),
            ({"currency": "EUR"}, "unknown_field", "currency"),
            ({"leverage": -1}, "wrong_type", "leverage"),
            ({"regdate": LAST_SECOND + 1}, "wrong_type", "regdate"),
            ({}, "missing_field", None),
            ({"name": None}, "missing_field", None),
        ],
    )
    def test_what_is_wrong_is_refused_by_name(
        self, admin: Caller, fields: dict[str, Any], code: str, field: str | None
    ) -> None:
        refused = admin.send("PATCH", f"/users/{admin.open()}", fields)
        assert (refused.said, refused.body.get("field")) == ((400, code), field)

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/users/424242"),
            ("PATCH", "/users/424242"),
            ("POST", "/users/424242/disable"),
            ("POST", "/users/424242/enable"),
            ("GET", "/users/0"),
            ("GET", "/users/-1"),
            ("GET", f"/users/{2**63}"),
            ("POST", f"/users/{2**64}/disable"),
        ],
    )
    def test_an_unknown_login_in_the_path_is_not_found(self, admin: Caller, method: str, path: str) -> None:
        body = {"name": "x"} if method == "PATCH" else None
        assert admin.send(method, path, body).said == (404, "unknown_login")


class TestDisabling:
    def test_twice_is_told_of_the_first_time(self, admin: Caller) -> None:
        login = admin.open(balance="5")
        first = admin.post(f"/users/{login}/disable")
        assert (first.status, first["enable"]) == (200, 0)
        again = admin.post(f"/users/{login}/disable")
        assert again.said == (409, "already_disabled")
        assert (again["operationId"], again["operation"]) == (first["operationId"], first.body)

    def test_and_enabling_twice_likewise(self, admin: Caller) -> None:
        login = admin.open(disabled=True)
        first = admin.post(f"/users/{login}/enable")
        assert (first.status, first["enable"]) == (200, 1)
        again = admin.post(f"/users/{login}/enable")
        assert (again.said, again["operationId"]) == ((409, "already_enabled"), first["operationId"])

    def test_an_account_that_was_never_disabled_is_enabled_since_it_was_opened(self, admin: Caller) -> None:
        opened = admin.post("/users", {"group": "standard"})
        again = admin.post(f"/users/{opened['login']}/enable")
        assert (again.said, again["operationId"]) == ((409, "already_enabled"), opened["operationId"])

    def test_by_a_change_of_the_profile_counts_as_well(self, admin: Caller) -> None:
        login = admin.open()
        changed = admin.send("PATCH", f"/users/{login}", {"enable": 0, "name": "x"})
        again = admin.post(f"/users/{login}/disable")
        assert (again.said, again["operationId"]) == ((409, "already_disabled"), changed["operationId"])
        assert admin.book("withdraw", login=login, amount=1).said == (403, "account_disabled")

    def test_leaves_history_readable(self, admin: Caller) -> None:
        login = admin.open(balance="5", disabled=True)
        assert len(admin.history(login=login)) == 1
        assert admin.get(f"/users/{login}")["balance"] == number("5.00")


class TestGroups:
    def test_a_group_is_told_whole(self, admin: Caller) -> None:
        definition: dict[str, Any] = {
            "currency": "KWD",
            "digits": 3,
            "leverage": 200,
            "equityMode": "net",
            "withdrawPolicy": "mt",
            "refuseWhenStale": True,
            "marginCall": number("80.5"),
            "stopOut": 50,
            "maxOperation": number("2500.500"),
            "coverage": True,
            "permissions": {"trade": True},
        }
        answer = admin.put("/groups/whole", definition, request_id="group-1")
        assert answer.status == 200
        told = {"group": "whole"} | definition
        assert answer.body == told | {"operationId": answer["operationId"], "requestId": "group-1"}
        assert told in admin.get("/groups")["groups"]

    def test_what_is_not_given_is_the_default(self, admin: Caller) -> None:
        admin.put("/groups/plain", {"currency": "USD", "maxOperation": 5, "leverage": 7})
        answer = admin.put("/groups/plain", {"currency": "USD"})
        assert {name: answer[name] for name in answer.body if name not in {"operationId", "requestId"}} == {
            "group": "plain",
            "currency": "USD",
            "digits": 2,
            "leverage": 100,
            "equityMode": "gross",
            "withdrawPolicy": "protect_credit",
            "refuseWhenStale": False,
            "marginCall": None,
            "stopOut": None,
            "maxOperation": None,
            "coverage": False,
            "permissions": {},
        }

    def test_are_listed_by_name(self, admin: Caller) -> None:
        names = [group["group"] for group in admin.get("/groups")["groups"]]
        assert names == sorted(names)
        assert {"standard", "vip", "yen"} <= set(names)

    @pytest.mark.parametrize(("currency", "digits"), [("XAU", 4), ("USDT", 6), ("BTC", 8), ("CLP", 0)])
    def test_digits_belong_to_the_currency_from_its_first_group_on(
        self, admin: Caller, currency: str, digits: int
    ) -> None:
        first = admin.put(f"/groups/first-{currency}", {"currency": currency, "digits": digits})
        assert first["digits"] == digits
        refused = admin.put(f"/groups/second-{currency}", {"currency": currency, "digits": 2})
        assert (refused.said, refused["field"]) == ((400, "digits_mismatch"), "digits")
        assert admin.put(f"/groups/second-{currency}", {"currency": currency})["digits"] == digits

    def test_a_group_keeps_its_currency(self, admin: Caller) -> None:
        refused = admin.put("/groups/standard", {"currency": "EUR"})
        assert (refused.said, refused["field"]) == ((400, "currency_mismatch"), "currency")

    @pytest.mark.parametrize(
        ("fields", "code", "field"),
        [
            ({"currency": "usd"}, "bad_currency", "currency"),
            ({"currency": "US"}, "bad_currency", "currency"),
            ({"currency": "1USD"}, "bad_currency", "currency"),
            ({"currency": 840}, "wrong_type", "currency"),
            ({"digits": 9}, "wrong_type", "digits"),
            ({"digits": -1}, "wrong_type", "digits"),
            ({"leverage": 0}, "wrong_type", "leverage"),
            ({"equityMode": "x"}, "wrong_type", "equityMode"),
            ({"withdrawPolicy": "x"}, "wrong_type", "withdrawPolicy"),
            ({"maxOperation": 0}, "amount_zero", "maxOperation"),
            ({"maxOperation": -1}, "amount_not_positive", "maxOperation"),
            ({"maxOperation": number("0.001")}, "too_many_decimals", "maxOperation"),
            ({"maxOperation": 1_000_000_001}, "amount_too_large", "maxOperation"),
            ({"marginCall": -5}, "amount_not_positive", "marginCall"),
            ({"stopOut": "x"}, "bad_amount", "stopOut"),
            ({"permissions": []}, "wrong_type", "permissions"),
            ({"max_operation": 1}, "unknown_field", "max_operation"),
        ],
    )
    def test_what_is_wrong_is_refused_by_name(
        self, admin: Caller, fields: dict[str, Any], code: str, field: str
    ) -> None:
        refused = admin.put("/groups/wrong", {"currency": "USD"} | fields)
        assert (refused.said, refused["field"]) == ((400, code), field)
        assert "wrong" not in {group["group"] for group in admin.get("/groups")["groups"]}

    @pytest.mark.parametrize("name", ["a%20b", "a,b", "a*", "!a", "x" * 65, "%09", "%00"])
    def test_a_name_that_no_mask_could_select_is_refused(self, admin: Caller, name: str) -> None:
        assert admin.put(f"/groups/{name}", {"currency": "USD"}).said == (400, "bad_group")

    def test_a_name_may_hold_what_brokers_write(self, admin: Caller) -> None:
        for name in ("demo\\STD-1", "Ähre", "a.b_c-d+e"):
            assert admin.put(f"/groups/{name}", {"currency": "USD"})["group"] == name


class TestTheServer:
    def test_a_new_ledger_has_utc_days_and_dollars(self, served_elsewhere: Caller) -> None:
        told = served_elsewhere.get("/server")
        assert told.status == 200
        assert told.body == {
            "timezone": "UTC",
            "dayEnd": "00:00",
            "overnightDays": "all",
            "bookCurrency": "USD",
            "simulated": False,
            "simulatedFrom": None,
            "ledger": "elsewhere",
            "now": told["now"],
            "serverDay": told["now"][:10],
            "tradingDay": told["now"][:10],
        }

    def test_it_is_told_as_it_was_set(self, served_elsewhere: Caller) -> None:
        clock = {
            "timezone": "America/New_York",
            "dayEnd": "17:00",
            "overnightDays": "mon-fri",
            "bookCurrency": "EUR",
        }
        answer = served_elsewhere.put("/server", clock, request_id=new_id())
        assert answer.status == 200
        assert answer["operationId"].startswith("op_")
        assert clock.items() <= answer.body.items()
        assert clock.items() <= served_elsewhere.get("/server").body.items()

    @pytest.mark.parametrize(
        ("fields", "code", "field"),
        [
            ({"timezone": "Mars/Base"}, "bad_timezone", "timezone"),
            ({"timezone": "+02:00"}, "bad_timezone", "timezone"),
            ({"timezone": "../UTC"}, "bad_timezone", "timezone"),
            ({"timezone": ""}, "bad_timezone", "timezone"),
            ({"timezone": None}, "wrong_type", "timezone"),
            ({"dayEnd": "24:00"}, "bad_day_end", "dayEnd"),
            ({"dayEnd": "5pm"}, "bad_day_end", "dayEnd"),
            ({"dayEnd": "17:00:00"}, "bad_day_end", "dayEnd"),
            ({"overnightDays": "mon-sat"}, "bad_overnight_days", "overnightDays"),
            ({"bookCurrency": "usd"}, "bad_currency", "bookCurrency"),
            ({"day_end": "17:00"}, "unknown_field", "day_end"),
        ],
    )
    def test_what_is_wrong_is_refused_by_name(
        self, admin: Caller, fields: dict[str, Any], code: str, field: str
    ) -> None:
        clock = {"timezone": "UTC", "dayEnd": "00:00", "overnightDays": "all", "bookCurrency": "USD"}
        refused = admin.put("/server", clock | fields)
        assert (refused.said, refused["field"]) == ((400, code), field)

    @pytest.mark.parametrize("missing", ["timezone", "dayEnd", "overnightDays", "bookCurrency"])
    def test_all_of_it_is_needed(self, admin: Caller, missing: str) -> None:
        clock = {"timezone": "UTC", "dayEnd": "00:00", "overnightDays": "all", "bookCurrency": "USD"}
        refused = admin.put("/server", {name: value for name, value in clock.items() if name != missing})
        assert (refused.said, refused["field"]) == ((400, "missing_field"), missing)
