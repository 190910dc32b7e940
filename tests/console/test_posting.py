"""Posting by forms: a preview books nothing, a booking happens once, refusals stand beside the form."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.served import BOUND_S, number
from tests.service import within

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.api.served import Caller, Served
    from tests.console.visitor import Form, Page, Visitor


@pytest.fixture
def login(admin: Caller) -> int:
    return admin.open(balance="100.00")


def opened(visitor: Visitor, kind: str, **query: Any) -> Form:
    return visitor.get(f"/post/{kind}", query).form(f"/post/{kind}")


def previewed(visitor: Visitor, kind: str, **fields: Any) -> Page:
    filled = {name.rstrip("_"): str(value) for name, value in fields.items()}
    return visitor.send(opened(visitor, kind), step="preview", **filled)


def booked(visitor: Visitor, kind: str, **fields: Any) -> Page:
    """Fill a form in, look at its preview, and book it."""
    preview = previewed(visitor, kind, **fields)
    assert preview.status == 200, preview.text
    return visitor.send(preview.form(f"/post/{kind}"), step="book")


class TestPreview:
    def test_shows_before_change_and_after_and_books_nothing(
        self, manager: Visitor, admin: Caller, login: int, served: Served
    ) -> None:
        before = served.last_position
        page = previewed(manager, "withdraw", login=login, amount="12.50", comment="at the desk")
        assert "Preview: nothing is booked yet" in page.text
        assert page.rows[1:] == [
            [f"{login} standard", "balance", "100.00", "-12.50", "87.50 USD"],
            ["", "credit", "0.00", "0.00", "0.00 USD"],
        ]
        assert "at the desk" in page.text
        assert (served.last_position, admin.held(login)[0]) == (before, number("100.00"))

    def test_has_the_digits_of_the_currency(self, manager: Visitor, admin: Caller) -> None:
        for group, amount, after in (("yen", "150", "150 JPY"), ("dinar", "1.5", "1.500 KWD")):
            page = previewed(manager, "deposit", login=admin.open(group), amount=amount)
            assert page.rows[1][-1] == after

    def test_can_be_changed_with_all_that_was_filled_in(self, manager: Visitor, login: int) -> None:
        preview = previewed(manager, "deposit", login=login, amount="5", comment="a note", reference="r-1")
        form = preview.form("/post/deposit")
        again = manager.send(form, step="edit").form("/post/deposit")
        assert again.fields | {"method": "", "effectiveAt": ""} == again.fields
        assert again.fields["comment"] == "a note"
        assert again.fields["requestId"] == form.fields["requestId"]

    def test_tells_of_a_disabled_account(self, manager: Visitor, admin: Caller) -> None:
        page = previewed(manager, "deposit", login=admin.open(disabled=True), amount="5")
        assert "account disabled" in page.text


class TestBooking:
    @pytest.mark.parametrize(
        ("kind", "fields", "balance", "credit"),
        [
            ("deposit", {"amount": "50.25", "method": "card", "comment": "x"}, "150.25", "0.00"),
            ("withdraw", {"amount": "100"}, "0.00", "0.00"),
            ("credit", {"amount": "20"}, "100.00", "20.00"),
            ("correction", {"balance": "-30", "credit": "5", "reason": "mistyped"}, "70.00", "5.00"),
        ],
    )
    def test_books_what_was_previewed(
        self,
        manager: Visitor,
        admin: Caller,
        login: int,
        kind: str,
        fields: dict[str, str],
        balance: str,
        credit: str,
    ) -> None:
        page = booked(manager, kind, login=login, **fields)
        assert re.fullmatch(r"/console/operations/bal_\d+", page.path)
        assert "Booked." in page.text
        assert admin.held(login) == (number(balance), number(credit))
        row = admin.history(login=login)[-1]
        assert row["operatorId"] == "Ann"
        assert row["comment"] == fields.get("reason", fields.get("comment"))
        assert row["requestId"].startswith("console-")

    def test_a_transfer_moves_both_accounts(self, manager: Visitor, admin: Caller, login: int) -> None:
        other = admin.open()
        booked(manager, "transfer", from_=login, to=other, amount="40")
        assert (admin.held(login)[0], admin.held(other)[0]) == (number("60.00"), number("40.00"))

    def test_a_reversal_undoes_an_operation_from_its_page(
        self, manager: Visitor, admin: Caller, login: int
    ) -> None:
        operation = admin.history(login=login)[0]["operationId"]
        links = manager.get(f"/operations/{operation}").links
        [link] = [link for link in links if "/post/reverse" in link]
        form = manager.get(link.removeprefix("/console")).form("/post/reverse")
        assert form.fields["operationId"] == operation
        preview = manager.send(form, reason="charged back", step="preview")
        page = manager.send(preview.form("/post/reverse"), step="book")
        assert "charged back" in page.text
        assert admin.held(login)[0] == number("0.00")
        assert "/post/reverse" not in str(manager.get(f"/operations/{operation}").links)

    def test_times_are_those_of_the_server(self, manager: Visitor, admin: Caller, login: int) -> None:
        admin.put(
            "/server",
            {"timezone": "Europe/Athens", "dayEnd": "00:00", "overnightDays": "all", "bookCurrency": "USD"},
        )
        page = booked(manager, "deposit", login=login, amount="1", effectiveAt="2025-07-01T12:30")
        assert "2025-07-01 12:30:00 +03:00" in page.text
        assert admin.history(login=login)[-1]["effectiveAt"] == "2025-07-01T09:30:00Z"
        page = booked(manager, "credit", login=login, amount="1", expiresAt="2099-01-01T00:00:00")
        assert "2099-01-01 00:00:00 +02:00" in page.text


class TestOnce:
    def test_a_form_that_is_sent_twice_books_once_and_shows_the_operation_twice(
        self, manager: Visitor, admin: Caller, login: int
    ) -> None:
        form = previewed(manager, "deposit", login=login, amount="5").form("/post/deposit")
        pages = [manager.send(form, step="book") for _ in range(3)]
        assert len({page.path for page in pages}) == 1
        assert "/operations/bal_" in pages[0].path
        assert admin.held(login)[0] == number("105.00")

    def test_a_form_that_is_sent_by_many_clicks_at_once_books_once(
        self, manager: Visitor, admin: Caller, login: int, visit: Callable[..., Visitor]
    ) -> None:
        form = previewed(manager, "deposit", login=login, amount="5").form("/post/deposit")

        def click(_: int) -> httpx.Response:
            return manager.http.post(
                manager.url + "/post/deposit", data=form.fields | {"step": "book"}, follow_redirects=False
            )

        with ThreadPoolExecutor(8) as clicks:
            answers = list(clicks.map(click, range(16)))
        assert {answer.status_code for answer in answers} == {303}
        assert len({answer.headers["location"] for answer in answers}) == 1
        assert admin.held(login)[0] == number("105.00")

    def test_each_form_that_is_opened_has_an_id_of_its_own(self, manager: Visitor) -> None:
        ids = {opened(manager, "deposit", requestId="chosen").fields["requestId"] for _ in range(5)}
        assert len(ids) == 5
        assert all(re.fullmatch(r"console-[0-9a-f]{32}", one) for one in ids)

    def test_a_form_that_booked_cannot_book_something_else(
        self, manager: Visitor, admin: Caller, login: int
    ) -> None:
        form = previewed(manager, "deposit", login=login, amount="5").form("/post/deposit")
        first = manager.send(form, step="book")
        page = manager.send(form, amount="6", step="book")
        assert (page.status, "request_id_reused" in page.text) == (400, True)
        assert first.path in page.links
        assert admin.held(login)[0] == number("105.00")

    def test_a_payment_that_was_booked_before_is_shown_and_not_booked_again(
        self, manager: Visitor, admin: Caller, login: int
    ) -> None:
        payment = {"login": login, "amount": "5", "method": "card", "reference": f"psp-{login}"}
        first = booked(manager, "deposit", **payment)
        page = previewed(manager, "deposit", **payment)
        assert (page.status, "reference_applied" in page.text) == (409, True)
        assert first.path in page.links
        assert admin.held(login)[0] == number("105.00")

    def test_a_preview_of_what_was_booked_leads_to_it(self, manager: Visitor, login: int) -> None:
        form = opened(manager, "deposit")
        filled = {"login": str(login), "amount": "5"}
        first = manager.send(form, step="book", **filled)
        assert manager.send(form, step="preview", **filled).path == first.path


class TestRefusals:
    @pytest.mark.parametrize(
        ("kind", "fields", "status", "code"),
        [
            ("withdraw", {"amount": "100.01"}, 400, "not_enough_money"),
            ("deposit", {"amount": "1.005"}, 400, "too_many_decimals"),
            ("deposit", {"amount": "1e3"}, 400, "bad_amount"),
            ("deposit", {"amount": "0"}, 400, "amount_zero"),
            ("deposit", {"amount": "-5"}, 400, "amount_not_positive"),
            ("deposit", {"amount": ""}, 400, "missing_field"),
            ("deposit", {"amount": "5", "login": "4711"}, 400, "unknown_login"),
            ("deposit", {"amount": "5", "login": "x"}, 400, "wrong_type"),
            ("deposit", {"amount": "5", "effectiveAt": "yesterday"}, 400, "wrong_type"),
            ("deposit", {"amount": "5", "effectiveAt": "2025-07-01T12:30Z"}, 400, "wrong_type"),
            ("deposit", {"amount": "5", "effectiveAt": "2199-07-01T12:30"}, 400, "bad_effective_time"),
            ("deposit", {"amount": "5", "comment": "x" * 513}, 400, "wrong_type"),
            ("deposit", {"amount": "5", "colour": "red"}, 400, "unknown_field"),
            ("credit", {"amount": "-1"}, 400, "not_enough_credit"),
            ("correction", {"balance": "5"}, 400, "missing_field"),
            ("correction", {"balance": "5", "reason": "   "}, 400, "missing_field"),
            ("correction", {"reason": "x"}, 400, "missing_field"),
            ("correction", {"balance": "5", "reason": "x", "corrects": "4"}, 400, "wrong_type"),
        ],
    )
    @pytest.mark.parametrize("step", ["preview", "book"])
    def test_stand_beside_the_form_with_all_that_was_filled_in(
        self,
        manager: Visitor,
        admin: Caller,
        login: int,
        kind: str,
        fields: dict[str, str],
        status: int,
        code: str,
        step: str,
    ) -> None:
        filled = {"login": str(login)} | fields
        form = opened(manager, kind)
        page = manager.send(form, step=step, **filled)
        assert (page.status, code in page.text) == (status, True)
        kept = page.form(f"/post/{kind}").fields
        for name, value in filled.items():
            assert kept.get(name, value.strip()) == value.strip(), name
        assert kept["requestId"] == form.fields["requestId"]
        assert admin.held(login) == (number("100.00"), number("0.00"))

    def test_a_reversal_of_nothing_is_refused(self, manager: Visitor) -> None:
        refused = {"bal_999999": "unknown_operation", "first": "bad_operation_id", "": "bad_operation_id"}
        for operation, code in refused.items():
            page = previewed(manager, "reverse", operationId=operation, reason="x")
            assert code in page.text

    def test_are_kept_for_those_who_look_after_them(
        self, manager: Visitor, admin: Caller, login: int
    ) -> None:
        form = opened(manager, "withdraw")
        manager.send(form, step="book", login=str(login), amount="1000")

        def kept() -> bool:
            found = admin.get("/audit/refusals", limit=10_000)["refusals"]
            return any(
                (one["requestId"], one["operatorId"], one["code"], one["route"])
                == (form.fields["requestId"], "Ann", "not_enough_money", "/console/post/withdraw")
                for one in found
            )

        within(BOUND_S, kept)

    def test_a_request_id_that_is_none_is_refused(self, manager: Visitor, admin: Caller, login: int) -> None:
        form = opened(manager, "deposit")
        for request_id in ("", "with blank", "x" * 129):
            page = manager.send(form, step="book", login=str(login), amount="5", requestId=request_id)
            assert page.status == 400
        assert admin.held(login)[0] == number("100.00")

    def test_a_ledger_that_is_away_leaves_the_form_to_be_sent_again(
        self, manager: Visitor, admin: Caller, login: int, served: Served
    ) -> None:
        form = previewed(manager, "deposit", login=login, amount="5").form("/post/deposit")
        with served.ledger.gate_held():
            page = manager.send(form, step="book")
        assert page.status == 503
        assert "It is not known whether it was booked" in page.text
        again = page.form("/post/deposit")
        assert again.fields["requestId"] == form.fields["requestId"]
        assert "Booked." in manager.send(again, step="book").text
        assert admin.held(login)[0] == number("105.00")


class TestWhoMay:
    def test_forms_are_those_of_the_keys_scopes(
        self, visit: Callable[..., Visitor], manager: Visitor
    ) -> None:
        def forms(visitor: Visitor) -> set[str]:
            found = re.findall(r'href="/console/post/(\w+)"', visitor.get("/post").html)
            return {*found}

        every = {"deposit", "withdraw", "credit", "transfer", "correction", "reverse"}
        assert forms(manager) == every
        assert forms(visit("finance")) == every - {"correction", "reverse"}

    def test_a_key_without_scopes_sees_no_post_and_is_refused_when_it_posts(
        self, visit: Callable[..., Visitor], admin: Caller, login: int
    ) -> None:
        visitor = visit("reporting")
        for path in ("/accounts", "/history", f"/accounts/{login}"):
            page = visitor.get(path)
            assert "/post" not in " ".join(page.links), path
        token = visitor.get("/accounts").form("/sign-out").fields["token"]
        answer = visitor.http.post(
            visitor.url + "/post/deposit",
            data={"token": token, "login": str(login), "amount": "5", "requestId": "mine", "step": "book"},
        )
        assert (answer.status_code, "scope_missing" in answer.text) == (401, True)
        assert admin.held(login)[0] == number("100.00")

    def test_a_keys_limit_holds_here_too(
        self, visit: Callable[..., Visitor], admin: Caller, login: int
    ) -> None:
        page = previewed(visit("finance", "--max-amount", "10"), "deposit", login=login, amount="11")
        assert page.status == 403
        assert admin.held(login)[0] == number("100.00")
