"""The accounts list over HTTP: the published shape, its three ways to ask, and who may see what."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import count
from threading import Event
from time import monotonic
from typing import Any, ClassVar

import pytest

from projections.accounts import PERSONAL, STRUCTURE
from tests.api.served import BOUND_S, Answer, Caller, Served, new_id, number

PUBLISHED = (
    *("login", "enable", "enable_read_only", "enable_change_password", "leverage", "currency", "group"),
    *("email", "country", "phone", "comment", "address", "city", "zipcode", "name", "regdate", "prevbalance"),
    *("prevmonthbalance", "balance", "credit", "margin", "margin_free", "margin_level", "equity", "profit"),
    *("net_profit", "storage", "commission", "online", "magic", "customer_id"),
)
TOTALS = [
    *("total_balance", "total_credit", "total_profit", "total_net_profit", "total_storage"),
    *("total_commission", "total_margin", "total_margin_free", "total_equity", "total_prevbalance"),
    "total_prevmonthbalance",
]


class Desk:
    """A few accounts in four currencies, and the ways to list them."""

    def __init__(self, admin: Caller) -> None:
        self.admin = admin
        self.ann = admin.open("standard", balance="1500", credit="100")
        self.bea = admin.open("vip", balance="0.01", disabled=True)
        self.kim = admin.open("yen", balance="5000")
        self.kay = admin.open("dinar", balance="7.125")
        admin.send(
            "PATCH", f"/users/{self.ann}", {"name": "Ann", "email": "ann@example.org", "country": "CY"}
        )

    def page(self, caller: Caller | None = None, **asked: Any) -> Answer:
        """Ask by query parameters, arrays as JSON."""
        question = {"groupFilter": "*", "limit": 100, "offset": 0} | asked
        wire = {name: json.dumps(v) if isinstance(v, list) else v for name, v in question.items()}
        return (caller or self.admin).send("GET", "/accounts", query=wire)

    def logins(self, caller: Caller | None = None, **asked: Any) -> list[int]:
        """Ask which accounts match."""
        return [row[0] for row in self.page(caller, **asked)["rows"]]


@pytest.fixture(scope="module")
def desk(admin: Caller) -> Desk:
    return Desk(admin)


def row_of(answer: Answer) -> dict[str, Any]:
    [row] = answer["rows"]
    return dict(zip(answer["structure"], row, strict=True))


class TestTheAnswer:
    def test_names_the_columns_in_the_published_order(self, desk: Desk) -> None:
        assert tuple(desk.page()["structure"]) == PUBLISHED == STRUCTURE

    def test_has_every_published_field_and_ours(self, desk: Desk) -> None:
        ours = ["totals_currency", "totals_by_currency", "rates", "stale", "warnings", "position", "asOf"]
        assert list(desk.page().body) == ["structure", "rows", "count", *TOTALS, *ours]

    def test_writes_money_with_exactly_the_digits_of_the_accounts_currency(self, desk: Desk) -> None:
        balances = {row[5]: row[18] for row in desk.page()["rows"]}
        assert balances["JPY"] == 5000
        assert balances["KWD"] == number("7.125")
        assert row_of(desk.page(where=[["login", "=", desk.ann]]))["balance"] == number("1500.00")

    def test_is_one_row_as_the_account_alone_is_told(self, desk: Desk) -> None:
        row, alone = row_of(desk.page(where=[["login", "=", desk.ann]])), desk.admin.get(f"/users/{desk.ann}")
        assert row == {name: alone[name] for name in STRUCTURE}
        assert (row["equity"], row["margin_free"], row["margin_level"]) == (
            number("1600.00"),
            number("1600.00"),
            number("0.00"),
        )

    def test_adds_up_one_currency_exactly(self, desk: Desk) -> None:
        answer = desk.page(groupFilter="standard, vip", limit=0)
        assert (answer["totals_currency"], answer["count"], answer["rows"]) == ("USD", 2, [])
        assert answer["total_balance"] == answer["totals_by_currency"]["USD"]["balance"] == number("1500.01")
        assert answer["total_equity"] == number("1600.01")
        assert (answer["rates"], answer["warnings"], answer["stale"]) == ([], [], False)

    def test_never_adds_several_currencies_without_a_rate(self, desk: Desk) -> None:
        answer = desk.page()
        assert {answer[name] for name in TOTALS} == {None}
        assert set(answer["totals_by_currency"]) == {"USD", "JPY", "KWD"}
        assert sorted(answer["warnings"]) == [
            "rate_missing: there is no rate from JPY to USD",
            "rate_missing: there is no rate from KWD to USD",
        ]

    def test_tells_which_position_of_the_log_it_shows(self, served: Served, desk: Desk) -> None:
        assert desk.page()["position"] == served.last_position
        desk.admin.booked("deposit", login=desk.kim, amount=1)
        answer = desk.page(where=[["login", "=", desk.kim]])
        assert (answer["position"], answer["total_balance"]) == (served.last_position, 5001)
        desk.admin.booked("withdraw", login=desk.kim, amount=1)


class TestTheThreeWaysToAsk:
    ASKED: ClassVar[dict[str, Any]] = {
        "groupFilter": "*,!yen",
        "limit": 2,
        "offset": 1,
        "where": [["balance", ">=", 0]],
        "whereNot": [["country", "DE"]],
        "whereNotIn": [["magic", [7, 8]]],
        "orderBy": ["balance", "DESC"],
        "totalsCurrency": "USD",
    }

    def test_give_one_answer(self, desk: Desk) -> None:
        ways = [
            desk.page(**self.ASKED),
            desk.admin.send("GET", "/accounts", self.ASKED),
            desk.admin.post("/accounts/query", self.ASKED),
        ]
        assert [way.status for way in ways] == [200] * 3
        assert [row[0] for row in ways[0]["rows"]] == [desk.kay, desk.bea]
        for way in ways[1:]:
            assert way.body | {"asOf": None} == ways[0].body | {"asOf": None}

    def test_are_not_mixed(self, desk: Desk) -> None:
        answer = desk.admin.send("GET", "/accounts", self.ASKED, query={"limit": 1})
        assert (*answer.said, answer["field"]) == (400, "query_and_body", "body")
        answer = desk.admin.send("POST", "/accounts/query", self.ASKED, query={"limit": 1})
        assert (*answer.said, answer["field"]) == (400, "unknown_field", "limit")

    @pytest.mark.parametrize("name", ["groupFilter", "limit", "offset"])
    def test_need_a_mask_a_limit_and_an_offset(self, desk: Desk, name: str) -> None:
        asked = {n: value for n, value in self.ASKED.items() if n != name}
        for answer in (
            desk.admin.send("GET", "/accounts", asked),
            desk.admin.post("/accounts/query", asked),
            desk.admin.send("GET", "/accounts", query={n: json.dumps(v) for n, v in asked.items()}),
        ):
            assert (*answer.said, answer["field"]) == (400, "missing_field", name)

    @pytest.mark.parametrize("array", ["[[", "x", "", '[["name","=","\\ud800"]]'])
    def test_refuse_what_is_not_json_by_the_name_of_its_parameter(self, desk: Desk, array: str) -> None:
        answer = desk.page(where=array)
        assert answer.said == (400, "bad_json")
        assert answer["field"] in ("where", "name")

    @pytest.mark.parametrize("null", ["null", " null "])
    @pytest.mark.parametrize("name", ["where", "whereIn", "whereNotBetween", "orderBy"])
    def test_that_are_null_in_the_query_are_refused_lest_all_accounts_match(
        self, desk: Desk, name: str, null: str
    ) -> None:
        answer = desk.page(None, **{name: null})
        assert (answer.said, answer["field"]) == ((400, "wrong_type"), name)

    def test_name_the_bad_field_of_a_rule(self, desk: Desk) -> None:
        answer = desk.page(where=[["balance", ">", 1], ["balanse", ">", 1]])
        assert (*answer.said, answer["field"]) == (400, "unknown_field", "balanse")
        assert answer["detail"].startswith("where[1]: balanse")

    @pytest.mark.parametrize(
        ("asked", "code", "field"),
        [
            ({"where": [["balance", "<>", 1]]}, "bad_operator", "balance"),
            ({"where": [["name", ">", "A"]]}, "bad_operator", "name"),
            ({"whereBetween": [["balance", [2, 1]]]}, "bad_range", "balance"),
            ({"whereIn": [["login", []]]}, "empty_list", "login"),
            ({"whereNot": [["leverage", 1]] * 101}, "too_many_rules", "where"),
        ],
    )
    def test_refuse_what_no_rule_can_say_by_the_name_of_its_field(
        self, desk: Desk, asked: dict[str, Any], code: str, field: str
    ) -> None:
        answer = desk.page(**asked)
        assert (answer.said, answer["field"]) == ((400, code), field)


class TestWhoAsks:
    def test_a_key_sees_the_groups_of_its_mask_in_rows_count_and_totals(
        self, served: Served, desk: Desk
    ) -> None:
        caller = served.caller("dealer", "--groups", "vip, yen")
        answer = desk.page(caller)
        assert ([row[0] for row in answer["rows"]], answer["count"]) == ([desk.bea, desk.kim], 2)
        assert set(answer["totals_by_currency"]) == {"USD", "JPY"}
        assert desk.page(caller, groupFilter="standard")["count"] == 0

    def test_a_key_with_logins_sees_them_alone(self, served: Served, desk: Desk) -> None:
        caller = served.caller("user", "--logins", str(desk.kim))
        answer = desk.page(caller)
        assert ([row[0] for row in answer["rows"]], answer["count"]) == ([desk.kim], 1)
        assert answer["total_balance"] == 5000

    def test_personal_columns_are_blank_without_their_scope(self, served: Served, desk: Desk) -> None:
        dealer = served.caller("dealer")
        row = row_of(desk.page(dealer, where=[["login", "=", desk.ann]]))
        assert {row[name] for name in PERSONAL} == {""}
        assert row["country"] == "CY"
        assert row_of(desk.page(where=[["login", "=", desk.ann]]))["name"] == "Ann"

    def test_nobody_finds_out_by_filters_what_is_blank(self, served: Served, desk: Desk) -> None:
        dealer = served.caller("dealer")
        for asked in ({"where": [["name", "like", "A%"]]}, {"orderBy": ["name", "ASC"]}):
            answer = desk.page(dealer, **asked)
            assert (*answer.said, answer["field"]) == (401, "scope_missing", "name")
        assert desk.logins(dealer, where=[["country", "=", "CY"]]) == [desk.ann]

    def test_the_list_needs_its_scope(self, served: Served, desk: Desk) -> None:
        assert desk.page(served.caller("feed")).said == (401, "scope_missing")


@pytest.mark.parametrize("off", [0, False])
def test_flags_are_compared_as_numbers_or_as_truth(desk: Desk, off: object) -> None:
    assert desk.logins(where=[["enable", "=", off]]) == [desk.bea]


def test_a_deposit_is_in_the_totals_of_its_group_at_once(desk: Desk) -> None:
    before = desk.page(groupFilter="dinar", limit=0)["total_balance"]
    desk.admin.booked("deposit", login=desk.kay, amount=number("0.875"))
    assert (before, desk.page(groupFilter="dinar", limit=0)["total_balance"]) == (
        number("7.125"),
        number("8.000"),
    )


def test_rows_count_and_totals_are_of_one_moment_while_money_moves_and_accounts_are_opened(
    admin: Caller, desk: Desk
) -> None:
    seen_enough = Event()

    def trade() -> int:
        for opened in count(1):
            login = admin.open("small", balance="10")
            admin.batch(
                *({"op": "deposit", "requestId": new_id(), "login": login, "amount": 3} for _ in "abc")
            )
            if seen_enough.is_set() and opened >= 40:
                return opened
        raise AssertionError

    counts: set[int] = set()
    until = monotonic() + BOUND_S
    with ThreadPoolExecutor(1) as pool:
        trading = pool.submit(trade)
        try:
            while not trading.done():
                assert monotonic() < until, f"the list has shown only {counts}"
                answer = desk.page(groupFilter="small", limit=10_000)
                balances = [Decimal(row[PUBLISHED.index("balance")]) for row in answer["rows"]]
                assert (answer["count"], Decimal(answer["total_balance"])) == (len(balances), sum(balances))
                counts.add(len(balances))
                if len(counts) > 5:
                    seen_enough.set()
        finally:
            seen_enough.set()
    assert desk.page(groupFilter="small", limit=0)["total_balance"] == number(f"{19 * trading.result()}.00")


def test_totals_converted_by_an_old_rate_warn_of_it(desk: Desk) -> None:
    listed = {"digits": 5, "contractSize": 1, "baseCurrency": "EUR", "profitCurrency": "USD"}
    assert desk.admin.put("/symbols/EURUSD", listed).status == 200
    desk.admin.open("euro", balance="100")
    asked: dict[str, Any] = {"groupFilter": "euro", "totalsCurrency": "USD", "where": [["balance", ">", 0]]}
    old = 1_700_000_000_000
    desk.admin.post("/feed/quotes", {"quotes": [["EURUSD", 2, 2, old]]})
    answer = desk.page(**asked)
    assert answer["total_balance"] == number("200.00")
    assert answer["warnings"] == ["rate_old: the rate from EUR to USD is more than a minute old"]
    desk.admin.post("/feed/quotes", {"quotes": [["EURUSD", 3, 3]]})
    fresh = desk.page(**asked)
    assert (fresh["total_balance"], fresh["warnings"]) == (number("300.00"), [])
