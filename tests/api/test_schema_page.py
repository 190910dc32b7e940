"""The page at /schema in a real browser: whole without any outside host, with true examples."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser import BOUND_MS, chromium, needs_chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from tests.api.served import Served

HOST = "ledger.example"
"""Not localhost: there Swagger UI keeps still about its validator."""

pytestmark = needs_chromium


class Seen:
    """A page that was opened, what it asked for, and what it complained of."""

    def __init__(self, page: Page, site: str) -> None:
        self.page = page
        self.site = site
        self.asked: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("console", lambda message: self.said.append(message.text))
        page.goto(f"{site}/schema")

    def opened(self, route: str) -> Page:
        """Open an operation."""
        method, path = route.split()
        address = self.page.locator(f"[data-path='{path}']")
        block = self.page.locator(f".opblock-{method.lower()}", has=address)
        block.locator(".opblock-summary").click()
        expect(block.locator(".opblock-body")).to_be_visible()
        return self.page


@pytest.fixture
def seen(served: Served) -> Iterator[Seen]:
    port = urlsplit(served.url).port
    with chromium(f"--host-resolver-rules=MAP {HOST} 127.0.0.1") as browser:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        context.set_default_timeout(BOUND_MS)
        yield Seen(context.new_page(), f"http://{HOST}:{port}")
        context.close()


def test_it_shows_every_operation_and_a_true_example_and_asks_nobody_else(seen: Seen, served: Served) -> None:
    described = served.http.get(f"{served.url}/schema/openapi.json").json()["paths"]
    expect(seen.page.locator(".opblock")).to_have_count(sum(len(item) for item in described.values()))
    page = seen.opened("POST /balances/deposit")
    body = page.locator(".opblock-section-request-body")
    body.get_by_role("combobox").last.select_option("a card payment")
    expect(body).to_contain_text("psp-77")
    expect(page.locator(".responses-table").first).to_contain_text("newBalance")
    assert [url for url in seen.asked if not url.startswith(seen.site)] == []
    assert seen.said == []
