"""The console in a real browser: what is seen at two widths in light and dark, and what hands do to it.

Everything that a page asks for is recorded: nothing may come from an outside host, and the content security
policy may have nothing to complain about.
"""

from __future__ import annotations

import io
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from projections.accounts import STRUCTURE
from tests.api.served import BOUND_S, Served, number, serving
from tests.browser import BOUND_MS, chromium, needs_chromium, settle
from tests.console.broker import NAME, Broker, live
from tests.drive import LedgerUnderTest
from tests.service import within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext, Page, Route

    from tests.api.served import Caller

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def broker(database_url: str) -> Broker:
    return live(LedgerUnderTest(database_url, "main"))


@pytest.fixture(scope="module")
def served(broker: Broker, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Yield a service on the broker's ledger."""
    with serving(database_url, tmp_path_factory.mktemp("browser") / "log") as service:
        yield service


@pytest.fixture(scope="module")
def api(served: Served) -> Caller:
    return served.caller()


@pytest.fixture(scope="module")
def browser(served: Served, api: Caller) -> Iterator[Browser]:
    """Yield a browser. From here on an event loop runs in this thread: see `aside`."""
    with chromium() as browser:
        yield browser


def aside(call: Callable[..., str], *words: str) -> str:
    """Call what needs an event loop of its own in another thread: the browser's runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call, *words).result()


class Hand:
    """Someone at a browser window. At its end nothing may have gone wrong in it, nor left the house."""

    def __init__(self, browser: Browser, served: Served, **window: Any) -> None:
        self.served = served
        self.context: BrowserContext = browser.new_context(base_url=served.url, **window)
        self.context.set_default_timeout(BOUND_MS)
        self.asked: list[str] = []
        self.said: list[str] = []
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.context.on("console", self._heard)
        self.context.on("weberror", lambda error: self.said.append(str(error.error)))
        self.page: Page = self.context.new_page()

    def sign_in(self, key: str, operator: str = "Ann") -> Page:
        self.page.goto("/console/sign-in")
        self.page.get_by_label("Key", exact=True).fill(key)
        self.page.get_by_label("Your name or operator id").fill(operator)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("button", name="Sign out")).to_be_visible()
        return self.page

    def see(self, path: str) -> Page:
        self.page.goto(f"/console{path}")
        return self.page

    def leave(self) -> None:
        self.context.close()
        assert [url for url in self.asked if not url.startswith((self.served.url, "blob:"))] == []
        assert [words for words in self.said if "status of 4" not in words] == []

    def _heard(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.said.append(message.text)


@pytest.fixture
def sit(browser: Browser, served: Served) -> Iterator[Callable[..., Hand]]:
    """Give a way to sit down at a new browser window."""
    hands: list[Hand] = []

    def seated(width: int = 1280, **window: Any) -> Hand:
        hands.append(Hand(browser, served, viewport={"width": width, "height": 900}, **window))
        return hands[-1]

    yield seated
    for hand in hands:
        hand.leave()


@pytest.fixture(scope="module")
def ann_key(served: Served) -> str:
    return aside(served.key, "manager")


@pytest.fixture
def ann(sit: Callable[..., Hand], ann_key: str) -> Hand:
    hand = sit()
    hand.sign_in(ann_key)
    return hand


OVERFLOWS = """() => {
  const scrolls = (element) => {
    for (let at = element; at && at !== document.body; at = at.parentElement)
      if (["auto", "scroll", "hidden", "clip"].includes(getComputedStyle(at).overflowX)) return true;
    return false;
  };
  const width = document.documentElement.clientWidth;
  return [...document.body.querySelectorAll("*")]
    .filter((element) => {
      const box = element.getBoundingClientRect();
      return box.width > 1 && box.right > width + 1 && !scrolls(element);
    })
    .map((element) => element.outerHTML.slice(0, 120));
}"""
"""Names what stands out of the window to the right and cannot be scrolled to within a part of the page."""


def look(page: Page, *texts: str) -> Image.Image:
    """Look at a page: the texts are there, nothing is cut off, and something is drawn. Give the picture."""
    for text in texts:
        expect(page.locator("body")).to_contain_text(text)
    settle(page)
    assert page.evaluate(OVERFLOWS) == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    picture = Image.open(io.BytesIO(page.screenshot()))
    colours = picture.convert("RGB").getcolors(maxcolors=1 << 24)
    assert colours is not None
    assert len(colours) > 50, "the picture is blank"
    assert max(count for count, _ in colours) < 0.98 * picture.width * picture.height, (
        "hardly anything is drawn"
    )
    return picture


def brightness(picture: Image.Image) -> float:
    """Give how bright a picture is, from 0 to 255."""
    grey = picture.convert("L").resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(grey, int)
    return grey


PAGES = {
    "accounts": ("/accounts", ["1179.50", NAME, "USD, 2 accounts"]),
    "many columns": (f"/accounts?columns={','.join(STRUCTURE)}", ["1179.50"]),
    "account": (
        "/accounts/1001?fromDay=2025-03-01&toDay=2025-04-30",
        ["Withdrawable", "Balance over time", "Closing"],
    ),
    "history": (
        "/history?toDay=2025-04-30&totals=true",
        ["wire found in suspense", "Totals of all that match"],
    ),
    "operation": ("/operations/{late}", ["carla", "request-late", "leaf hash"]),
    "day": ("/days?day=2025-03-10", ["Opening + movements = closing", "withdrawal", "closed"]),
    "booked later": ("/restatements?day=2025-03-05", ["carla", "wire found in suspense", "75.25"]),
    "post": ("/post/deposit?login=1001", ["Puts client money in", "Europe/Athens"]),
    "a correction": ("/post/correction?login=1001", ["Reason", "stands in the history for ever"]),
    "nothing found": ("/history?reference=none", ["No operation matches"]),
    "a wrong question": ("/accounts?orderBy=nonsense", ["Code"]),
    "not found": ("/operations/bal_999999", ["Not found", "Check the number or the address"]),
}


class TestWhatIsSeen:
    @pytest.mark.parametrize("width", [1280, 400])
    def test_every_page_is_readable_in_light_and_dark(
        self, sit: Callable[..., Hand], ann_key: str, broker: Broker, width: int
    ) -> None:
        hand = sit(width)
        hand.sign_in(ann_key)
        for name, (path, texts) in PAGES.items():
            page = hand.see(path.format(late=broker["late"]))
            pictures = {}
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                pictures[scheme] = brightness(look(page, *texts))
            assert pictures["light"] > 170, name
            assert pictures["dark"] < 90, name

    @pytest.mark.parametrize("width", [1280, 400])
    def test_signing_in_is_readable(self, sit: Callable[..., Hand], width: int) -> None:
        hand = sit(width)
        look(hand.see("/accounts"), "Sign in to go on", "Key")

    def test_amounts_stand_under_each_other_on_the_right(self, ann: Hand) -> None:
        page = ann.see("/accounts?groupFilter=STD-USD")
        edges = page.locator("td[data-label=Balance] .m").evaluate_all(
            "amounts => amounts.map(amount => amount.getBoundingClientRect().right)"
        )
        assert len(edges) == 3
        assert max(edges) - min(edges) < 0.6

    def test_a_copied_amount_is_a_plain_number(self, ann: Hand) -> None:
        page = ann.see("/accounts?field1=login&op1=%3D&value1=1001")
        assert page.locator("td[data-label=Balance] .m").first.inner_text() == "1179.50"

    def test_labels_and_totals_stay_in_sight_of_a_long_table(self, ann: Hand, api: Caller) -> None:
        for _ in range(40):
            api.open("VIP-EUR")
        page = ann.see("/accounts?limit=200&groupFilter=VIP-EUR")
        page.mouse.wheel(0, 900)
        page.wait_for_function("document.querySelector('thead th').getBoundingClientRect().top < 2")
        top = page.locator("thead th").first.bounding_box()
        bottom = page.locator("tfoot th").first.bounding_box()
        assert top is not None
        assert bottom is not None
        assert abs(top["y"]) < 2
        assert 800 < bottom["y"] + bottom["height"] <= 901

    def test_a_table_that_is_too_wide_scrolls_by_itself(self, ann: Hand) -> None:
        path, _ = PAGES["many columns"]
        page = ann.see(path)
        pane = page.locator(".pane")
        assert pane.evaluate("pane => pane.scrollWidth > pane.clientWidth")
        assert pane.evaluate("pane => pane.tabIndex") == 0

    def test_the_chart_is_drawn_and_shows_exact_figures(self, ann: Hand) -> None:
        page = ann.see("/accounts/1001?fromDay=2025-03-01&toDay=2025-03-31")
        canvas = page.locator(".chart canvas")
        expect(canvas).to_be_visible()
        drawn = canvas.evaluate(
            "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            " let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i]) n++; return n; }"
        )
        assert drawn > 1_000
        page.locator(".chart .u-over").hover(position={"x": 400, "y": 60})
        legend = page.locator(".chart .u-legend")
        expect(legend).to_contain_text(re.compile(r"2025-03-\d\d"))
        expect(legend).to_contain_text(re.compile(r"1\d\d\d\.\d\d USD"))


class TestHands:
    def test_a_double_click_books_once(self, ann: Hand, api: Caller) -> None:
        login = api.open("STD-USD", balance="10.00")
        page = ann.see(f"/post/deposit?login={login}")
        page.get_by_label("Amount").fill("5.25")
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_text("nothing is booked yet")).to_be_visible()
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        def came() -> bool:
            page.wait_for_timeout(10)
            return held != []

        page.route("**/post/deposit", hold)
        page.get_by_role("button", name="Book it").dblclick()
        within(BOUND_S, came)
        for booking in held:  # not before, so that the second click does not meet the answer to the first
            booking.continue_()
        expect(page.get_by_text("Booked.")).to_be_visible()
        assert len(held) == 1
        assert api.held(login)[0] == number("15.25")
        page.reload()
        assert api.held(login)[0] == number("15.25")

    def test_sent_twice_past_the_scripts_it_is_booked_once_too(self, ann: Hand, api: Caller) -> None:
        login = api.open("STD-USD", balance="10.00")
        page = ann.see(f"/post/deposit?login={login}")
        page.get_by_label("Amount").fill("5.25")
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_text("nothing is booked yet")).to_be_visible()
        statuses = page.evaluate(
            """() => {
              const form = document.querySelector("form[data-once]");
              const body = new URLSearchParams([...new FormData(form), ["step", "book"]]);
              const send = () => fetch(form.action, { method: "POST", body }).then((answer) => answer.url);
              return Promise.all([send(), send(), send()]);
            }"""
        )
        assert len({*statuses}) == 1
        assert api.held(login)[0] == number("15.25")

    def test_a_refusal_leaves_the_form_as_it_was(self, ann: Hand, api: Caller) -> None:
        login = api.open("STD-USD", balance="10.00")
        page = ann.see(f"/post/withdraw?login={login}")
        page.get_by_label("Amount").fill("99")
        page.get_by_label("Comment").fill("at the desk")
        page.get_by_role("button", name="Preview").click()
        look(page, "10.00 USD can be taken out")
        expect(page.get_by_label("Comment")).to_have_value("at the desk")

    def test_a_filter_changes_the_page_in_place_and_its_address(self, ann: Hand) -> None:
        page = ann.see("/accounts")
        page.evaluate("window.stays = true")
        page.get_by_label("Groups").fill("STD-JPY")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("tfoot")).to_have_text(re.compile("^\\s*JPY, 1 account"))
        expect(page).to_have_url(re.compile("groupFilter=STD-JPY"))
        settle(page)
        page.get_by_role("link", name="Balance").first.press("Enter")
        expect(page.locator("th[aria-sort=ascending]")).to_have_text("Balance")
        expect(page.locator("#sort-balance")).to_be_focused()  # whoever goes by keyboard goes on from there
        assert page.evaluate("window.stays") is True
        page.go_back()
        expect(page.locator("th[aria-sort=ascending]")).to_have_text("Login")

    def test_files_come_down(self, ann: Hand) -> None:
        page = ann.see("/accounts/1001?fromDay=2025-03-01&toDay=2025-03-31")
        with page.expect_download() as coming:
            page.get_by_role("link", name="Statement as PDF").click()
        assert coming.value.suggested_filename == "statement-1001-2025-03-01-2025-03-31.pdf"
        assert Path(coming.value.path()).read_bytes().startswith(b"%PDF-")
        page = ann.see("/accounts")
        with page.expect_download() as coming:
            page.get_by_role("link", name="XLSX").first.click()
        assert coming.value.suggested_filename == "accounts.xlsx"

    def test_the_keyboard_goes_everywhere(self, sit: Callable[..., Hand], ann_key: str) -> None:
        page = sit().see("/days?day=2025-03-10")
        expect(page.get_by_label("Key", exact=True)).to_be_focused()
        page.keyboard.type(ann_key)
        page.keyboard.press("Tab")
        page.keyboard.type("Ann")
        page.keyboard.press("Enter")
        heading = page.locator(".days h2")
        expect(heading).to_contain_text("2025-03-10")
        for key, day in (
            ("ArrowLeft", "2025-03-09"),
            ("ArrowLeft", "2025-03-08"),
            ("ArrowRight", "2025-03-09"),
        ):
            settle(page)
            page.keyboard.press(key)
            expect(heading).to_contain_text(day)
            expect(page).to_have_url(re.compile(f"day={day}"))
        settle(page)
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.name") == "day"
        page.keyboard.press("ArrowLeft")  # in a field the arrows are the field's
        expect(heading).to_contain_text("2025-03-09")

    def test_every_control_can_be_reached_and_shows_that_it_is(self, ann: Hand) -> None:
        page = ann.see("/accounts?groupFilter=STD-USD")
        page.evaluate("document.activeElement.blur()")
        seen = []
        for _ in range(60):
            page.keyboard.press("Tab")
            seen.append(
                page.evaluate(
                    """() => {
                      const at = document.activeElement;
                      const name = at.name || at.textContent.trim() || at.tagName;
                      return [name, getComputedStyle(at).outlineStyle];
                    }"""
                )
            )
            if seen[-1][0] == "1002":
                break
        names = [name for name, _ in seen]
        assert names[0] == "Skip to the page"
        for name in ("History", "Sign out", "groupFilter", "field1", "value1", "Show", "CSV", "XLSX", "1001"):
            assert name in names, name
        assert {style for _, style in seen} == {"solid"}

    def test_the_skip_link_leads_past_the_bar(self, ann: Hand) -> None:
        page = ann.see("/accounts")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.querySelector('main').contains(document.activeElement)")


class TestTheEnd:
    def test_a_revoked_key_sends_to_sign_in_with_its_reason_and_back(
        self, sit: Callable[..., Hand], served: Served
    ) -> None:
        hand, key = sit(), aside(served.key, "manager")
        page = hand.sign_in(key)
        aside(served.command, "keys", "revoke", key.split("_")[1])

        within(BOUND_S, lambda: "/sign-in" in page.request.get("/console/accounts").url)
        page.get_by_role("button", name="Show").click()
        look(page, "was revoked", "Sign in with another one")
        hand.page.get_by_label("Key", exact=True).fill(aside(served.key, "manager"))
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Accounts")).to_be_visible()

    def test_an_expired_session_sends_to_sign_in_and_books_nothing(self, ann: Hand, api: Caller) -> None:
        login = api.open("STD-USD", balance="10.00")
        page = ann.see(f"/post/deposit?login={login}")
        page.get_by_label("Amount").fill("5")
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_text("nothing is booked yet")).to_be_visible()
        ann.context.clear_cookies()
        page.get_by_role("button", name="Book it").click()
        look(page, "Sign in to go on")
        assert api.held(login)[0] == number("10.00")

    def test_signing_out_leaves_nothing_to_go_back_to(self, sit: Callable[..., Hand], ann_key: str) -> None:
        page = sit().sign_in(ann_key)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_text("You have signed out")).to_be_visible()
        page.go_back()
        expect(page.get_by_label("Key", exact=True)).to_be_visible()
        assert NAME not in page.content()

    def test_a_key_without_scopes_finds_no_post(self, sit: Callable[..., Hand], served: Served) -> None:
        hand = sit()
        page = hand.sign_in(aside(served.key, "dealer"))
        expect(page.get_by_role("link", name="Post")).to_have_count(0)
        look(hand.see("/post/deposit"), "Not allowed", "funding:deposit")


class TestWithoutScripts:
    def test_everything_works_with_forms_and_links(
        self, sit: Callable[..., Hand], ann_key: str, api: Caller
    ) -> None:
        login = api.open("STD-USD", balance="10.00")
        hand = sit(java_script_enabled=False)
        page = hand.sign_in(ann_key)
        page.get_by_label("Field of rule 1").select_option("login")
        page.get_by_label("Value of rule 1").fill(str(login))
        page.get_by_role("button", name="Show").click()
        expect(page).to_have_url(re.compile(f"value1={login}"))
        page.get_by_role("link", name=str(login)).click()
        expect(page.get_by_role("heading", name=f"Account {login}")).to_be_visible()
        page.get_by_role("link", name="Deposit").click()
        page.get_by_label("Amount").fill("5")
        page.get_by_role("button", name="Preview").click()
        page.get_by_role("button", name="Book it").click()
        expect(page.get_by_text("Booked.")).to_be_visible()
        assert api.held(login)[0] == number("15.00")
        page.get_by_role("link", name="Days").click()
        page.get_by_role("link", name="←").click()
        expect(page.get_by_text("closed", exact=True)).to_be_visible()
