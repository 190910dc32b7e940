"""The accountant's history over HTTP: filters, pages, totals, both time bases, CSV, past balances."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from tests.api.served import Caller, Served, new_id, number

Row = dict[str, Any]
Matches = Callable[[Row], bool]

NOTES: list[dict[str, Any]] = [
    {"comment": "plain", "method": "card", "metadata": {"a": "=1+1"}},
    {"comment": "=SUM(A1:A9)"},
    {"comment": "+49 30 1234", "reference": "@ref"},
    {"comment": "-1", "method": "-wire"},
    {"comment": 'a "quoted", comma'},
    {"comment": "two\nlines"},
    {"comment": "\ttab"},
]


class Seeded:
    """Some weeks of bookings for three accounts, and all their rows, oldest first."""

    def __init__(self, admin: Caller) -> None:
        self.admin = admin
        self.ann, self.bea, self.kim = admin.open("standard"), admin.open("vip"), admin.open("yen")
        for number_, note in enumerate(NOTES):
            earlier = datetime.now(UTC) - timedelta(days=40 - 5 * number_)
            effective = {"effectiveAt": earlier.isoformat()} if number_ % 2 else {}
            self.book("deposit", login=self.ann, amount=number_ + 10, **effective, **note)
        self.book("deposit", login=self.bea, amount=number("0.50"))
        self.book("deposit", login=self.kim, amount=500)
        self.book("transfer", from_=self.ann, to=self.bea, amount=7)
        self.book("withdraw", login=self.ann, amount=number("3.25"), reference="same")
        self.book("credit", login=self.ann, amount=50)
        self.book("credit", login=self.ann, amount=-20)
        wrong = self.book("deposit", login=self.bea, amount=99, reference="same", method="card")
        self.book(f"operations/{wrong['operationId']}/reverse", reason="wrong client")
        self.book("correction", login=self.ann, balance=-5, corrects=wrong["operationId"], reason="=cmd()")
        self.book("adjust", login=self.ann, kind="charge", amount=-1, effectiveAt="2026-01-05T10:00:00Z")
        self.book("adjust", login=self.ann, kind="bonus-conversion", amount=10)
        admin.post(f"/users/{self.bea}/disable")
        self.book("deposit", login=self.bea, amount=1)
        admin.send("PATCH", f"/users/{self.ann}", {"group": "vip"})
        self.book("deposit", login=self.ann, amount=2)
        self.rows = admin.history()

    def book(self, route: str, **body: Any) -> Any:
        """Book under an operator."""
        fields = {name.rstrip("_"): value for name, value in body.items()}
        operator = {"x-operator-id": "Bea" if "credit" in route else "Ann"}
        answer = self.admin.send("POST", f"/balances/{route}", fields, request_id=new_id(), headers=operator)
        assert answer.status == 201, answer.text
        return answer

    def matching(self, matches: Matches) -> list[int]:
        """Give the positions of the rows that match."""
        return [row["position"] for row in self.rows if matches(row)]


@pytest.fixture(scope="module")
def seeded(admin: Caller) -> Seeded:
    return Seeded(admin)


def positions(rows: list[Row]) -> list[int]:
    return [row["position"] for row in rows]


def change(row: Row) -> Decimal:
    return max(abs(Decimal(str(row["balanceChange"]))), abs(Decimal(str(row["creditChange"]))))


def total(rows: list[Row], name: str) -> Decimal:
    return sum((Decimal(str(row[name])) for row in rows), Decimal(0))


class TestARow:
    def test_tells_everything_that_the_answer_told_and_what_was_before(
        self, admin: Caller, served: Served
    ) -> None:
        login = admin.open(balance="100", credit="5")
        booked = admin.booked(
            "withdraw", login=login, amount=30, comment="c", method="m", reference="r", metadata={"x": 1}
        )
        row = admin.history(login=login)[-1]
        assert row == booked.body | {
            "group": "standard",
            "tradingDay": booked["serverDay"],
            "warnings": [],
            "balanceBefore": number("100.00"),
            "balanceAfter": number("70.00"),
            "creditBefore": number("5.00"),
            "creditAfter": number("5.00"),
            "comment": "c",
            "method": "m",
            "operatorId": None,
            "keyId": admin.key_id,
            "corrects": None,
            "reversedBy": None,
            "peer": None,
            "metadata": {"x": 1},
        }

    def test_keeps_the_group_of_its_booking(self, seeded: Seeded) -> None:
        groups = [row["group"] for row in seeded.rows if row["login"] == seeded.ann]
        assert groups == ["standard"] * (len(groups) - 1) + ["vip"]

    def test_before_and_after_follow_each_other_without_a_gap(self, seeded: Seeded) -> None:
        for login in (seeded.ann, seeded.bea, seeded.kim):
            rows = [row for row in seeded.rows if row["login"] == login]
            for earlier, later in pairwise(rows):
                assert earlier["balanceAfter"] == later["balanceBefore"]
                assert earlier["creditAfter"] == later["creditBefore"]
            assert (rows[-1]["balanceAfter"], rows[-1]["creditAfter"]) == seeded.admin.held(login)

    def test_of_money_in_yen_has_no_decimals(self, seeded: Seeded) -> None:
        [row] = [row for row in seeded.rows if row["login"] == seeded.kim]
        assert (row["amount"], row["balanceAfter"], row["creditBefore"]) == (500, 500, 0)


class TestFilters:
    @pytest.mark.parametrize(
        ("query", "matches"),
        [
            ({"login": "ann"}, lambda row, seeded: row["login"] == seeded.ann),
            ({"groupFilter": "vip"}, lambda row, _: row["group"] == "vip"),
            ({"groupFilter": "*,!vip"}, lambda row, _: row["group"] != "vip"),
            ({"groupFilter": " st*rd , yen"}, lambda row, _: row["group"] in {"standard", "yen"}),
            ({"groupFilter": "!vip"}, lambda *_: False),
            ({"groupFilter": ""}, lambda *_: False),
            ({"kind": "deposit"}, lambda row, _: row["kind"] == "deposit"),
            ({"kind": "credit, charge"}, lambda row, _: row["kind"] in {"credit", "charge"}),
            ({"kind": "trade"}, lambda *_: False),
            ({"reference": "same"}, lambda row, _: row["reference"] == "same"),
            ({"reference": "@ref"}, lambda row, _: row["reference"] == "@ref"),
            ({"reference": "sam%"}, lambda *_: False),
            ({"operatorId": "Bea"}, lambda row, _: row["operatorId"] == "Bea"),
            ({"requestId": "never"}, lambda *_: False),
            ({"minAmount": "10"}, lambda row, _: change(row) >= 10),
            ({"maxAmount": "3.25"}, lambda row, _: change(row) <= Decimal("3.25")),
            ({"minAmount": "3.25", "maxAmount": "20"}, lambda row, _: Decimal("3.25") <= change(row) <= 20),
            ({"minAmount": "3.251", "maxAmount": "3.259"}, lambda *_: False),
            ({"fromDay": "1999-01-01"}, lambda *_: True),
            ({"toDay": "1999-01-01"}, lambda *_: False),
            (
                {"fromDay": "today", "toDay": "today"},
                lambda row, seeded: row["serverDay"] == seeded.rows[-1]["serverDay"],
            ),
            ({"fromDay": "2199-01-01"}, lambda *_: False),
            (
                {"login": "ann", "kind": "deposit", "minAmount": "12"},
                lambda row, seeded: (
                    row["login"] == seeded.ann and row["kind"] == "deposit" and change(row) >= 12
                ),
            ),
        ],
    )
    def test_match_what_they_say(self, seeded: Seeded, query: dict[str, Any], matches: Any) -> None:
        today = str(seeded.rows[-1]["serverDay"])
        asked = {name: {"ann": seeded.ann, "today": today}.get(value, value) for name, value in query.items()}
        wanted = seeded.matching(lambda row: matches(row, seeded))
        for basis in ("recorded", "effective"):
            if basis == "effective" and any(name.endswith("Day") for name in asked):
                continue
            found = seeded.admin.history(basis=basis, **asked)
            assert sorted(positions(found)) == wanted
        page = seeded.admin.get("/balances/history", totals="true", limit=1, **asked)
        assert page["count"] == len(wanted)

    def test_by_request_gives_the_legs_of_that_request(self, seeded: Seeded) -> None:
        [first, *_] = [row for row in seeded.rows if row["kind"] == "transfer"]
        found = seeded.admin.history(requestId=first["requestId"])
        assert [row["login"] for row in found] == [seeded.ann, seeded.bea]

    def test_from_is_inclusive_and_to_is_not(self, seeded: Seeded) -> None:
        instant = seeded.rows[5]["recordedAt"]
        at = seeded.matching(lambda row: row["recordedAt"] == instant)
        before = seeded.matching(lambda row: row["recordedAt"] < instant)
        after = seeded.matching(lambda row: row["recordedAt"] > instant)
        assert positions(seeded.admin.history(from_=instant)) == at + after
        assert positions(seeded.admin.history(to=instant)) == before
        assert seeded.admin.history(from_=instant, to=instant) == []

    def test_an_instant_may_be_written_in_any_zone(self, seeded: Seeded) -> None:
        instant = datetime.fromisoformat(seeded.rows[5]["recordedAt"])
        athens = instant.astimezone(datetime.strptime("+0300", "%z").tzinfo).isoformat()
        assert seeded.admin.history(from_=athens) == seeded.admin.history(from_=seeded.rows[5]["recordedAt"])

    @pytest.mark.parametrize(
        ("query", "code", "field"),
        [
            ("nonsense=1", "unknown_field", "nonsense"),
            ("Login=1001", "unknown_field", "Login"),
            ("login=1001&login=1002", "repeated_field", "login"),
            ("kind=deposit&kind=deposit", "repeated_field", "kind"),
            ("login=x", "wrong_type", "login"),
            ("login=0", "wrong_type", "login"),
            ("login=", "wrong_type", "login"),
            ("login=424242", "unknown_login", "login"),
            ("kind=bonus", "bad_kind", "kind"),
            ("kind=", "bad_kind", "kind"),
            ("kind=deposit,,credit", "bad_kind", "kind"),
            ("from=2026-01-05", "wrong_type", "from"),
            ("from=2026-01-05T10:00:00", "wrong_type", "from"),
            ("to=yesterday", "wrong_type", "to"),
            ("from=0001-01-01T00:00:00Z", "bad_date", "from"),
            ("fromDay=2026-02-30", "wrong_type", "fromDay"),
            ("fromDay=2026-01-05T10:00:00Z", "wrong_type", "fromDay"),
            ("toDay=0001-01-01", "bad_date", "toDay"),
            ("minAmount=1e2", "bad_amount", "minAmount"),
            ("minAmount=-1", "amount_not_positive", "minAmount"),
            ("maxAmount=x", "bad_amount", "maxAmount"),
            ("maxAmount=99999999999", "amount_too_large", "maxAmount"),
            ("basis=booked", "wrong_type", "basis"),
            ("order=up", "wrong_type", "order"),
            ("limit=0", "wrong_type", "limit"),
            ("limit=10001", "wrong_type", "limit"),
            ("limit=ten", "wrong_type", "limit"),
            ("offset=-1", "wrong_type", "offset"),
            ("cursor=abc", "bad_cursor", "cursor"),
            ("cursor=", "bad_cursor", "cursor"),
            ("cursor=abc&offset=1", "cursor_and_offset", "offset"),
            ("totals=maybe", "wrong_type", "totals"),
            ("format=xml", "wrong_type", "format"),
            ("requestId=%00", "bad_text", "requestId"),
            (f"groupFilter={'x' * 4097}", "bad_mask", "groupFilter"),
            ("reference=%ff", "bad_query", None),
            ("&".join(f"x{n}=1" for n in range(101)), "bad_query", None),
        ],
    )
    def test_what_cannot_be_asked_is_refused_by_name(
        self, admin: Caller, query: str, code: str, field: str | None
    ) -> None:
        refused = admin.send("GET", f"/balances/history?{query}")
        assert (refused.said, refused.body.get("field")) == ((400, code), field)


class TestPages:
    @pytest.mark.parametrize("basis", ["recorded", "effective"])
    @pytest.mark.parametrize("order", ["asc", "desc"])
    @pytest.mark.parametrize("limit", [1, 4, 7])
    def test_a_walk_by_cursor_meets_the_rows_that_a_walk_by_offset_meets(
        self, seeded: Seeded, basis: str, order: str, limit: int
    ) -> None:
        query = {"basis": basis, "order": order, "groupFilter": "standard,vip"}
        whole = seeded.admin.history(**query)
        by_cursor, cursor = [], None
        while True:
            page = seeded.admin.get(
                "/balances/history", limit=limit, **query, **({"cursor": cursor} if cursor else {})
            )
            by_cursor += page["rows"]
            cursor = page["next"]
            if cursor is None:
                break
            assert len(page["rows"]) == limit
        by_offset: list[Row] = []
        while rows := seeded.admin.history(limit=limit, offset=len(by_offset), **query):
            by_offset += rows
        assert by_cursor == by_offset == whole

    def test_newest_first_and_a_hundred_unless_asked_otherwise(self, seeded: Seeded) -> None:
        login = seeded.admin.open()
        items = [{"op": "deposit", "requestId": new_id(), "login": login, "amount": 1} for _ in range(101)]
        seeded.admin.batch(*items)
        page = seeded.admin.get("/balances/history", login=login)
        assert len(page["rows"]) == 100
        assert positions(page["rows"]) == sorted(positions(page["rows"]), reverse=True)
        rest = seeded.admin.get("/balances/history", login=login, cursor=page["next"])
        assert (len(rest["rows"]), rest["next"]) == (1, None)

    def test_an_offset_beyond_the_end_is_an_empty_page(self, seeded: Seeded) -> None:
        page = seeded.admin.get("/balances/history", offset=10**9)
        assert (page["rows"], page["next"]) == ([], None)

    @pytest.mark.parametrize(
        "other", [{"order": "asc"}, {"basis": "effective"}, {"kind": "deposit"}, {"groupFilter": "vip"}]
    )
    def test_a_cursor_answers_only_the_question_that_it_came_from(
        self, seeded: Seeded, other: dict[str, str]
    ) -> None:
        cursor = seeded.admin.get("/balances/history", limit=2)["next"]
        refused = seeded.admin.get("/balances/history", limit=2, cursor=cursor, **other)
        assert refused.said == (400, "bad_cursor")
        assert seeded.admin.get("/balances/history", limit=5, cursor=cursor).status == 200

    def test_a_cursor_can_stand_in_an_address_as_it_is(self, seeded: Seeded) -> None:
        cursor = seeded.admin.get("/balances/history", limit=2)["next"]
        assert seeded.admin.send("GET", f"/balances/history?limit=2&cursor={cursor}").status == 200


class TestSums:
    def test_totals_are_by_currency_and_kind_over_all_matched_rows(self, seeded: Seeded) -> None:
        rows = seeded.admin.history()
        page = seeded.admin.get("/balances/history", totals="true", limit=1)
        assert page["count"] == len(rows)
        found = {}
        for currency in {row["currency"] for row in rows}:
            for kind in {row["kind"] for row in rows if row["currency"] == currency}:
                of_kind = [row for row in rows if (row["currency"], row["kind"]) == (currency, kind)]
                found[currency, kind] = (
                    len(of_kind),
                    total(of_kind, "balanceChange"),
                    total(of_kind, "creditChange"),
                )
        told = {
            (currency, kind): (
                sums["count"],
                Decimal(str(sums["balanceChange"])),
                Decimal(str(sums["creditChange"])),
            )
            for currency, kinds in page["totals"].items()
            for kind, sums in kinds.items()
        }
        assert told == found

    def test_totals_are_told_only_when_asked_for(self, seeded: Seeded) -> None:
        page = seeded.admin.get("/balances/history", limit=1)
        assert not page.body.keys() & {"count", "totals"}

    @pytest.mark.parametrize("basis", ["recorded", "effective"])
    @pytest.mark.parametrize(("start", "end"), [(0, 3), (3, 9), (2, None), (None, 5)])
    def test_opening_and_movements_make_closing(
        self, seeded: Seeded, basis: str, start: int | None, end: int | None
    ) -> None:
        at = "recordedAt" if basis == "recorded" else "effectiveAt"
        own = seeded.admin.history(login=seeded.ann, basis=basis)
        query: dict[str, Any] = {"basis": basis, "login": seeded.ann, "order": "asc"}
        if start is not None:
            query["from"] = own[start][at]
        if end is not None:
            query["to"] = own[end][at]
        page = seeded.admin.get("/balances/history", **query)
        assert page["rows"]
        for held, moved in (("balance", "balanceChange"), ("credit", "creditChange")):
            opening, closing = (Decimal(str(page[side][held])) for side in ("opening", "closing"))
            assert opening + total(page["rows"], moved) == closing
        assert page["opening"]["balance"] == page["rows"][0]["balanceBefore"]
        assert page["closing"]["balance"] == page["rows"][-1]["balanceAfter"]

    def test_opening_and_closing_of_a_time_without_movements_are_equal(self, seeded: Seeded) -> None:
        page = seeded.admin.get("/balances/history", login=seeded.ann, toDay="2001-01-01")
        assert page["opening"] == page["closing"]
        assert page["opening"]["balance"] == number("0.00")

    @pytest.mark.parametrize(
        "query",
        [
            {},
            {"login": "ann"},
            {"from": "2026-01-01T00:00:00Z"},
            {"login": "ann", "fromDay": "2026-01-01", "kind": "deposit"},
            {"login": "ann", "fromDay": "2026-01-01", "minAmount": "1"},
        ],
    )
    def test_opening_and_closing_need_one_login_and_nothing_but_time(
        self, seeded: Seeded, query: dict[str, Any]
    ) -> None:
        asked = {name: seeded.ann if value == "ann" else value for name, value in query.items()}
        page = seeded.admin.get("/balances/history", **asked)
        assert (page["opening"], page["closing"]) == (None, None)


class TestTheEffectiveBasis:
    def test_orders_and_restates_by_when_it_happened(self, seeded: Seeded) -> None:
        rows = seeded.admin.history(login=seeded.ann, basis="effective")
        keys = [(datetime.fromisoformat(row["effectiveAt"]), row["position"]) for row in rows]
        assert keys == sorted(keys)
        assert positions(rows) != sorted(positions(rows))
        assert rows[0]["balanceBefore"] == number("0.00")
        for earlier, later in pairwise(rows):
            assert earlier["balanceAfter"] == later["balanceBefore"]
        assert rows[-1]["balanceAfter"] == seeded.admin.held(seeded.ann)[0]

    def test_what_the_booking_said_stays_beside_it(self, seeded: Seeded) -> None:
        booked = {row["position"]: row for row in seeded.admin.history(login=seeded.ann)}
        for row in seeded.admin.history(login=seeded.ann, basis="effective"):
            assert row["newBalance"] == booked[row["position"]]["newBalance"]

    def test_days_are_those_on_which_it_happened(self, seeded: Seeded) -> None:
        query = {"login": seeded.ann, "fromDay": "2026-01-05", "toDay": "2026-01-05"}
        [charge] = seeded.admin.history(basis="effective", **query)
        assert charge["kind"] == "charge"
        assert seeded.admin.history(basis="recorded", **query) == []


class TestAsOf:
    @pytest.mark.parametrize(("basis", "at"), [("recorded", "recordedAt"), ("effective", "effectiveAt")])
    def test_tells_what_the_account_held_after_each_row(self, seeded: Seeded, basis: str, at: str) -> None:
        rows = seeded.admin.history(login=seeded.ann, basis=basis)
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            if following is not None and following[at] == row[at]:
                continue
            held = seeded.admin.get("/balances/asof", login=seeded.ann, at=row[at], basis=basis)
            assert (held["balance"], held["credit"]) == (row["balanceAfter"], row["creditAfter"])
            assert held["position"] == max(positions(rows[: rows.index(row) + 1]))

    def test_before_the_first_row_it_was_nothing(self, seeded: Seeded) -> None:
        held = seeded.admin.get("/balances/asof", login=seeded.ann, at="2001-01-01T00:00:00Z")
        assert held.body == {
            "login": seeded.ann,
            "currency": "USD",
            "balance": number("0.00"),
            "credit": number("0.00"),
            "position": None,
            "at": "2001-01-01T00:00:00Z",
        }

    def test_is_recorded_unless_asked_otherwise(self, seeded: Seeded) -> None:
        query = {"login": seeded.ann, "at": "2026-01-05T10:00:00Z"}
        assert seeded.admin.get("/balances/asof", **query)["balance"] == number("0.00")
        assert seeded.admin.get("/balances/asof", basis="effective", **query)["balance"] == number("-1.00")

    @pytest.mark.parametrize(
        ("query", "code", "field"),
        [
            ("at=2026-01-05T10:00:00Z", "missing_field", "login"),
            ("login=1001", "missing_field", "at"),
            ("login=1001&at=2026-01-05", "wrong_type", "at"),
            ("login=1001&at=2026-01-05T10:00:00Z&basis=x", "wrong_type", "basis"),
            ("login=1001&at=2026-01-05T10:00:00Z&x=1", "unknown_field", "x"),
            ("login=1001&at=2026-01-05T10:00:00Z&at=2026-01-05T10:00:00Z", "repeated_field", "at"),
            ("login=424242&at=2026-01-05T10:00:00Z", "unknown_login", "login"),
        ],
    )
    def test_what_cannot_be_asked_is_refused_by_name(
        self, admin: Caller, query: str, code: str, field: str
    ) -> None:
        refused = admin.send("GET", f"/balances/asof?{query}")
        assert (refused.said, refused["field"]) == ((400, code), field)

    @pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
    def test_an_instant_outside_of_any_books_is_refused(self, seeded: Seeded, at: str) -> None:
        refused = seeded.admin.get("/balances/asof", login=seeded.ann, at=at)
        assert (refused.said, refused["field"]) == ((400, "bad_date"), "at")


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def cell(value: object) -> str:
    """Write a value of a JSON row as its CSV cell."""
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, str) and not isinstance(value, type(number("0.0"))):
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value
    return str(value)


class TestCsv:
    @pytest.mark.parametrize(
        "query",
        [
            {},
            {"login": "ann"},
            {"groupFilter": "vip", "kind": "deposit"},
            {"basis": "effective"},
            {"order": "desc"},
            {"limit": 3, "offset": 2},
            {"login": "ann", "basis": "effective", "order": "desc"},
        ],
    )
    def test_has_the_same_rows_as_json(self, seeded: Seeded, query: dict[str, Any]) -> None:
        asked = {"order": "asc"} | {
            name: seeded.ann if value == "ann" else value for name, value in query.items()
        }
        rows = seeded.admin.history(**asked)
        answer = seeded.admin.get("/balances/history", format="csv", **asked)
        lines = table(answer.text)
        assert list(lines[0]) == list(rows[0])
        for line, row in zip(lines, rows, strict=True):
            metadata = line.pop("metadata")
            assert (json.loads(metadata, parse_float=type(number("0.0"))) if metadata else None) == row.pop(
                "metadata"
            )
            assert line == {name: cell(value) for name, value in row.items()}

    def test_is_answered_by_accept_or_by_format(self, seeded: Seeded) -> None:
        accepted = seeded.admin.send("GET", "/balances/history", headers={"accept": "text/csv"})
        asked = seeded.admin.get("/balances/history", format="csv")
        assert accepted.text == asked.text
        assert accepted.headers["content-type"].startswith("text/csv")
        assert accepted.headers["x-request-id"]

    def test_of_two_accepts_the_last_counts(self, seeded: Seeded) -> None:
        served, key = seeded.admin.served, seeded.admin.key
        for wanted in (("text/csv", "application/json"), ("application/json", "text/csv")):
            headers = [("authorization", f"Bearer {key}"), *(("accept", form) for form in wanted)]
            answer = served.http.get(f"{served.url}/balances/history", headers=headers)
            assert answer.headers["content-type"].partition(";")[0] == wanted[-1]

    def test_text_that_a_spreadsheet_would_run_is_quoted_and_numbers_are_not(self, seeded: Seeded) -> None:
        lines = table(seeded.admin.get("/balances/history", format="csv").text)
        comments = {line["comment"] for line in lines}
        assert {"'=SUM(A1:A9)", "'+49 30 1234", "'-1", "'\ttab", "'=cmd()"} <= comments
        assert "'@ref" in {line["reference"] for line in lines}
        assert "'-wire" in {line["method"] for line in lines}
        assert "-3.25" in {line["balanceChange"] for line in lines}
        runs = ("=", "+", "@", "\t", "\r")
        assert not [line for line in lines for value in line.values() if value.startswith(runs)]

    def test_all_rows_come_without_a_limit(self, seeded: Seeded) -> None:
        login = seeded.admin.open()
        items = [{"op": "deposit", "requestId": new_id(), "login": login, "amount": 1} for _ in range(6_000)]
        seeded.admin.batch(*items)
        lines = table(seeded.admin.get("/balances/history", format="csv", login=login).text)
        assert len(lines) == 6_000
        assert lines[0]["newBalance"] == "6000.00"

    def test_what_cannot_be_asked_is_refused_before_any_line(self, admin: Caller) -> None:
        assert admin.get("/balances/history", format="csv", login=424242).said == (400, "unknown_login")
        assert admin.get("/balances/history", format="csv", cursor="x").said == (400, "bad_cursor")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"from": "2026-11-21T00:00:00Z", "to": "2026-11-20T00:00:00Z"}, "bad_date"),
        ({"fromDay": "2026-11-21", "toDay": "2026-11-20"}, "bad_date"),
        ({"minAmount": "10.5", "maxAmount": "10"}, "bad_amount"),
    ],
)
def test_a_range_that_ends_before_it_begins_is_refused(
    admin: Caller, query: dict[str, str], said: str
) -> None:
    assert admin.get("/balances/history", **query).said == (400, said)
