"""`/docs` in a real browser, with no network but the server: it renders, and a call can be tried with a key."""

import pytest
from aiohttp import web
from playwright.async_api import async_playwright

from dart.limits import Limits
from dart.rest import docs
from dart.rest.routes import ROUTES
from harness.browser import CHROMIUM, OPTIONS
from harness.rest_stack import KEY, joined, rest


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium (apt-get install chromium)")
async def test_the_page_shows_the_interface_and_tries_a_call_under_a_strict_policy():
    """A wrong key is told, a right one is kept in no storage; nothing comes from elsewhere, nothing is blocked."""
    patient = Limits(silence_seconds=600.0)  # nobody speaks for the worker while the browser starts
    async with joined(patient) as (stack, _), async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = await browser.new_page()
        asked, said = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        await page.goto(f"{stack.url}/docs")
        await page.fill("#key", "wrong")
        await page.click("text=Show the interface")
        await page.wait_for_function("document.getElementById('trouble').textContent.includes('key')")
        assert [text for text in said if "401" not in text] == []
        said.clear()

        await page.fill("#key", KEY)
        await page.click("text=Show the interface")
        call = page.locator(".opblock-get", has=page.get_by_text("/worker/", exact=True)).first
        await call.locator(".opblock-summary-control").click()
        await call.locator("button.execute").click()
        answer = call.locator(".live-responses-table .response-col_description pre").first
        await answer.wait_for()
        assert '"name": "w"' in await answer.inner_text()
        assert await page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        assert KEY not in page.url
        assert {url.startswith((stack.url, "data:")) for url in asked} == {True}
        assert said == []
        await browser.close()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium (apt-get install chromium)")
async def test_without_swagger_ui_the_page_lists_the_calls_and_says_what_is_missing(monkeypatch):
    """As an installation without the extra `page`."""
    add = docs.add_to
    monkeypatch.setattr(docs, "add_to", lambda router: add(router, lambda: None))
    async with rest() as stack, async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        page = await browser.new_page()
        await page.goto(f"{stack.url}/docs/")
        await page.fill("#key", KEY)
        await page.click("text=Show the interface")
        await page.locator("#calls li").first.wait_for()
        assert await page.locator("#calls li").count() == len(ROUTES)
        assert "dart-runtime[page]" in await page.locator("#trouble").inner_text()
        await browser.close()


async def test_the_files_of_the_page_have_a_strict_policy_and_no_other_is_served():
    """Neither those of the package that are not needed, nor others."""
    async with rest() as stack:
        for path, media_type in (("", "html"), ("/", "html"), ("/page.js", "javascript"), ("/swagger-ui.css", "css")):
            async with stack.session.get(f"{stack.url}/docs{path}") as answer:
                assert (answer.status, answer.content_type) == (200, f"text/{media_type}")
                assert (
                    "default-src 'none'; script-src 'self'; style-src 'self';"
                    in answer.headers["Content-Security-Policy"]
                )
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for path in ("/swagger-ui-bundle.js.map", "/..%2f..%2fapp.py", "/LICENSE", "/index.html"):
            async with stack.session.get(f"{stack.url}/docs{path}") as answer:
                assert answer.status == 404


def test_without_the_package_only_our_own_files_are_there(tmp_path):
    """Also where its folder has other files."""
    for folder in (None, tmp_path):
        router = web.Application().router
        docs.add_to(router, lambda folder=folder: folder)
        assert {it.canonical for it in router.resources()} == {"/docs", "/docs/", "/docs/page.js", "/docs/page.css"}
