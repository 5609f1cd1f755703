"""A real Chromium for tests: one process, a fresh profile for each test, and nothing that it complains of unnoticed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = shutil.which("chromium")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, by Playwright's synchronous interface."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser: Any, url: str, *, meant: tuple[str, ...] = (), **options: Any) -> Iterator[Any]:
    """A page of this server in a profile of its own; fails if it complained or asked anybody else.

    What is blocked by the policy of content is a complaint. Refused requests (401, 403, 429) are none, nor is `meant`.
    """
    context = browser.new_context(ignore_https_errors=True, base_url=url, **options)
    context.set_default_timeout(20_000)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    try:
        yield page
        expected = ("status of 401", "status of 403", "status of 429", *meant)
        complaints = [text for text in said if not any(it in text for it in expected)]
        strangers = [it for it in asked if not it.startswith((url, "data:"))]
        assert (complaints, strangers) == ([], []), f"the page said {complaints} and asked {strangers}"
    finally:
        context.close()


def log_in(page: Any, key: str) -> None:
    """From the page's first sight to the overview."""
    page.goto("/")
    page.fill("#key", key)
    page.keyboard.press("Enter")
    page.wait_for_selector(".tiles")
