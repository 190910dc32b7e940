"""A simulated ledger says so wherever someone looks: on every page, and on every sheet of a statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.served import Served, define_groups, serving
from tests.console.files import pdf_pages, pdf_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.api.served import Caller
    from tests.console.visitor import Visitor


@pytest.fixture(scope="module")
def served(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield a service whose clock was set going in the past."""
    log = tmp_path_factory.mktemp("simulated") / "log"
    with serving(database_url, log, "--simulate-from", "2026-03-02T08:00:00Z") as service:
        yield service


@pytest.fixture(scope="module")
def admin(served: Served) -> Caller:
    caller = served.caller()
    define_groups(caller)
    return caller


def test_every_page_says_that_the_ledger_is_simulated(
    visit: Callable[..., Visitor], arrive: Callable[..., Visitor], admin: Caller
) -> None:
    login = admin.open(balance="5.00")
    operation = admin.history(login=login)[0]["operationId"]
    visitor = visit("manager")
    pages = [
        *(
            "/accounts",
            f"/accounts/{login}",
            "/history",
            f"/operations/{operation}",
            "/days",
            "/restatements",
        ),
        *("/post/deposit", "/post/reverse", "/accounts/4711", "/nowhere", "/accounts?orderBy=nonsense"),
    ]
    for path in pages:
        page = visitor.get(path)
        assert "Simulated ledger." in page.text, path
        assert "2026-03-02 08:00:00 UTC" in page.text, path
    assert "Simulated ledger." in arrive().get("/sign-in").text
    assert "Simulated ledger." in visit("feed").get("").text


def test_days_are_those_of_the_simulated_clock(visit: Callable[..., Visitor], admin: Caller) -> None:
    admin.open(balance="5.00")
    assert "2026-03-02" in visit("manager").get("/days").text


def test_every_sheet_of_a_statement_says_so(visit: Callable[..., Visitor], admin: Caller) -> None:
    login = admin.open()
    for _ in range(60):
        admin.booked("deposit", login=login, amount=1)
    content = visit("manager").file(f"/accounts/{login}/statement.pdf").content
    pages = pdf_pages(content)
    assert len(pages) > 1
    assert all(any("SIMULATED LEDGER" in piece for piece in page) for page in pages)
    assert "no real money is in this statement" in pdf_text(content)


def test_a_real_ledger_does_not_say_so(
    another_service: Callable[..., Served], arrive: Callable[..., Visitor], served: Served
) -> None:
    served.command("ledgers", "create", "real")
    with serving(served.database_url, served.log.with_name("real"), ledger="real") as real:
        visitor = arrive(real)
        visitor.sign_in(real.key())
        assert "imulated" not in visitor.get("/accounts").text
