"""Debian's Chromium, driven by Playwright: quiet, so that what it asks for is what a page asks for."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
BOUND_MS = 60_000
"""What a slow machine has not shown by then does not come."""

needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason="Debian's chromium is not installed")

_QUIET = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update"),
)


@contextmanager
def chromium(*options: str) -> Iterator[Browser]:
    """Lend a browser. While it is there, an event loop runs in this thread."""
    expect.set_options(timeout=BOUND_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*_QUIET, *options])
        yield browser
        browser.close()


def settle(page: Page) -> None:
    """Wait until a page that shows what it is to show also does what it is to do.

    Its text is there before its styles and scripts are; links that a script has put in place lead on
    without scripts until they are settled.
    """
    page.wait_for_load_state()
    expect(page.locator(".htmx-settling")).to_have_count(0)
