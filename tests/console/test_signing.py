"""Signing in and out: what the browser is told to keep, what other sites cannot send, and when it is over."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.api.served import BOUND_S, number
from tests.service import free_port, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.api.served import Caller, Served
    from tests.console.visitor import Visitor


def cookies(answer: httpx.Response) -> list[str]:
    return answer.headers.get_list("set-cookie")


def signed_in_before_its_key_expires(
    served: Served, arrive: Callable[..., Visitor], seconds: int = 3
) -> tuple[Visitor, datetime]:
    """Sign in with a key that soon expires; with one that lives longer where that took too long."""
    visitor, expires = arrive(), datetime.now(UTC) + timedelta(seconds=seconds)
    page = visitor.sign_in(served.key("manager", "--expires", expires.isoformat()))
    if page.status != 200:
        assert datetime.now(UTC) >= expires, page.text
        return signed_in_before_its_key_expires(served, arrive, seconds * 2)
    return visitor, expires


@pytest.fixture
def stranger(arrive: Callable[..., Visitor]) -> Visitor:
    """Give someone who has not signed in."""
    return arrive()


class TestSignIn:
    def test_a_key_opens_the_first_place_that_it_may_see(
        self, served: Served, admin: Caller, arrive: Callable[..., Visitor]
    ) -> None:
        for role, path in (
            ("manager", "/console/accounts"),
            ("user", "/console/accounts"),
            ("feed", "/console"),
        ):
            options = ("--logins", str(admin.open())) if role == "user" else ()
            page = arrive().sign_in(served.key(role, *options))
            assert (page.status, page.path) == (200, path), role

    def test_a_key_that_may_see_nothing_is_told_what_it_may_do(
        self, served: Served, stranger: Visitor
    ) -> None:
        page = stranger.sign_in(served.key("feed"))
        assert "Nothing to see with this key" in page.text
        assert "feed:write" in page.text

    def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(
        self, served: Served, stranger: Visitor
    ) -> None:
        page = stranger.get("/sign-in")
        key = served.key("manager")
        answer = stranger.http.post(
            stranger.url + "/sign-in",
            data=page.form("/sign-in").fields | {"key": key},
            follow_redirects=False,
        )
        assert answer.status_code == 303
        [cookie] = cookies(answer)
        said = {part.strip().split("=")[0].lower(): part for part in cookie.split(";")}
        assert {"httponly", "samesite", "max-age", "path"} <= said.keys()
        assert said["samesite"].lower().endswith("=strict")
        assert said["path"].endswith("/console")
        assert "secure" not in said
        assert key not in answer.text + str(answer.headers)
        assert key.split("_", 2)[2] not in str(answer.headers)

    def test_the_cookie_stays_on_https_when_it_came_by_https(self, served: Served, stranger: Visitor) -> None:
        through_a_proxy = {"x-forwarded-proto": "https"}
        answer = stranger.http.get(stranger.url + "/sign-in", headers=through_a_proxy)
        assert all("; secure" in cookie.lower() for cookie in cookies(answer))
        assert not any(
            "; secure" in cookie.lower() for cookie in cookies(stranger.http.get(stranger.url + "/sign-in"))
        )

    @pytest.mark.parametrize(
        ("key", "code"),
        [
            ("", "key_malformed"),
            ("nonsense", "key_malformed"),
            ("fl_0123456789abcdef_" + "s" * 43 + "00000000", "key_malformed"),
        ],
    )
    def test_what_is_no_key_is_refused_and_the_form_stays(
        self, stranger: Visitor, key: str, code: str
    ) -> None:
        page = stranger.sign_in(key, "Ann")
        assert page.status == 401
        assert code in page.text
        assert "copy it whole" in page.text
        assert page.form("/sign-in").fields["operator"] == "Ann"
        assert key == "" or key not in page.html

    def test_a_dead_key_is_refused_and_kept_among_the_refused_attempts(
        self, served: Served, admin: Caller, stranger: Visitor
    ) -> None:
        key = served.key("manager")
        key_id = key.split("_")[1]
        served.command("keys", "revoke", key_id)
        assert "key_revoked" in stranger.sign_in(key).text

        def kept() -> bool:
            found = admin.get("/audit/refusals", limit=1000)["refusals"]
            return ("key_revoked", "/console/sign-in", key_id) in [
                (one["code"], one["route"], one["keyId"]) for one in found
            ]

        within(BOUND_S, kept)

    def test_an_operator_that_cannot_be_recorded_is_refused(self, served: Served, stranger: Visitor) -> None:
        page = stranger.sign_in(served.key(), "x" * 129)
        assert (page.status, "bad_operator_id" in page.text) == (400, True)

    def test_whoever_was_sent_to_sign_in_comes_back_to_where_they_were_going(
        self, served: Served, stranger: Visitor
    ) -> None:
        page = stranger.get("/history", {"kind": "deposit", "limit": "10"})
        assert page.path == "/console/sign-in"
        assert "Sign in to go on" in page.text
        back = stranger.send(page.form("/sign-in"), key=served.key())
        assert str(back.answer.url).endswith("/console/history?kind=deposit&limit=10")

    @pytest.mark.parametrize(
        "target",
        ["https://evil.example/", "//evil.example", "/console/\\evil.example", "/accounts", "javascript:1"],
    )
    def test_nobody_is_sent_to_another_site(self, served: Served, stranger: Visitor, target: str) -> None:
        page = stranger.sign_in(served.key(), next=target)
        assert page.path == "/console/accounts"
        assert str(page.answer.url).startswith(served.url)

    def test_a_form_that_another_site_made_signs_nobody_in(
        self, served: Served, stranger: Visitor, arrive: Callable[..., Visitor]
    ) -> None:
        key = served.key()
        for token in ("", "made-up", arrive().get("/sign-in").form("/sign-in").fields["token"]):
            stranger.get("/sign-in")
            page = stranger.send(stranger.get("/sign-in").form("/sign-in"), key=key, token=token)
            assert (page.status, "form_token_wrong" in page.text) == (400, True)
            assert [name for name in stranger.http.cookies if not name.endswith("_visit")] == []

    def test_a_key_in_an_address_is_told_to_be_lost(self, served: Served, stranger: Visitor) -> None:
        key = served.key()
        page = stranger.get("/sign-in", {"why": key})
        assert "key_misplaced" in page.text
        assert key not in page.html


class TestForms:
    def test_no_form_without_its_token_does_anything(self, manager: Visitor, admin: Caller) -> None:
        login = admin.open()
        form = manager.get("/post/deposit").form("/post/deposit")
        other = manager.get("/sign-in").form("/sign-in").fields["token"]
        for token in ("", "made-up", other):
            for step in ("preview", "book"):
                page = manager.send(form, login=str(login), amount="5", step=step, token=token)
                assert (page.status, "form_token_wrong" in page.text) == (403, True)
            assert manager.send(manager.get("/accounts").form("/sign-out"), token=token).status == 403
        assert admin.held(login)[0] == number("0.00")
        assert manager.get("/accounts").path == "/console/accounts"

    def test_a_token_of_another_session_is_worth_nothing(
        self, manager: Visitor, visit: Callable[..., Visitor], admin: Caller
    ) -> None:
        login = admin.open()
        other = visit("manager").get("/post/deposit").form("/post/deposit").fields["token"]
        form = manager.get("/post/deposit").form("/post/deposit")
        page = manager.send(form, login=str(login), amount="5", step="book", token=other)
        assert (page.status, admin.held(login)[0]) == (403, number("0.00"))

    def test_every_form_that_does_something_carries_a_token(self, manager: Visitor) -> None:
        for path in ("/accounts", "/history", "/days", "/restatements", "/post/deposit", "/post/transfer"):
            posts = [form for form in manager.get(path).forms if form.method == "post"]
            assert posts, path
            assert all(form.fields["token"] for form in posts), path


class TestTheEnd:
    def test_signing_out_ends_the_session_for_good(self, visit: Callable[..., Visitor]) -> None:
        visitor = visit("manager")
        session = visitor.http.cookies[visitor.cookie]
        page = visitor.send(visitor.get("/accounts").form("/sign-out"))
        assert (page.path, "You have signed out" in page.text) == ("/console/sign-in", True)
        visitor.http.cookies.set("fundledger_main", session, domain="127.0.0.1", path="/console")
        assert visitor.get("/accounts").path == "/console/sign-in"

    def test_a_session_dies_with_its_key_within_a_second(
        self, served: Served, visit: Callable[..., Visitor]
    ) -> None:
        key = served.key("manager")
        visitor = visit(key=key)
        served.command("keys", "revoke", key.split("_")[1])
        known_by = time.monotonic() + 1
        while time.monotonic() < known_by:
            visitor.get("/accounts")
        assert visitor.get("/accounts").path == "/console/sign-in"

    def test_whoever_loses_a_session_to_a_dead_key_is_told_why(
        self, served: Served, visit: Callable[..., Visitor]
    ) -> None:
        key = served.key("manager")
        visitor = visit(key=key)
        served.command("keys", "revoke", key.split("_")[1])
        pages = []

        def gone() -> bool:
            pages.append(visitor.get("/accounts"))
            return pages[-1].path == "/console/sign-in"

        within(BOUND_S, gone)
        assert "was revoked" in pages[-1].text

    def test_a_session_dies_when_its_key_expires(
        self, served: Served, arrive: Callable[..., Visitor]
    ) -> None:
        visitor, expires = signed_in_before_its_key_expires(served, arrive)
        within(BOUND_S, lambda: visitor.get("/accounts").path == "/console/sign-in")
        assert datetime.now(UTC) >= expires

    def test_an_unknown_session_goes_to_sign_in_books_nothing_and_comes_back_to_the_form(
        self, served: Served, visit: Callable[..., Visitor], admin: Caller
    ) -> None:
        visitor, login = visit("manager"), admin.open()
        form = visitor.get("/post/deposit").form("/post/deposit")
        visitor.http.cookies.set("fundledger_main", "x" * 43, domain="127.0.0.1", path="/console")
        page = visitor.send(form, login=str(login), amount="5", step="book")
        assert page.path == "/console/sign-in"
        assert admin.held(login)[0] == number("0.00")
        assert visitor.send(page.form("/sign-in"), key=served.key()).path == "/console/post/deposit"

    def test_after_a_restart_one_signs_in_again(
        self, another_service: Callable[..., Served], arrive: Callable[..., Visitor]
    ) -> None:
        where = ("--port", str(free_port()))
        first = another_service(*where)
        visitor = arrive(first)
        assert visitor.sign_in(first.key()).path == "/console/accounts"
        assert first.stop() == 0
        second = another_service(*where)
        page = visitor.get("/history", {"kind": "deposit"})
        assert page.path == "/console/sign-in"
        assert "when the service starts anew" in page.text
        assert visitor.send(page.form("/sign-in"), key=second.key()).path == "/console/history"

    def test_in_the_background_a_browser_is_told_where_to_sign_in(self, stranger: Visitor) -> None:
        answer = stranger.http.get(stranger.url + "/accounts", headers={"hx-request": "true"})
        assert answer.status_code == 401
        to = httpx.URL(answer.headers["hx-redirect"])
        assert (to.path, to.params["why"]) == ("/console/sign-in", "session_missing")


class TestElsewhere:
    def test_two_ledgers_of_one_machine_do_not_sign_each_other_out(
        self, served: Served, manager: Visitor
    ) -> None:
        assert manager.cookie == f"fundledger_{served.ledger.name}"

    def test_the_console_lies_below_the_base_path(
        self, another_service: Callable[..., Served], arrive: Callable[..., Visitor]
    ) -> None:
        service = another_service("--base-path", "/mt4/manager")
        visitor = arrive(service)
        page = visitor.sign_in(service.key())
        assert (page.status, page.path) == (200, "/mt4/manager/console/accounts")
        assert all(link.startswith(("/mt4/manager/console", "#")) for link in page.links)
        outside = visitor.http.get(f"{visitor.url.removesuffix('/mt4/manager/console')}/console")
        assert outside.status_code == 404
