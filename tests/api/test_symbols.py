"""Symbols over HTTP: what can be traded, defined whole, read back as exact decimals."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.served import Caller, new_id, number

PAIR: dict[str, Any] = {
    "digits": 5,
    "contractSize": 100000,
    "baseCurrency": "EUR",
    "profitCurrency": "USD",
}


def listed(caller: Caller, symbol: str) -> dict[str, Any] | None:
    """Give a symbol as the list has it."""
    return next((found for found in caller.get("/symbols")["symbols"] if found["symbol"] == symbol), None)


def test_a_symbol_is_defined_with_what_was_given_and_defaults(admin: Caller) -> None:
    answer = admin.put("/symbols/EURUSD.s1", PAIR)
    assert answer.status == 200
    assert answer["operationId"].startswith("op_")
    defaults = {"marginRate": 1, "swapLong": 0, "swapShort": 0, "spread": 0}
    expected = {"symbol": "EURUSD.s1", **PAIR, **defaults, "tradeMode": "full", "description": ""}
    assert listed(admin, "EURUSD.s1") == expected
    assert expected.items() <= answer.body.items()


def test_decimals_of_a_symbol_are_exact(admin: Caller) -> None:
    terms = {"contractSize": "0.1", "marginRate": "0.333", "swapLong": "-12.75", "swapShort": "1.250"}
    admin.put("/symbols/GOLD.s2", PAIR | terms)
    found = listed(admin, "GOLD.s2")
    assert found is not None
    assert [found[name] for name in terms] == [
        number("0.1"),
        number("0.333"),
        number("-12.75"),
        number("1.25"),
    ]


def test_a_tiny_decimal_of_a_symbol_is_written_out(admin: Caller) -> None:
    answer = admin.put("/symbols/TINY.s6", PAIR | {"marginRate": "0.00000001"})
    assert '"marginRate":0.00000001' in answer.text
    assert '"marginRate":0.00000001' in admin.get("/symbols").text


def test_a_symbol_is_defined_anew_as_a_whole(admin: Caller) -> None:
    admin.put("/symbols/DE40.s3", PAIR | {"spread": 15, "description": "index"})
    admin.put("/symbols/DE40.s3", PAIR | {"digits": 1, "tradeMode": "close_only"})
    found = listed(admin, "DE40.s3")
    assert found is not None
    assert (found["digits"], found["tradeMode"], found["spread"], found["description"]) == (
        1,
        "close_only",
        0,
        "",
    )


def test_the_same_definition_twice_under_one_request_id_is_applied_once(admin: Caller) -> None:
    request_id = new_id()
    first = admin.put("/symbols/XAU.s4", PAIR, request_id=request_id)
    again = admin.put("/symbols/XAU.s4", PAIR | {"contractSize": "100000.00"}, request_id=request_id)
    assert again.said == (409, "request_applied")
    assert again["operation"] == first.body
    other = admin.put("/symbols/XAU.s4", PAIR | {"digits": 2}, request_id=request_id)
    assert other.said == (400, "request_id_reused")
    assert other["fields"] == ["digits"]


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    [
        ({"contractSize": 0}, "amount_zero", "contractSize"),
        ({"contractSize": -1}, "amount_not_positive", "contractSize"),
        ({"contractSize": "1e5"}, "bad_amount", "contractSize"),
        ({"marginRate": -1}, "amount_not_positive", "marginRate"),
        ({"baseCurrency": "eur"}, "bad_currency", "baseCurrency"),
        ({"profitCurrency": ""}, "bad_currency", "profitCurrency"),
        ({"digits": 11}, "wrong_type", "digits"),
        ({"digits": None}, "wrong_type", "digits"),
        ({"tradeMode": "open"}, "wrong_type", "tradeMode"),
        ({"spread": -1}, "wrong_type", "spread"),
        ({"colour": "red"}, "unknown_field", "colour"),
    ],
)
def test_a_definition_that_cannot_be_is_refused_by_its_field(
    admin: Caller, changed: dict[str, Any], code: str, field: str
) -> None:
    answer = admin.put("/symbols/BAD.s5", PAIR | changed)
    assert answer.said == (400, code)
    assert answer["field"] == field
    assert listed(admin, "BAD.s5") is None


def test_a_name_that_no_symbol_can_have_is_refused(admin: Caller) -> None:
    for name in ("a%20b", "x" * 33):
        assert admin.put(f"/symbols/{name}", PAIR).said == (400, "bad_symbol")
    assert admin.put("/symbols/EUR%2FUSD", PAIR).said == (404, "unknown_route")
