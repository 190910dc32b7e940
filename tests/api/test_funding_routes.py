"""Every funding route: the body that it answers with, and the money rules that refuse."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.served import Answer, Caller, new_id, number

if TYPE_CHECKING:
    from tests.api.served import Served

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
PAST = "2026-01-05T10:30:00Z"


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def from_now(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def expected(answer: Answer, **telling: Any) -> dict[str, Any]:
    """Give the whole 201 body of one leg: the telling values, and what follows of position and time."""
    position, recorded = answer["position"], answer["recordedAt"]
    assert INSTANT.fullmatch(recorded)
    return {
        "operationId": f"bal_{position}",
        "status": "accepted",
        "currency": "USD",
        "newCredit": number("0.00"),
        "creditChange": number("0.00"),
        "balanceChange": number("0.00"),
        "reference": None,
        "position": position,
        "serverDay": recorded[:10],
        "recordedAt": recorded,
        "effectiveAt": recorded,
    } | telling


class TestDeposit:
    def test_a_deposit_is_answered_with_what_the_account_holds_now(self, admin: Caller) -> None:
        login, request_id = admin.open(balance="7500"), new_id()

        answer = admin.book("deposit", login=login, amount=5000, request_id=request_id)

        assert answer.status == 201
        assert answer.headers["content-type"] == "application/json"
        assert answer.body == expected(
            answer,
            kind="deposit",
            login=login,
            amount=number("5000.00"),
            newBalance=number("12500.00"),
            balanceChange=number("5000.00"),
            requestId=request_id,
        )

    def test_the_fields_stand_in_the_published_order(self, admin: Caller) -> None:
        answer = admin.booked("deposit", login=admin.open(), amount=1)
        assert list(answer.body) == [
            "operationId",
            "status",
            "kind",
            "login",
            "amount",
            "currency",
            "newBalance",
            "newCredit",
            "balanceChange",
            "creditChange",
            "requestId",
            "reference",
            "position",
            "serverDay",
            "recordedAt",
            "effectiveAt",
        ]

    @pytest.mark.parametrize(
        ("group", "currency", "amount", "told"),
        [
            ("standard", "USD", "5000", "5000.00"),
            ("standard", "USD", "0.1", "0.10"),
            ("standard", "USD", "1000000000", "1000000000.00"),
            ("yen", "JPY", "5000", "5000"),
            ("dinar", "KWD", "1.5", "1.500"),
            ("dinar", "KWD", "0.001", "0.001"),
        ],
    )
    def test_money_has_exactly_the_digits_of_its_currency(
        self, admin: Caller, group: str, currency: str, amount: str, told: str
    ) -> None:
        answer = admin.booked("deposit", login=admin.open(group), amount=number(amount))
        assert answer["currency"] == currency
        assert (answer["amount"], answer["newBalance"]) == (number(told), number(told))

    def test_an_amount_that_no_float_can_hold_comes_back_to_the_cent(self, admin: Caller) -> None:
        login = admin.open(balance="900000000.01")
        for _ in range(3):
            admin.booked("deposit", login=login, amount=number("999999999.99"))
        assert admin.held(login)[0] == number("3899999999.98")

    def test_an_amount_may_come_as_a_string(self, admin: Caller) -> None:
        assert admin.booked("deposit", login=admin.open(), amount="12.5")["amount"] == number("12.50")

    def test_what_came_along_is_kept_and_told(self, admin: Caller) -> None:
        note: dict[str, Any] = {
            "comment": "August, Ähre 💶",
            "reference": f"psp-{new_id()}",
            "method": "card",
            "effectiveAt": PAST,
            "metadata": {"a": [1, {"b": None}], "rate": number("1.10")},
        }
        login = admin.open()
        answer = admin.booked("deposit", login=login, amount=1, **note)
        assert (answer["reference"], answer["effectiveAt"]) == (note["reference"], PAST)
        [row] = admin.history(login=login)
        assert {name: row[name] for name in note} == note

    def test_the_operator_is_recorded_as_claimed_and_the_key_as_proven(self, admin: Caller) -> None:
        login = admin.open()
        admin.send(
            "POST",
            "/balances/deposit",
            {"login": login, "amount": 1},
            request_id=new_id(),
            headers={"x-operator-id": "Ann Ähre".encode()},
        )
        [row] = admin.history(login=login)
        assert (row["operatorId"], row["keyId"]) == ("Ann Ähre", admin.key_id)

    def test_a_disabled_account_takes_it_with_a_warning_on_answer_and_row(self, admin: Caller) -> None:
        login = admin.open(disabled=True)
        assert admin.booked("deposit", login=login, amount=1)["warnings"] == ["account_disabled"]
        [row] = admin.history(login=login)
        assert row["warnings"] == ["account_disabled"]


class TestWithdraw:
    def test_a_withdrawal_is_positive_in_amount_and_negative_in_change(self, admin: Caller) -> None:
        login, request_id = admin.open(balance="100"), new_id()
        answer = admin.book("withdraw", login=login, amount=number("30.50"), request_id=request_id)
        assert answer.status == 201
        assert answer.body == expected(
            answer,
            kind="withdrawal",
            login=login,
            amount=number("30.50"),
            newBalance=number("69.50"),
            balanceChange=number("-30.50"),
            requestId=request_id,
        )

    @pytest.mark.parametrize(
        ("group", "balance", "credit", "available"),
        [
            ("standard", "100", "0", "100.00"),
            ("standard", "100", "50", "100.00"),
            ("standard", "0", "50", "0.00"),
            ("mt", "100", "50", "100.00"),
            ("yen", "100", "0", "100"),
        ],
    )
    def test_more_than_is_withdrawable_is_refused_naming_what_is_available(
        self, admin: Caller, group: str, balance: str, credit: str, available: str
    ) -> None:
        login = admin.open(group, balance=balance, credit=credit)
        refused = admin.book("withdraw", login=login, amount=101)
        assert refused.said == (400, "not_enough_money")
        assert (refused["available"], refused["field"]) == (number(available), "amount")
        assert admin.get(f"/users/{login}")["withdrawable"] == number(available)

    def test_credit_does_not_cover_a_lost_balance(self, admin: Caller) -> None:
        login = admin.open(credit="50")
        admin.booked("adjust", login=login, kind="charge", amount=-20)
        refused = admin.book("withdraw", login=login, amount=1)
        assert (refused.said, refused["available"]) == ((400, "not_enough_money"), number("0.00"))

    def test_out_of_a_disabled_account_is_refused(self, admin: Caller) -> None:
        login = admin.open(balance="5", disabled=True)
        assert admin.book("withdraw", login=login, amount=1).said == (403, "account_disabled")


class TestCredit:
    def test_credit_moves_credit_and_no_balance(self, admin: Caller) -> None:
        login, request_id = admin.open(balance="10"), new_id()
        answer = admin.book("credit", login=login, amount=50, request_id=request_id)
        assert answer.body == expected(
            answer,
            kind="credit",
            login=login,
            amount=number("50.00"),
            newBalance=number("10.00"),
            newCredit=number("50.00"),
            creditChange=number("50.00"),
            requestId=request_id,
        )

    def test_credit_taken_out_is_negative(self, admin: Caller) -> None:
        login = admin.open(credit="50")
        answer = admin.booked("credit", login=login, amount=-20)
        told = (answer["amount"], answer["creditChange"], answer["newCredit"])
        assert told == (number("-20.00"), number("-20.00"), number("30.00"))

    def test_credit_with_an_expiry_tells_it(self, admin: Caller) -> None:
        expires = from_now(days=30)
        answer = admin.booked("credit", login=admin.open(), amount=5, expiresAt=expires)
        assert when(answer["expiresAt"]) == when(expires)

    @pytest.mark.parametrize(("amount", "expires"), [(5, PAST), (-5, "2199-01-01T00:00:00Z")])
    def test_an_expiry_is_in_the_future_and_on_credit_that_comes_in(
        self, admin: Caller, amount: int, expires: str
    ) -> None:
        refused = admin.book("credit", login=admin.open(credit="9"), amount=amount, expiresAt=expires)
        assert (refused.said, refused["field"]) == ((400, "bad_expiration"), "expiresAt")

    def test_more_credit_than_there_is_cannot_go_out(self, admin: Caller) -> None:
        refused = admin.book("credit", login=admin.open(credit="50"), amount=-51)
        assert (refused.said, refused["available"]) == ((400, "not_enough_credit"), number("50.00"))

    def test_credit_that_covers_a_loss_cannot_go_out(self, admin: Caller) -> None:
        login = admin.open(credit="50")
        admin.booked("adjust", login=login, kind="charge", amount=-20)
        refused = admin.book("credit", login=login, amount=-31)
        assert (refused.said, refused["available"]) == ((400, "not_enough_credit"), number("30.00"))


class TestTransfer:
    def test_a_transfer_is_answered_with_both_legs(self, admin: Caller) -> None:
        source, target, request_id = admin.open(balance="100"), admin.open(balance="1"), new_id()
        answer = admin.book("transfer", from_=source, to=target, amount=40, request_id=request_id)
        assert answer.status == 201
        first, second = answer["legs"]
        shared = {"kind": "transfer", "amount": number("40.00"), "requestId": request_id}
        assert first == expected(
            answer,
            login=source,
            newBalance=number("60.00"),
            balanceChange=number("-40.00"),
            **shared,
        )
        assert second == expected(
            answer,
            login=target,
            newBalance=number("41.00"),
            balanceChange=number("40.00"),
            position=answer["position"] + 1,
            **shared,
        )
        top = {name: value for name, value in answer.body.items() if name != "legs"}
        assert top.items() <= first.items()

    def test_both_legs_are_one_operation_in_history(self, admin: Caller) -> None:
        source, target = admin.open(balance="10"), admin.open()
        answer = admin.booked("transfer", from_=source, to=target, amount=4)
        rows = admin.history(requestId=answer["requestId"])
        assert [(row["login"], row["peer"], row["balanceChange"]) for row in rows] == [
            (source, target, number("-4.00")),
            (target, source, number("4.00")),
        ]
        assert {row["operationId"] for row in rows} == {answer["operationId"]}

    @pytest.mark.parametrize(
        ("into", "amount", "said"),
        [
            ("euro", "1", (400, "currency_mismatch")),
            ("standard", "11", (400, "not_enough_money")),
        ],
    )
    def test_a_refused_transfer_moves_nothing(
        self, admin: Caller, into: str, amount: str, said: tuple[int, str]
    ) -> None:
        source, target = admin.open(balance="10"), admin.open(into)
        assert admin.book("transfer", from_=source, to=target, amount=number(amount)).said == said
        assert admin.held(source)[0] == number("10.00")
        assert admin.held(target)[0] == number("0.00")

    def test_to_oneself_is_refused(self, admin: Caller) -> None:
        login = admin.open(balance="10")
        assert admin.book("transfer", from_=login, to=login, amount=1).said == (400, "same_login")

    def test_a_disabled_source_is_refused_and_a_disabled_target_is_warned_of(self, admin: Caller) -> None:
        active, disabled = admin.open(balance="10"), admin.open(balance="10", disabled=True)
        refused = admin.book("transfer", from_=disabled, to=active, amount=1)
        assert refused.said == (403, "account_disabled")
        first, second = admin.booked("transfer", from_=active, to=disabled, amount=1)["legs"]
        assert "warnings" not in first
        assert second["warnings"] == ["account_disabled"]


class TestCorrection:
    def test_a_correction_stands_beside_what_it_corrects(self, admin: Caller) -> None:
        login, request_id = admin.open(credit="5"), new_id()
        wrong = admin.booked("deposit", login=login, amount=1000)["operationId"]
        answer = admin.book(
            "correction",
            login=login,
            balance=-900,
            credit=2,
            corrects=wrong,
            reason="one zero too many",
            effectiveAt=PAST,
            request_id=request_id,
        )
        assert answer.status == 201
        assert answer.body == expected(
            answer,
            kind="correction",
            login=login,
            amount=number("-900.00"),
            newBalance=number("100.00"),
            newCredit=number("7.00"),
            balanceChange=number("-900.00"),
            creditChange=number("2.00"),
            requestId=request_id,
            effectiveAt=PAST,
            corrects=wrong,
        )
        [row] = admin.history(login=login, kind="correction")
        assert (row["corrects"], row["comment"]) == (wrong, "one zero too many")
        assert admin.get(f"/balances/operations/{wrong}")["correctedBy"] == [answer["operationId"]]

    def test_it_may_take_a_balance_below_zero_but_no_credit(self, admin: Caller) -> None:
        login = admin.open()
        answer = admin.booked("correction", login=login, balance=-5, reason="typing error")
        assert answer["newBalance"] == number("-5.00")
        refused = admin.book("correction", login=login, credit=-1, reason="typing error")
        assert (refused.said, refused["field"]) == ((400, "not_enough_credit"), "credit")

    @pytest.mark.parametrize(
        ("body", "said", "field"),
        [
            ({"reason": "r"}, (400, "missing_field"), "balance"),
            ({"balance": 1}, (400, "missing_field"), "reason"),
            ({"balance": 1, "reason": " "}, (400, "missing_field"), "reason"),
            ({"balance": 0, "reason": "r"}, (400, "amount_zero"), "balance"),
            ({"credit": 0, "reason": "r"}, (400, "amount_zero"), "credit"),
            (
                {"balance": 1, "reason": "r", "corrects": "bal_999999999"},
                (400, "unknown_operation"),
                "corrects",
            ),
            ({"balance": 1, "reason": "r", "corrects": "op_1"}, (400, "wrong_type"), "corrects"),
        ],
    )
    def test_it_needs_an_amount_a_reason_and_a_real_operation(
        self, admin: Caller, body: dict[str, Any], said: tuple[int, str], field: str
    ) -> None:
        refused = admin.book("correction", login=admin.open(), **body)
        assert (refused.said, refused["field"]) == (said, field)


class TestReverse:
    def test_a_reversal_books_the_exact_opposite_and_both_stay_visible(self, admin: Caller) -> None:
        login, request_id = admin.open(balance="1"), new_id()
        first = admin.booked("deposit", login=login, amount=40)["operationId"]
        answer = admin.book(f"operations/{first}/reverse", reason="wrong client", request_id=request_id)
        assert answer.status == 201
        assert answer.body == expected(
            answer,
            kind="reversal",
            login=login,
            amount=number("-40.00"),
            newBalance=number("1.00"),
            balanceChange=number("-40.00"),
            requestId=request_id,
            corrects=first,
        )
        told = admin.get(f"/balances/operations/{first}")
        assert (told["reversedBy"], told["correctedBy"]) == (answer["operationId"], [])
        before, after = admin.history(login=login)[-2:]
        assert (before["reversedBy"], after["corrects"]) == (answer["operationId"], first)

    def test_a_transfer_is_reversed_on_both_sides(self, admin: Caller) -> None:
        source, target = admin.open(balance="10"), admin.open()
        first = admin.booked("transfer", from_=source, to=target, amount=4)["operationId"]
        legs = admin.booked(f"operations/{first}/reverse", reason="r")["legs"]
        assert [(leg["login"], leg["balanceChange"]) for leg in legs] == [
            (source, number("4.00")),
            (target, number("-4.00")),
        ]

    def test_a_second_reversal_is_told_of_the_first(self, admin: Caller) -> None:
        first = admin.booked("deposit", login=admin.open(), amount=40)["operationId"]
        reversal = admin.booked(f"operations/{first}/reverse", reason="r")
        again = admin.book(f"operations/{first}/reverse", reason="once more")
        assert again.said == (409, "already_reversed")
        assert (again["operationId"], again["operation"]) == (reversal["operationId"], reversal.body)

    def test_a_reversal_is_not_reversible(self, admin: Caller) -> None:
        first = admin.booked("deposit", login=admin.open(), amount=40)["operationId"]
        reversal = admin.booked(f"operations/{first}/reverse", reason="r")["operationId"]
        refused = admin.book(f"operations/{reversal}/reverse", reason="r")
        assert refused.said == (400, "not_reversible")

    def test_it_may_take_the_balance_below_zero_but_no_credit(self, admin: Caller) -> None:
        login = admin.open()
        paid = admin.booked("deposit", login=login, amount=40)["operationId"]
        given = admin.booked("credit", login=login, amount=40)["operationId"]
        admin.booked("withdraw", login=login, amount=40)
        admin.booked("credit", login=login, amount=-1)
        assert admin.booked(f"operations/{paid}/reverse", reason="r")["newBalance"] == number("-40.00")
        refused = admin.book(f"operations/{given}/reverse", reason="r")
        assert (refused.said, refused["available"]) == ((400, "not_enough_credit"), number("39.00"))

    @pytest.mark.parametrize(
        ("operation", "said"),
        [
            ("bal_999999999", (404, "unknown_operation")),
            ("op_1", (400, "bad_operation_id")),
            ("bal_0", (400, "bad_operation_id")),
            ("bal_1x", (400, "bad_operation_id")),
            ("bal_99999999999999999999", (400, "bad_operation_id")),
        ],
    )
    def test_only_a_money_operation_can_be_reversed(
        self, admin: Caller, operation: str, said: tuple[int, str]
    ) -> None:
        assert admin.book(f"operations/{operation}/reverse", reason="r").said == said

    def test_an_operation_that_moved_no_money_is_not_found(self, admin: Caller) -> None:
        position = admin.post("/users", {"group": "standard"})["operationId"].removeprefix("op_")
        assert admin.book(f"operations/bal_{position}/reverse", reason="r").said == (404, "unknown_operation")

    @pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "  "}])
    def test_it_needs_a_reason(self, admin: Caller, body: dict[str, Any]) -> None:
        first = admin.booked("deposit", login=admin.open(), amount=40)["operationId"]
        assert admin.book(f"operations/{first}/reverse", **body).said == (400, "missing_field")


class TestAdjust:
    @pytest.mark.parametrize(
        "kind", ["charge", "commission", "agent", "rebate", "interest", "dividend", "tax", "opening"]
    )
    @pytest.mark.parametrize("amount", ["12.34", "-12.34"])
    def test_each_plain_kind_moves_the_balance_by_its_signed_amount(
        self, admin: Caller, kind: str, amount: str
    ) -> None:
        login, request_id = admin.open(), new_id()
        answer = admin.book("adjust", login=login, kind=kind, amount=number(amount), request_id=request_id)
        assert answer.status == 201, answer.text
        assert answer.body == expected(
            answer,
            kind=kind,
            login=login,
            amount=number(amount),
            newBalance=number(amount),
            balanceChange=number(amount),
            requestId=request_id,
        )

    def test_bonus_conversion_leaves_credit_and_enters_balance(self, admin: Caller) -> None:
        answer = admin.booked("adjust", login=admin.open(credit="50"), kind="bonus-conversion", amount=20)
        told = [
            answer[name] for name in ("amount", "balanceChange", "creditChange", "newBalance", "newCredit")
        ]
        assert told == [number(text) for text in ("20.00", "20.00", "-20.00", "20.00", "30.00")]

    def test_negative_balance_brings_it_to_zero_and_cancels_the_credit_given(self, admin: Caller) -> None:
        login = admin.open(credit="50")
        admin.booked("adjust", login=login, kind="charge", amount=-30)
        answer = admin.booked("adjust", login=login, kind="negative-balance", credit=20)
        told = [answer[name] for name in ("balanceChange", "creditChange", "newBalance", "newCredit")]
        assert told == [number(text) for text in ("30.00", "-20.00", "0.00", "30.00")]

    def test_opening_takes_over_balance_and_credit_together_or_credit_alone(self, admin: Caller) -> None:
        both = admin.booked("adjust", login=admin.open(), kind="opening", amount=10, credit=5)
        assert (both["newBalance"], both["newCredit"]) == (number("10.00"), number("5.00"))
        alone = admin.booked("adjust", login=admin.open(), kind="opening", credit=5)
        assert (alone["newBalance"], alone["newCredit"]) == (number("0.00"), number("5.00"))

    @pytest.mark.parametrize(
        ("body", "code", "field"),
        [
            ({"kind": "deposit", "amount": 1}, "bad_kind", "kind"),
            ({"kind": "trade", "amount": 1}, "bad_kind", "kind"),
            ({"kind": "Charge", "amount": 1}, "bad_kind", "kind"),
            ({"kind": "charge"}, "missing_field", "amount"),
            ({"kind": "charge", "amount": 0}, "amount_zero", "amount"),
            ({"kind": "charge", "amount": 1, "credit": 1}, "unknown_field", "credit"),
            ({"kind": "bonus-conversion", "amount": -1}, "amount_not_positive", "amount"),
            ({"kind": "bonus-conversion", "amount": 1}, "not_enough_credit", "amount"),
            ({"kind": "negative-balance", "amount": 1}, "unknown_field", "amount"),
            ({"kind": "negative-balance", "credit": -1}, "amount_not_positive", "credit"),
            ({"kind": "negative-balance"}, "balance_not_negative", "login"),
            ({"kind": "opening"}, "missing_field", "amount"),
            ({"kind": "opening", "credit": -5}, "not_enough_credit", "credit"),
            ({"kind": "opening", "amount": 0, "credit": 1}, "amount_zero", "amount"),
        ],
    )
    def test_what_does_not_fit_the_kind_is_refused(
        self, admin: Caller, body: dict[str, Any], code: str, field: str
    ) -> None:
        refused = admin.book("adjust", login=admin.open(), **body)
        assert (refused.said, refused["field"]) == ((400, code), field)


ROUTES: dict[str, dict[str, Any]] = {
    "deposit": {"amount": 1},
    "withdraw": {"amount": 1},
    "credit": {"amount": 1},
    "adjust": {"kind": "charge", "amount": 1},
    "correction": {"balance": 1, "reason": "r"},
}


class TestAmounts:
    @pytest.mark.parametrize(
        ("written", "code"),
        [
            (b"0", "amount_zero"),
            (b"0.00", "amount_zero"),
            (b"-0", "amount_zero"),
            (b"-1", "amount_not_positive"),
            (b"1e2", "bad_amount"),
            (b"1.5E+1", "bad_amount"),
            (b'"NaN"', "bad_amount"),
            (b'"Infinity"', "bad_amount"),
            (b'"1_000"', "bad_amount"),
            (b'" 1.5"', "bad_amount"),
            (b'"+1"', "bad_amount"),
            (b'"1,5"', "bad_amount"),
            (b'""', "bad_amount"),
            ('"١٢"'.encode(), "bad_amount"),
            (b"null", "bad_amount"),
            (b"true", "bad_amount"),
            (b"[1]", "bad_amount"),
            (b'{"a":1}', "bad_amount"),
            (b"1.001", "too_many_decimals"),
            (b"1.000", "too_many_decimals"),
            (b"1000000000.01", "amount_too_large"),
            (b"9" * 400, "amount_too_large"),
            (b"123456789012345678.91", "amount_too_large"),
        ],
    )
    @pytest.mark.parametrize("route", ["deposit", "withdraw"])
    def test_only_a_plain_positive_amount_is_money(
        self, admin: Caller, shared_login: int, route: str, written: bytes, code: str
    ) -> None:
        body = b'{"login":%d,"amount":%b}' % (shared_login, written)
        refused = admin.send("POST", f"/balances/{route}", body, request_id=new_id())
        assert (refused.said, refused["field"]) == ((400, code), "amount")

    def test_a_group_may_set_a_lower_ceiling(self, admin: Caller) -> None:
        login = admin.open("small")
        assert admin.book("deposit", login=login, amount=1000).status == 201
        assert admin.book("deposit", login=login, amount=number("1000.01")).said == (400, "amount_too_large")

    def test_an_account_cannot_hold_more_than_the_books_can_count(self, admin: Caller) -> None:
        admin.put("/groups/coin", {"currency": "BTC"})
        login = admin.open("coin")
        billion = {"op": "deposit", "login": login, "amount": 1_000_000_000}
        results = admin.batch(*[billion | {"requestId": new_id()} for _ in range(24)])["results"]
        assert [result.get("code") for result in results] == [None] * 23 + ["balance_out_of_range"]
        assert admin.held(login)[0] == number("23000000000.00000000")

    @pytest.mark.parametrize(("group", "amount"), [("yen", "1.0"), ("dinar", "1.0000")])
    def test_more_decimals_than_the_currency_has_are_refused_not_rounded(
        self, admin: Caller, group: str, amount: str
    ) -> None:
        refused = admin.book("deposit", login=admin.open(group), amount=number(amount))
        assert refused.said == (400, "too_many_decimals")


@pytest.fixture(scope="module")
def shared_login(admin: Caller) -> int:
    return admin.open(balance="1000", credit="10")


@pytest.mark.parametrize("route", ROUTES)
class TestOnEveryRoute:
    def test_dry_run_decides_tells_and_books_nothing(
        self, admin: Caller, served: Served, shared_login: int, route: str
    ) -> None:
        held, last, request_id = admin.held(shared_login), served.last_position, new_id()
        body = {"login": shared_login} | ROUTES[route]
        answer = admin.post(f"/balances/{route}?dryRun=true", body, request_id=request_id)
        assert (answer.status, answer["status"]) == (200, "dry_run")
        assert (answer["operationId"], answer["position"]) == (None, None)
        assert (admin.held(shared_login), served.last_position) == (held, last)
        assert admin.get(f"/requests/{request_id}").status == 404
        booked = admin.post(f"/balances/{route}", body, request_id=request_id)
        same = ("kind", "login", "amount", "newBalance", "newCredit", "balanceChange", "creditChange")
        assert [answer[name] for name in same] == [booked[name] for name in same]

    def test_the_answer_carries_the_request_id(self, admin: Caller, shared_login: int, route: str) -> None:
        request_id = new_id()
        answer = admin.book(route, login=shared_login, request_id=request_id, **ROUTES[route])
        assert answer.headers["x-request-id"] == answer["requestId"] == request_id

    def test_what_the_future_brings_cannot_be_booked(
        self, admin: Caller, shared_login: int, route: str
    ) -> None:
        later = from_now(minutes=5)
        refused = admin.book(route, login=shared_login, effectiveAt=later, **ROUTES[route])
        assert (refused.said, refused["field"]) == ((400, "bad_effective_time"), "effectiveAt")

    @pytest.mark.parametrize(
        ("written", "told"),
        [
            ("2026-01-05T10:30:00Z", "2026-01-05T10:30:00Z"),
            ("2026-01-05T12:30:00+02:00", "2026-01-05T10:30:00Z"),
            ("1999-12-31T23:59:59.123456Z", "1999-12-31T23:59:59.123456Z"),
        ],
    )
    def test_what_happened_earlier_is_told_in_utc(
        self, admin: Caller, shared_login: int, route: str, written: str, told: str
    ) -> None:
        answer = admin.booked(route, login=shared_login, effectiveAt=written, **ROUTES[route])
        assert answer["effectiveAt"] == told

    @pytest.mark.parametrize(
        ("written", "code"),
        [
            ("2026-01-05T10:30:00", "wrong_type"),
            ("2026-01-05", "wrong_type"),
            ("yesterday", "wrong_type"),
            (1767609000, "wrong_type"),
            ("0001-01-01T00:00:00Z", "bad_effective_time"),
            ("9999-12-31T23:59:59-12:00", "bad_effective_time"),
        ],
    )
    def test_an_instant_without_a_zone_or_outside_of_any_books_is_refused(
        self, admin: Caller, shared_login: int, route: str, written: object, code: str
    ) -> None:
        refused = admin.book(route, login=shared_login, effectiveAt=written, **ROUTES[route])
        assert (refused.said, refused["field"]) == ((400, code), "effectiveAt")

    @pytest.mark.parametrize(
        ("fields", "code", "field"),
        [
            ({"amout": 1}, "unknown_field", "amout"),
            ({"login": "1001"}, "wrong_type", "login"),
            ({"login": 0}, "wrong_type", "login"),
            ({"login": -1}, "wrong_type", "login"),
            ({"login": 1.0}, "wrong_type", "login"),
            ({"login": True}, "wrong_type", "login"),
            ({"login": None}, "wrong_type", "login"),
            ({"login": 2**53}, "wrong_type", "login"),
            ({"login": 424242}, "unknown_login", "login"),
        ],
    )
    def test_what_is_not_a_field_or_not_a_login_is_refused_by_name(
        self, admin: Caller, shared_login: int, route: str, fields: dict[str, Any], code: str, field: str
    ) -> None:
        refused = admin.book(route, **{"login": shared_login} | ROUTES[route] | fields)
        assert (refused.said, refused["field"]) == ((400, code), field)

    def test_a_missing_login_is_named(self, admin: Caller, route: str) -> None:
        refused = admin.book(route, **ROUTES[route])
        assert (refused.said, refused["field"]) == ((400, "missing_field"), "login")

    def test_only_dry_run_is_a_parameter(self, admin: Caller, shared_login: int, route: str) -> None:
        body = {"login": shared_login} | ROUTES[route]
        for query, code in [
            ("dryrun=true", "unknown_field"),
            ("dryRun=maybe", "wrong_type"),
            ("dryRun=true&dryRun=false", "repeated_field"),
        ]:
            assert admin.post(f"/balances/{route}?{query}", body, request_id=new_id()).said == (400, code)


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"comment": "x" * 513}, "wrong_type", "comment"),
        ({"reference": "x" * 129}, "wrong_type", "reference"),
        ({"metadata": [1]}, "wrong_type", "metadata"),
        ({"metadata": {"a": "x" * 5000}}, "metadata_too_large", "metadata"),
        ({"metadata": {"a": "\x00"}}, "bad_text", "metadata"),
        ({"metadata": {"\x00": 1}}, "bad_text", "metadata"),
        ({"comment": "a\x00b"}, "bad_text", "comment"),
        ({"reference": "\x00"}, "bad_text", "reference"),
        ({"method": "\x00"}, "bad_text", "method"),
    ],
)
def test_a_note_that_cannot_be_kept_is_refused(
    admin: Caller, shared_login: int, fields: dict[str, Any], code: str, field: str
) -> None:
    refused = admin.book("deposit", login=shared_login, amount=1, **fields)
    assert (refused.said, refused["field"]) == ((400, code), field)


def test_the_longest_note_is_kept_whole(admin: Caller) -> None:
    login = admin.open()
    note = {"comment": "Ä" * 512, "reference": "R" * 128, "method": "card"}
    admin.booked("deposit", login=login, amount=1, **note)
    [row] = admin.history(login=login)
    assert {name: row[name] for name in note} == note
