"""Who gets to which page, and what of accounts stands there: no more than the API would tell the same key.

The routes are those of the router: a new one is in here as soon as it is there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from api.console.app import ROUTES
from api.console.doorkeeper import OPEN
from api.console.exchange import HEADERS, UNKEPT
from api.scopes import SCOPES
from projections.accounts import PERSONAL
from tests.access.keychain import Wanted, make_keys
from tests.api.served import number
from tests.service import records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from tests.api.served import Caller, Served
    from tests.console.visitor import Page, Visitor


class Route(msgspec.Struct, frozen=True):
    """One method of one path of the console, and the scopes that it needs."""

    method: str
    path: str
    needed: tuple[str, ...] | None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def at(self, login: int = 999_999_999, operation: str = "bal_999999999") -> str:
        """Give the path with something in its places."""
        named = {"login:str": str(login), "operation_id:str": operation, "name:str": "console.css"}
        return re.sub(r"\{(.*?)\}", lambda place: named.get(place[1], "x"), self.path).rstrip("/")


def routes() -> Iterator[Route]:
    for handler in ROUTES:
        for method in sorted(handler.http_methods - {"OPTIONS"}):
            [path] = handler.paths
            yield Route(str(method), path, handler.opt["console"])


ALL = list(routes())
GUARDED = [route for route in ALL if route.needed is not OPEN]
PLAIN = [route for route in GUARDED if route.path not in {"/sign-out", "/post"}]
"""Those of which the option says it all: of the others, one would sign everybody out."""

NEEDED = {scope for route in GUARDED for scope in route.needed or ()}
TRIED = [*sorted(NEEDED), "users:pii", "audit:read", "keys:read"]
"""The scopes that routes need, and some that they do not."""


def asked(visitor: Visitor, route: Route, **places: Any) -> httpx.Response:
    return visitor.http.request(route.method, visitor.url + route.at(**places), follow_redirects=False)


def of_key(arrive: Callable[..., Visitor], key: str) -> Visitor:
    visitor = arrive()
    assert visitor.sign_in(key).status == 200
    return visitor


@pytest.fixture(scope="module")
def of_scopes(
    admin: Caller, database_url: str, arrive: Callable[..., Visitor]
) -> dict[tuple[str, bool], Visitor]:
    """Give for each scope someone who has it alone, and someone who has all but it."""
    wanted = {(scope, True): Wanted(scopes=(scope,)) for scope in TRIED} | {
        (scope, False): Wanted(scopes=tuple(other for other in SCOPES if other != scope)) for scope in TRIED
    }
    keys = make_keys(database_url, *wanted.values())
    return {name: of_key(arrive, key) for name, key in zip(wanted, keys, strict=True)}


class TestEveryRoute:
    def test_only_signing_in_and_what_pages_are_made_of_is_open(self) -> None:
        assert {str(route) for route in ALL if route.needed is OPEN} == {
            "GET /sign-in",
            "POST /sign-in",
            "GET /assets/{name:str}",
        }

    def test_only_the_frame_is_there_for_any_key(self) -> None:
        assert {str(route) for route in GUARDED if route.needed == ()} == {
            "GET /",
            "POST /sign-out",
            "GET /post",
            "GET /{rest:path}",
        }

    @pytest.mark.parametrize("route", PLAIN, ids=str)
    def test_lets_in_the_keys_with_its_scopes_and_no_other(
        self, of_scopes: dict[tuple[str, bool], Visitor], route: Route
    ) -> None:
        assert route.needed is not None
        for (scope, alone), visitor in of_scopes.items():
            has = {scope} if alone else {*SCOPES} - {scope}
            answer = asked(visitor, route)
            refused = answer.status_code == 401 and "scope_missing" in answer.text
            assert refused == (not has.issuperset(route.needed)), (scope, alone)

    def test_who_has_no_scope_to_post_is_told_so(self, of_scopes: dict[tuple[str, bool], Visitor]) -> None:
        for (scope, alone), visitor in of_scopes.items():
            may = not alone or scope in {
                *("funding:deposit", "funding:withdraw", "funding:credit"),
                *("funding:transfer", "funding:correct"),
            }
            answer = visitor.http.get(visitor.url + "/post", follow_redirects=False)
            assert answer.status_code == (303 if may else 401), scope

    @pytest.mark.parametrize("route", GUARDED, ids=str)
    def test_sends_whoever_has_not_signed_in_to_do_so(
        self, arrive: Callable[..., Visitor], route: Route
    ) -> None:
        answer = asked(arrive(), route)
        assert answer.status_code == 303
        assert answer.headers["location"].startswith("/console/sign-in?why=session_missing")

    @pytest.mark.parametrize("route", ALL, ids=str)
    def test_has_the_headers_that_keep_a_page_to_itself(
        self, visit: Callable[..., Visitor], arrive: Callable[..., Visitor], route: Route, admin: Caller
    ) -> None:
        login = admin.open(balance="1.00")
        operation = admin.history(login=login)[0]["operationId"]
        for visitor in (visit("manager"), arrive()):
            answer = asked(visitor, route, login=login, operation=operation)
            headers = HEADERS if "/assets/" in route.path else UNKEPT
            assert {name: answer.headers[name] for name in headers} == headers
            assert "unsafe" not in answer.headers["content-security-policy"]

    def test_the_places_that_are_shown_are_those_that_can_be_gone_to(
        self, of_scopes: dict[tuple[str, bool], Visitor]
    ) -> None:
        for (scope, alone), visitor in of_scopes.items():
            page = visitor.get("")
            places = re.search(r'<nav aria-label="Places">(.*?)</nav>', page.html, re.DOTALL)
            for link in re.findall(r'href="/console(/[^"]*)"', places[1] if places else ""):
                assert visitor.get(link).status == 200, (scope, alone, link)


PERSON = {name: f"zebra-{name}" for name in PERSONAL}


@pytest.fixture(scope="module")
def vip(admin: Caller) -> int:
    """Open an account that others must not see."""
    opened = admin.post("/users", {"group": "vip", **PERSON})
    assert opened.status == 201, opened.text
    admin.booked("deposit", login=opened["login"], amount=number("515151.37"), comment="zebra-note")
    return int(opened["login"])


@pytest.fixture(scope="module")
def plain(admin: Caller) -> int:
    """Open an account that they may see."""
    return admin.open(balance="10.00")


class TestWhatIsSeen:
    def pages(self, visitor: Visitor, login: int) -> dict[str, Page]:
        paths = (
            *("/accounts", "/accounts.csv", f"/accounts/{login}", f"/accounts/{login}/chart"),
            *("/history", "/history?totals=true", f"/history?login={login}", "/history.csv", "/days"),
            *(f"/history.csv?login={login}", "/restatements", f"/accounts/{login}/statement.pdf"),
            "/accounts?columns=login,group,balance&field1=balance&op1=%3D&value1=515151.37",
        )
        return {path: visitor.get(path) for path in paths}

    @pytest.mark.parametrize("limit", ["--groups=standard", "--logins={plain}"])
    def test_a_key_sees_the_accounts_that_it_reaches_and_no_other(
        self, visit: Callable[..., Visitor], admin: Caller, vip: int, plain: int, limit: str
    ) -> None:
        visitor = visit("manager", *limit.format(plain=plain).split("="))
        operation = admin.history(login=vip)[0]["operationId"]
        pages = self.pages(visitor, vip) | {"operation": visitor.get(f"/operations/{operation}")}
        for path, page in pages.items():
            for secret in ("515151.37", "zebra", "51515137", "vip"):
                assert secret not in page.text, (path, secret)
        assert pages[f"/accounts/{vip}"].status == 403
        assert pages["operation"].status == 403
        assert str(plain) in pages["/accounts"].text

    def test_who_looks_beyond_a_keys_reach_stands_in_the_log(
        self, visit: Callable[..., Visitor], served: Served, vip: int
    ) -> None:
        visitor = visit("manager", "--groups", "standard", operator="Bea")
        assert visitor.get(f"/accounts/{vip}").status == 403
        [line] = [line for line in records(served.logged) if line.get("operator_id") == "Bea"]
        assert (line["event"], line["status"], line["code"]) == ("refused", 403, "outside_mask")
        assert line["key_id"]

    def test_a_key_posts_to_the_accounts_that_it_reaches_and_no_other(
        self, visit: Callable[..., Visitor], admin: Caller, vip: int
    ) -> None:
        visitor = visit("manager", "--groups", "standard")
        form = visitor.get("/post/deposit").form("/post/deposit")
        for step in ("preview", "book"):
            page = visitor.send(form, login=str(vip), amount="1", step=step)
            assert (page.status, "outside_mask" in page.text) == (403, True)
            assert "515152" not in page.html
        assert admin.held(vip)[0] == number("515151.37")

    def test_without_its_scope_nothing_personal_stands_anywhere(
        self, visit: Callable[..., Visitor], vip: int
    ) -> None:
        dealer, manager = visit("dealer"), visit("manager")
        for path, page in self.pages(dealer, vip).items():
            for name in PERSONAL:
                assert PERSON[name] not in page.html, (path, name)
        columns = ",".join(PERSONAL)
        assert dealer.get("/accounts", {"columns": columns}).status == 401
        assert dealer.get("/accounts", {"field1": "name", "op1": "=", "value1": "zebra-name"}).status == 401
        shown = manager.get("/accounts", {"columns": f"login,{columns}", "limit": "200"}).html
        assert all(PERSON[name] in shown for name in PERSONAL)

    def test_the_columns_to_choose_from_are_those_that_the_key_may_see(
        self, visit: Callable[..., Visitor], manager: Visitor, plain: int
    ) -> None:
        for visitor, seen in ((visit("dealer"), False), (manager, True)):
            html = visitor.get("/accounts").html
            for name in PERSONAL:
                assert (f'name="columns" value="{name}"' in html) == seen, name

    def test_a_key_without_history_sees_an_account_without_it(
        self, visit: Callable[..., Visitor], plain: int
    ) -> None:
        page = visit("provisioning").get(f"/accounts/{plain}")
        assert page.status == 200
        assert "Withdrawable" in page.text
        assert "Statement" not in page.text
        assert "History" not in page.text

    def test_a_key_that_may_not_open_accounts_gets_no_links_to_them(
        self, database_url: str, arrive: Callable[..., Visitor], admin: Caller, plain: int
    ) -> None:
        [key] = make_keys(database_url, Wanted(scopes=("accounts:read", "history:read")))
        visitor = of_key(arrive, key)
        for path in ("/accounts", "/history"):
            page = visitor.get(path)
            assert str(plain) in page.text
            assert not [link for link in page.links if re.search(r"/accounts/\d", link)]

    def test_a_key_of_some_logins_is_shown_no_days(self, visit: Callable[..., Visitor], plain: int) -> None:
        visitor = visit("manager", "--logins", str(plain))
        assert "Days" not in visitor.get("/accounts").text
        page = visitor.get("/days")
        assert (page.status, "whole_groups_only" in page.text) == (403, True)

    def test_what_a_text_looks_like_it_is_not(self, manager: Visitor, admin: Caller) -> None:
        evil = '"><script>alert(1)</script>{{ 7*7 }}<img src=x onerror=alert(1)>'
        login = admin.post("/users", {"group": "standard", "name": evil, "comment": evil, "email": evil})[
            "login"
        ]
        booked = admin.booked(
            "deposit", login=login, amount=5, comment=evil, reference=evil[:100], method=evil[:60]
        )
        form = manager.get("/post/deposit").form("/post/deposit")
        pages = [
            manager.get(f"/accounts/{login}"),
            manager.get("/accounts", {"columns": "login,name,comment", "limit": "200"}),
            manager.get("/history"),
            manager.get("/history", {"reference": evil}),
            manager.get(f"/operations/{booked['operationId']}"),
            manager.get("/accounts", {"groupFilter": evil}),
            manager.get("/accounts", {"field1": "name", "op1": evil, "value1": evil}),
            manager.get("/sign-in", {"next": evil, "why": evil}),
            manager.get("/restatements", {"groupFilter": evil}),
            manager.get("/days", {"day": evil}),
            manager.get(f"/operations/{evil}"),
            manager.send(form, login=str(login), amount=evil, comment=evil),
            manager.send(form, login=str(login), amount="1", comment=evil, step="preview"),
        ]
        for page in pages:
            assert "<script>alert" not in page.html, page.path
            assert "<img" not in page.html, page.path
            assert "49" not in re.findall(r"script>(49)", page.html), page.path
        assert evil in pages[1].text
