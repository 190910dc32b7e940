"""The trading server's feed over HTTP: what it may say, what it is answered, what accounts then show."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from api.deals import check_decided
from ledger.refusals import Fault, ManagerOffline, ValidationError
from tests.api.served import Caller, Served, number
from tests.service import within

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.api.served import Answer

_tickets = count(1)
SYMBOLS = {
    "EURUSD": {"digits": 5, "contractSize": 100000, "baseCurrency": "EUR", "profitCurrency": "USD"},
    "USDJPY": {"digits": 3, "contractSize": 100000, "baseCurrency": "USD", "profitCurrency": "JPY"},
    "GOLD": {"digits": 2, "contractSize": 100, "baseCurrency": "USD", "profitCurrency": "USD"},
}


@pytest.fixture(scope="module")
def server(admin: Caller, served: Served) -> Caller:
    """Give the trading server, which has a feed key, in a ledger with symbols and quotes."""
    for symbol, definition in SYMBOLS.items():
        assert admin.put(f"/symbols/{symbol}", definition).status == 200
    assert admin.put("/groups/net", {"currency": "USD", "equityMode": "net"}).status == 200
    caller = served.caller("feed")
    told = caller.post("/feed/quotes", {"quotes": [["EURUSD", number("1.10500"), "1.10520"]]})
    assert told.body == {"accepted": 1, "ignored": 0, "errors": []}
    return caller


def position(login: int, symbol: str = "EURUSD", **rest: Any) -> dict[str, Any]:
    """Write an open position: one lot bought at 1.1."""
    told = {"ticket": next(_tickets), "login": login, "symbol": symbol, "side": "buy", "lots": 1}
    return told | {"openPrice": number("1.1")} | rest


def place(server: Caller, *positions: dict[str, Any], **rest: Any) -> Answer:
    """Tell positions that must be right."""
    answer = server.post("/feed/positions", {"kind": "delta", "positions": positions} | rest)
    assert (answer.status, answer.body.get("errors")) == (200, []), answer.text
    return answer


# What is told.


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("deals", b'{"deals":[{"dealId":"\xff","login":1,"profit":1}]}'),
        ("deals", b'{"deals":[{"\xff":1}]}'),
        ("positions", b'{"kind":"delta","positions":[{"\xff":1}]}'),
        ("quotes", b'{"quotes":[["\xff",1,1]]}'),
    ],
)
def test_an_item_that_is_no_utf8_is_refused_alone(server: Caller, route: str, body: bytes) -> None:
    told = server.send("POST", f"/feed/{route}", body)
    assert told.status == 200
    assert [(error["index"], error["code"]) for error in told["errors"]] == [(0, "body_malformed")]


# What accounts show.


def test_an_account_shows_what_its_open_positions_are_worth(admin: Caller, server: Caller) -> None:
    login = admin.open(balance="2000", credit="300.50")
    money: dict[str, Any] = {"storage": number("-2.5"), "commission": number("-7")}
    place(server, position(login, lots=number("0.5"), **money))
    told = admin.get(f"/users/{login}")
    assert {name: told[name] for name in FIGURES} == {
        "profit": number("250.00"),
        "net_profit": number("240.50"),
        "storage": number("-2.50"),
        "commission": number("-7.00"),
        "equity": number("2550.50"),
        "margin": number("552.55"),
        "margin_free": number("1997.95"),
        "margin_level": number("461.59"),
        "withdrawable": number("1697.45"),
        "stale": False,
    }


FIGURES = (
    *("profit", "net_profit", "storage", "commission", "equity", "margin", "margin_free", "margin_level"),
    *("withdrawable", "stale"),
)


def test_equity_goes_by_the_net_profit_where_the_group_says_so(admin: Caller, server: Caller) -> None:
    login = admin.open("net", balance="1000")
    place(server, position(login, storage=-5, profit=100, margin=0))
    told = admin.get(f"/users/{login}")
    assert (told["equity"], told["withdrawable"]) == (number("1095.00"), number("1000.00"))


def test_money_is_only_withdrawable_as_far_as_open_positions_leave_it(admin: Caller, server: Caller) -> None:
    login = admin.open(balance="1000")
    place(server, position(login, profit=-300, margin=200))
    refused = admin.book("withdraw", login=login, amount=501)
    assert (refused.said, refused["available"]) == ((400, "not_enough_money"), number("500.00"))
    admin.booked("withdraw", login=login, amount=500)


def test_figures_are_stale_where_a_quote_is_missing(admin: Caller, server: Caller) -> None:
    login = admin.open(balance="1000")
    place(server, position(login, "GOLD", openPrice=2000))
    told = admin.get(f"/users/{login}")
    assert (told["stale"], told["profit"], told["margin"]) == (True, number("0.00"), number("1.00"))
    assert told["warnings"] == ["figures_stale: no quote of GOLD"]


def test_an_answer_of_long_ago_tells_no_open_positions_and_says_so(admin: Caller, server: Caller) -> None:
    login = admin.open()
    place(server, position(login, profit=5))
    first = admin.send("PATCH", f"/users/{login}", {"name": "Ann"}, request_id="long-ago")
    assert (first["profit"], first["stale"]) == (number("5.00"), False)
    admin.booked("deposit", login=login, amount=1)
    again = admin.send("PATCH", f"/users/{login}", {"name": "Ann"}, request_id="long-ago")
    shown = {name: again["operation"][name] for name in ("profit", "equity", "stale")}
    assert shown == {"profit": number("0.00"), "equity": number("0.00"), "stale": True}


def test_the_answer_to_an_opening_stays_what_it_was(admin: Caller, server: Caller) -> None:
    first = admin.post("/users", {"group": "standard"}, request_id="opened-once")
    place(server, position(first["login"], profit=5))
    admin.booked("deposit", login=first["login"], amount=1)
    again = admin.post("/users", {"group": "standard"}, request_id="opened-once")
    assert (again.status, again["operation"]) == (409, first.body)


def test_who_is_online_is_shown(admin: Caller, server: Caller) -> None:
    here, away = admin.open(), admin.open()
    told = server.post("/feed/online", {"logins": [here, 999_999]})
    assert (told["accepted"], told["ignored"]) == (1, 0)
    assert [(error["index"], error["code"], error["login"]) for error in told["errors"]] == [
        (1, "unknown_login", 999_999)
    ]
    assert [admin.get(f"/users/{login}")["online"] for login in (here, away)] == [1, 0]


def test_a_change_of_leverage_reaches_the_figures_without_any_call(admin: Caller, server: Caller) -> None:
    login = admin.open()
    place(server, position(login))
    assert admin.get(f"/users/{login}")["margin"] == number("1105.10")
    admin.send("PATCH", f"/users/{login}", {"leverage": 50})
    within(30, lambda: admin.get(f"/users/{login}")["margin"] == number("2210.20"))


# Calls.


def test_a_wrong_item_is_refused_by_name_and_the_others_go_through(admin: Caller, server: Caller) -> None:
    login = admin.open()
    told = server.post(
        "/feed/positions",
        {
            "kind": "delta",
            "positions": [
                position(login),
                position(999_999),
                position(login, "SILVER"),
                position(login, lots=0),
                position(login, lots=number("1.5e1")),
                position(login, storage=number("0.001")),
                position(login, side="hold"),
                position(login, note="?"),
                position(login, openPrice=None),
                position(login, openTime="2026-11-18T10:00:00Z"),
            ],
        },
    )
    assert (told["accepted"], told["ignored"]) == (2, 0)
    refused = [(error["index"], error["code"], error.get("field")) for error in told["errors"]]
    assert refused == [
        (1, "unknown_login", "login"),
        (2, "unknown_symbol", "symbol"),
        (3, "amount_zero", "lots"),
        (4, "bad_amount", "lots"),
        (5, "too_many_decimals", "storage"),
        (6, "wrong_type", "side"),
        (7, "unknown_field", "note"),
        (8, "bad_price", "openPrice"),
    ]


@pytest.mark.parametrize(
    ("quote", "code"),
    [
        (["EURUSD", 1], "wrong_type"),
        (["EURUSD", 1, 1, 1, 1], "wrong_type"),
        (["EURUSD", number("1.0e1"), 11], "bad_price"),
        (["EURUSD", number("1.12345678901"), 2], "bad_price"),
        (["EURUSD", "NaN", 1], "bad_price"),
        (["EURUSD", 2, 1], "bad_quote"),
        (["EURUSD", 0, 0], "bad_quote"),
        (["EURUSD", 1, 1, 7_000_000_000_000], "bad_quote"),
        (["EURUSD", 1, 1, -1], "wrong_type"),
        (["EUR USD", 1, 1], "bad_symbol"),
        (["SILVER", 1, 1], "unknown_symbol"),
        ([1, 1, 1], "wrong_type"),
        ({"symbol": "EURUSD"}, "wrong_type"),
    ],
)
def test_a_quote_that_cannot_be_one_is_refused(server: Caller, quote: object, code: str) -> None:
    told = server.post("/feed/quotes", {"quotes": [quote]})
    assert (told.status, told["accepted"]) == (200, 0)
    assert [error["code"] for error in told["errors"]] == [code]


@pytest.mark.parametrize(
    ("quote", "field"),
    [
        ([1, 1, 1], "symbol"),
        (["EUR USD", 1, 1], "symbol"),
        (["EURUSD", "NaN", 1], "bid"),
        (["EURUSD", 1, None], "ask"),
        (["EURUSD", 1, 1, "now"], "timeMs"),
        (["EURUSD", 1, 1, -1], "timeMs"),
    ],
)
def test_what_is_wrong_in_a_quote_is_named(server: Caller, quote: object, field: str) -> None:
    [error] = server.post("/feed/quotes", {"quotes": [quote]})["errors"]
    assert error["field"] == field


@pytest.mark.parametrize(
    ("stream", "body", "code"),
    [
        ("quotes", {}, "missing_field"),
        ("quotes", {"quotes": [], "note": 1}, "unknown_field"),
        ("quotes", {"quotes": [], "seq": -1}, "wrong_type"),
        ("quotes", {"quotes": [], "seq": "1"}, "wrong_type"),
        ("quotes", {"quotes": [["A", 1, 1]] * 10_001}, "wrong_type"),
        ("positions", {"positions": []}, "missing_field"),
        ("positions", {"kind": "all", "positions": []}, "wrong_type"),
        ("positions", {"kind": "snapshot", "positions": [], "final": False}, "missing_field"),
        ("positions", {"kind": "snapshot", "positions": [], "closed": [1]}, "unknown_field"),
        ("positions", {"kind": "delta", "positions": [], "snapshotId": "1"}, "unknown_field"),
        ("positions", {"kind": "delta", "positions": [], "final": False}, "unknown_field"),
        ("positions", {"kind": "delta", "positions": [{}] * 5_001}, "wrong_type"),
        ("positions", {"kind": "delta", "positions": [], "closed": [0]}, "wrong_type"),
        ("deals", {"deals": [{}] * 10_001}, "wrong_type"),
        ("online", {"logins": ["1"]}, "wrong_type"),
        ("online", {"logins": [1] * 100_001}, "wrong_type"),
    ],
)
def test_a_call_that_is_wrong_as_such_changes_nothing(
    server: Caller, stream: str, body: object, code: str
) -> None:
    before = server.get("/feed/status")["streams"]
    assert server.post(f"/feed/{stream}", body).said == (400, code)
    after = server.get("/feed/status")["streams"]
    aging = {"age": None, "stale": None}
    assert [told | aging for told in after] == [told | aging for told in before]


def test_a_call_of_more_than_16_mebibytes_is_too_large(server: Caller) -> None:
    assert server.post("/feed/quotes", b" " * (16 * 1024 * 1024 + 1)).said == (413, "body_too_large")


def test_the_same_call_again_and_one_out_of_order_change_nothing(admin: Caller, server: Caller) -> None:
    login = admin.open()
    first = {"kind": "delta", "positions": [position(login, profit=1)], "epoch": 1, "seq": 10}
    assert server.post("/feed/positions", first)["accepted"] == 1
    later = {"kind": "delta", "positions": [position(login, profit=2)], "epoch": 1, "seq": 12}
    assert server.post("/feed/positions", later)["accepted"] == 1
    for late in (first, later, {**later, "seq": 11}):
        assert server.post("/feed/positions", late).body == {"accepted": 0, "ignored": 1, "errors": []}
    assert admin.get(f"/users/{login}")["profit"] == number("3.00")
    positions = server.get("/feed/status")["streams"][1]
    assert (positions["stream"], positions["epoch"], positions["seq"], positions["gaps"]) == (
        "positions",
        1,
        12,
        1,
    )


def test_the_status_says_how_old_each_stream_is(server: Caller) -> None:
    server.post("/feed/quotes", {"quotes": []})
    told = server.get("/feed/status")["streams"]
    assert [stream["stream"] for stream in told] == ["quotes", "positions", "online"]
    assert told[0].keys() == {"stream", "epoch", "seq", "gaps", "receivedAt", "age", "stale"}
    assert 0 <= float(told[0]["age"]) < 30
    assert told[0]["stale"] is False


def test_a_snapshot_in_parts_is_seen_when_it_is_whole(admin: Caller, server: Caller) -> None:
    login = admin.open()
    kept = position(login, profit=1)
    place(server, kept, position(login, profit=2))
    part = {"kind": "snapshot", "snapshotId": "s1", "positions": [kept]}
    assert server.post("/feed/positions", part | {"final": False})["accepted"] == 1
    assert admin.get(f"/users/{login}")["profit"] == number("3.00")
    last = {"kind": "snapshot", "snapshotId": "s1", "positions": [position(login, profit=4)]}
    assert server.post("/feed/positions", last)["accepted"] == 1
    assert admin.get(f"/users/{login}")["profit"] == number("5.00")


# Deals.


def test_a_snapshot_of_which_a_part_is_missing_is_refused_and_the_old_one_stands(
    admin: Caller, server: Caller
) -> None:
    login = admin.open(balance="1000")
    place(server, position(login, margin=10, profit=0))
    whole = {"kind": "snapshot", "snapshotId": "torn", "epoch": 9}
    parts: list[dict[str, Any]] = [{"seq": 1, "final": False}, {"seq": 3, "final": True}]
    first, last = (server.post("/feed/positions", whole | part | {"positions": []}) for part in parts)
    assert first.status == 200
    assert last.said == (400, "snapshot_incomplete")
    assert admin.get(f"/users/{login}")["margin"] == number("10.00")


def test_a_position_that_a_snapshot_tells_wrongly_keeps_its_losses(
    admin: Caller, server: Caller, served: Served
) -> None:
    login = admin.open(balance="100")
    lost = position(login, margin=1, profit=-90)
    place(server, lost)
    wrong = lost | {"profit": number("-90.001")}
    told = server.post("/feed/positions", {"kind": "snapshot", "positions": [wrong]})
    assert [(error["code"], error["ticket"]) for error in told["errors"]] == [
        ("too_many_decimals", lost["ticket"])
    ]
    told = server.post("/feed/positions", {"kind": "snapshot", "positions": [lost | {"side": "hold"}]})
    assert [(error["code"], error["ticket"]) for error in told["errors"]] == [("wrong_type", lost["ticket"])]
    assert admin.book("withdraw", login=login, amount=100).said == (400, "not_enough_money")
    kept = "SELECT 1 FROM refusals WHERE route = '/feed/positions' AND code = 'too_many_decimals'"
    within(30, lambda: bool(served.ledger.rows(kept)))


@pytest.mark.parametrize("ticket", [None, 0, "1", 1.5])
def test_a_snapshot_with_an_item_that_names_no_ticket_is_refused_as_a_whole(
    admin: Caller, server: Caller, ticket: object
) -> None:
    login = admin.open()
    place(server, position(login, profit=5))
    nameless = position(login) | {"ticket": ticket}
    told = server.post("/feed/positions", {"kind": "snapshot", "positions": [nameless]})
    assert told.said == (400, "bad_ticket")
    assert admin.get(f"/users/{login}")["profit"] == number("5.00")


def test_a_snapshot_that_another_has_made_void_is_refused(server: Caller) -> None:
    part = {"kind": "snapshot", "positions": [], "final": False}
    for snapshot_id in ("first", "second"):
        assert server.post("/feed/positions", part | {"snapshotId": snapshot_id}).status == 200
    late = server.post("/feed/positions", {"kind": "snapshot", "positions": [], "snapshotId": "first"})
    assert late.said == (400, "snapshot_void")


def test_a_change_of_what_figures_rest_on_makes_them_stale_until_they_are_valued_anew(
    admin: Caller, server: Caller, served: Served
) -> None:
    assert admin.put("/groups/patient", {"currency": "USD", "refuseWhenStale": True}).status == 200
    admin.put("/symbols/LEAD", SYMBOLS["GOLD"])
    login = admin.open("patient", balance="1000")
    place(server, position(login, "LEAD", lots=9, openPrice=1))
    server_now = {name: admin.get("/server")[name] for name in ("timezone", "dayEnd", "overnightDays")}
    changes: list[Callable[[], Answer]] = [
        lambda: admin.send("PATCH", f"/users/{login}", {"leverage": 1}),
        lambda: admin.put("/symbols/LEAD", SYMBOLS["GOLD"] | {"marginRate": 2}),
        lambda: admin.put("/server", server_now | {"bookCurrency": "EUR"}),
        lambda: admin.put("/server", server_now | {"bookCurrency": "USD"}),
    ]
    listed = {"groupFilter": "patient", "limit": 1, "offset": 0}
    for change in changes:
        assert server.post("/feed/quotes", {"quotes": [["LEAD", 1, 1]]})["accepted"] == 1
        within(30, lambda: admin.get(f"/users/{login}")["stale"] is False)
        with psycopg.connect(served.ledger.superuser) as holder:
            holder.execute("SELECT 1 FROM feed_streams FOR UPDATE")
            assert change().status == 200
            assert admin.get(f"/users/{login}")["stale"] is True
            assert admin.book("withdraw", login=login, amount=1).said == (503, "figures_stale")
            if change is not changes[0]:
                assert admin.get("/accounts", **listed)["stale"] is True


def test_a_group_that_waits_for_fresh_figures_lets_no_money_out_without_them(
    admin: Caller, server: Caller
) -> None:
    assert admin.put("/groups/careful", {"currency": "USD", "refuseWhenStale": True}).status == 200
    admin.put("/symbols/TIN", SYMBOLS["GOLD"])
    login = admin.open("careful", balance="1000")
    place(server, position(login, "TIN"))
    refused = admin.book("withdraw", login=login, amount=1)
    assert refused.said == (503, "figures_stale")
    assert refused.headers["retry-after"] == "1"
    assert server.post("/feed/quotes", {"quotes": [["TIN", 2, 3]]}).status == 200
    assert admin.booked("withdraw", login=login, amount=1)["newBalance"] == number("999.00")


def test_money_that_stale_figures_let_out_says_so_also_when_it_is_asked_again(
    admin: Caller, server: Caller
) -> None:
    admin.put("/symbols/COPPER", SYMBOLS["GOLD"])
    login = admin.open(balance="1000")
    place(server, position(login, "COPPER", margin=100))
    assert admin.book("withdraw", login=login, amount=901)["stale"] is True
    first = admin.booked("withdraw", login=login, amount=900, request_id="stale:1")
    assert (first["stale"], first["warnings"]) == (True, ["figures_stale"])
    again = admin.book("withdraw", login=login, amount=900, request_id="stale:1")
    assert again["operation"] == first.body
    assert admin.history(login=login)[-1]["warnings"] == ["figures_stale"]


def deal(login: int, deal_id: str, profit: object, **rest: object) -> dict[str, object]:
    """Write a closed deal."""
    return {"dealId": deal_id, "login": login, "profit": profit} | rest


def test_a_deal_is_booked_once(admin: Caller, server: Caller) -> None:
    login = admin.open(balance="100")
    sold = deal(
        login,
        "4711",
        number("50.25"),
        symbol="EURUSD",
        ticket=7,
        lots=number("0.10"),
        storage=number("-1.25"),
        commission=-3,
        taxes=-1,
        time="2026-11-18T10:00:00Z",
    )
    first = server.post("/feed/deals", {"deals": [sold]})
    assert (first["accepted"], first["ignored"], first["errors"]) == (1, 0, [])
    [booked] = first["results"]
    assert (booked["dealId"], booked["status"]) == ("4711", "accepted")
    again = server.post("/feed/deals", {"deals": [sold, sold | {"lots": number("0.1")}]})
    assert (again["accepted"], again["ignored"], again["errors"]) == (0, 2, [])
    assert {result["operationId"] for result in again["results"]} == {booked["operationId"]}
    assert admin.held(login)[0] == number("145.00")
    [_, row] = admin.history(login=login)
    assert (row["kind"], row["operationId"], row["balanceChange"]) == (
        "trade",
        booked["operationId"],
        number("45.00"),
    )


def test_each_deal_has_its_own_outcome_in_order(admin: Caller, server: Caller) -> None:
    login = admin.open()
    told = server.post(
        "/feed/deals",
        {
            "deals": [
                deal(login, "a1", 10),
                deal(999_999, "a2", 10),
                deal(login, "a1", 11),
                deal(login, "a 3", 1),
                deal(login, "a4", 1, symbol="SILVER"),
                deal(login, "a5", number("0.001")),
                {"dealId": "a6", "login": login},
                deal(login, "a7", -25),
            ]
        },
    )
    assert (told["accepted"], told["ignored"]) == (2, 0)
    assert [(error["index"], error["code"], error["dealId"]) for error in told["errors"]] == [
        (1, "unknown_login", "a2"),
        (2, "deal_reused", "a1"),
        (3, "bad_deal_id", "a 3"),
        (4, "unknown_symbol", "a4"),
        (5, "too_many_decimals", "a5"),
        (6, "missing_field", "a6"),
    ]
    statuses = ["accepted", *["refused"] * 6, "accepted"]
    assert [result["status"] for result in told["results"]] == statuses
    assert admin.held(login)[0] == number("-15.00")


def test_a_repeat_does_not_tell_a_key_of_accounts_beyond_its_reach(
    admin: Caller, server: Caller, served: Served
) -> None:
    login = admin.open()
    server.post("/feed/deals", {"deals": [deal(login, "b1", 10)]})
    narrow = served.caller("feed", "--groups", "vip")
    told = narrow.post("/feed/deals", {"deals": [deal(login, "b1", 10)]})
    assert [error["code"] for error in told["errors"]] == ["outside_mask"]
    assert "operationId" not in told["results"][0]


def test_deals_that_cannot_be_booked_now_are_answered_with_503_and_booked_by_a_repeat(
    admin: Caller, server: Caller, served: Served
) -> None:
    body = {"deals": [deal(admin.open(), "away", 5), {"dealId": "wrong"}]}
    with served.ledger.gate_held():
        away = server.post("/feed/deals", body)
    assert (away.said, away.headers["retry-after"]) == ((503, "database_away"), "1")
    within(30, lambda: server.post("/feed/deals", body).status == 200)
    assert server.post("/feed/deals", body)["ignored"] == 1


def test_a_fault_in_one_deal_makes_the_call_one_to_repeat() -> None:
    with pytest.raises(ManagerOffline) as told:
        check_decided([ValidationError("bad_deal", "refused for good"), Fault("fault", "ours")])
    assert (told.value.code, told.value.extra["retry_after"]) == ("batch_failed", 1)
    check_decided([ValidationError("bad_deal", "refused for good")])


# Keys and faults.


@pytest.mark.parametrize("stream", ["quotes", "positions", "deals", "online", "status"])
def test_the_feed_is_for_keys_with_its_scope(served: Served, stream: str) -> None:
    caller = served.caller("finance")
    asked = caller.get("/feed/status") if stream == "status" else caller.post(f"/feed/{stream}", {})
    assert asked.said == (401, "scope_missing")


def test_a_key_speaks_only_for_the_groups_that_it_reaches(
    admin: Caller, served: Served, server: Caller
) -> None:
    mine, other = admin.open("vip"), admin.open("standard")
    place(server, position(other, profit=5))
    narrow = served.caller("feed", "--groups", "vip")
    body = {"kind": "snapshot", "positions": [position(mine, profit=1), position(other, profit=1)]}
    told = narrow.post("/feed/positions", body)
    assert [(error["index"], error["code"]) for error in told["errors"]] == [(1, "outside_mask")]
    assert [admin.get(f"/users/{login}")["profit"] for login in (mine, other)] == [
        number("1.00"),
        number("5.00"),
    ]


def test_a_key_that_does_not_speak_for_all_tells_no_quotes_and_numbers_no_calls(served: Served) -> None:
    narrow = served.caller("feed", "--groups", "vip")
    for stream, body, field in (
        ("quotes", {"quotes": [["EURUSD", 9, 9]]}, None),
        ("positions", {"kind": "delta", "positions": [], "seq": 1}, "seq"),
        ("online", {"logins": [], "epoch": 9}, "epoch"),
    ):
        told = narrow.post(f"/feed/{stream}", body)
        assert (told.said, told.body.get("field")) == ((403, "whole_feed_only"), field)
    assert narrow.post("/feed/online", {"logins": []}).status == 200


def test_a_database_that_goes_away_is_answered_with_503_and_comes_back(
    admin: Caller, served: Served, server: Caller
) -> None:
    with psycopg.connect(served.ledger.superuser) as holder, ThreadPoolExecutor() as pool:
        holder.execute("SELECT 1 FROM feed_streams FOR UPDATE")
        call = pool.submit(server.post, "/feed/quotes", {"quotes": [["EURUSD", 2, 2]]})
        within(30, lambda: bool(served.ledger.rows(_CUT, served.ledger.schema)))
        cut = call.result()
        assert (cut.said, cut.headers["retry-after"]) == ((503, "database_away"), "1")
    assert server.post("/feed/quotes", {"quotes": [["EURUSD", 2, 2]]})["accepted"] == 1


_CUT = """
SELECT pg_terminate_backend(w.pid) FROM pg_locks w
JOIN pg_locks r ON r.pid = w.pid AND r.locktype = 'relation'
JOIN pg_class c ON c.oid = r.relation AND c.relname = 'feed_streams'
WHERE NOT w.granted AND c.relnamespace = %s::regnamespace
"""
