"""The page at `/` in a real browser: a real server over TLS, an agent, tasks that run, and names that mean harm."""

import json
import re
import time
from types import SimpleNamespace

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from dart.rest.dashboard.page import PLOTS
from dart_client import Client
from harness.browser import CHROMIUM, chromium, log_in, visit
from harness.cluster import cluster
from harness.modules import write_modules
from harness.waiting import wait_until

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium (apt-get install chromium)")

EVIL = "<img src=x onerror=window.hit=1>"
"""Where it became markup, `hit` would be there."""
TASKS = """
    import time
    import dart_task

    def quick(parameter):
        print("line of", parameter)
        return parameter

    def until(path):
        dart_task.progress(0.4, "epoch 3")
        while not dart_task.cancelled():
            try:
                return open(path).read()
            except OSError:
                time.sleep(0.02)

    def turn(parameter):
        path, number = parameter
        while int(open(path).read() or 0) < number:
            time.sleep(0.02)
        print("turn of", number)

    def fail(parameter):
        print(parameter)
        raise ValueError(parameter)
"""
NARROW = {"width": 360, "height": 640}
WIDE = {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A job that failed with an evil text, and one that waits for nobody."""
    folder = tmp_path_factory.mktemp("dashboard")
    with cluster(folder) as it:
        it.start_agent("w", slots=2, config=write_modules(folder, tasks=TASKS))
        with Client(state_dir=it.state_dir) as client:
            evil = client.job(EVIL, "tasks", "fail")
            failed = evil.submit(EVIL, location="w", tag=EVIL)
            wait_until(failed.done, explain="the evil task has failed")
            waiting = client.job("waiting", "tasks", "quick").submit(1, location="nowhere")

            def call(method, path, body=None):
                headers = {"Authorization": f"Bearer {it.server.key}"}
                answer = requests.request(
                    method, it.server.url + path, json=body, headers=headers, verify=False, timeout=30
                )
                assert answer.status_code == 200, answer.text
                return answer.json()

            made = SimpleNamespace(
                client=client,
                call=call,
                folder=folder,
                key=it.server.key,
                start_agent=it.start_agent,
                url=it.server.url,
                evil=failed.task_id,
                waiting=waiting.task_id,
            )
            yield made


@pytest.fixture(scope="module")
def browser():
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def admin(scene, browser):
    """What a browser keeps of a session of the admin."""
    with visit(browser, scene.url) as page:
        log_in(page, scene.key)
        return page.context.storage_state()


@pytest.fixture
def page(scene, browser, admin):
    """Logged in as admin."""
    with visit(browser, scene.url, viewport=WIDE, storage_state=admin) as made:
        made.goto("/")
        made.wait_for_selector(".tiles")
        yield made


def sees(page, text):
    page.get_by_text(text, exact=False).first.wait_for()


def test_logging_in_keeps_no_key(scene, browser):
    """It is in no storage, cookie, address or text; no script sees the cookie; logging out ends the session."""
    with visit(browser, scene.url) as page:
        page.goto("/")
        page.fill("#key", "wrong")
        page.get_by_role("button", name="Log in").click()
        sees(page, "does not know this key")
        log_in(page, scene.key)
        (cookie,) = page.context.cookies()
        assert cookie["name"].startswith("__Host-dart-")
        assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"], cookie["path"]) == (True, True, "Strict", "/")
        kept = page.evaluate(
            "[document.cookie, location.href, JSON.stringify({...localStorage}), JSON.stringify({...sessionStorage}),"
            " document.documentElement.outerHTML].join(' ')"
        )
        assert scene.key not in kept + json.dumps(page.context.cookies())
        assert page.evaluate("document.cookie") == ""

        page.reload()
        page.wait_for_selector(".tiles")
        proof = page.evaluate("localStorage['dart.session']")
        page.click("text=Log out")
        page.wait_for_selector("#key")
        assert page.context.cookies() == []
        assert page.evaluate("localStorage.length") == 0
        headers = {"X-Dart-Session": proof, "Cookie": f"{cookie['name']}={cookie['value']}"}
        assert page.request.get("/job/", headers=headers).status == 401


def test_a_page_of_another_origin_does_nothing_with_the_session(scene, page):
    """It may send the cookie (of the same site, as other ports of a host are), but not the header that counts."""
    status = page.evaluate(
        "fetch('/job/waiting/', {method: 'DELETE', credentials: 'same-origin'}).then(answer => answer.status)"
    )
    assert status == 401
    assert scene.client.job_status("waiting") == 1


def test_without_its_scripts_the_page_says_so(scene, browser):
    """After a while; one that is missing is enough."""
    with visit(browser, scene.url, meant=("ERR_FAILED",), viewport=WIDE) as page:
        page.route("**/dashboard/table.js", lambda route: route.abort())
        page.goto("/")
        late = page.locator(".late")
        expect(late).to_be_hidden()
        page.evaluate("document.getAnimations().forEach(it => it.finish())")
        expect(late).to_be_visible()
        page.unroute("**/dashboard/table.js")
        page.reload()
        page.wait_for_selector("#key")
        expect(late).to_have_count(0)


def test_a_job_is_watched_live(scene, page):
    """How far it is, what a running task says, and its result, with nobody loading the page again."""
    gate = scene.folder / "live"
    job = scene.client.job("live", "tasks", "until")
    page.click("nav >> text=Jobs")
    page.click(".table >> text=live")
    sees(page, "0 of 0 tasks finished")
    task = job.submit(str(gate), location="w")
    sees(page, "40 % epoch 3")
    page.goto("/#/workers/w")
    sees(page, "Tasks it holds")
    sees(page, "40 % epoch 3")
    page.click(f".table a:text-is('{task.task_id}')")
    sees(page, "running")
    gate.write_text("through the gate")
    began = time.monotonic()
    sees(page, "through the gate")
    assert time.monotonic() - began < 3
    page.click("h1 a")
    sees(page, "1 of 1 tasks finished")


def test_a_large_job_to_its_end(scene, page):
    """Only rows in sight exist; rate, time left and lines come while one looks; a button ends it, and all know."""
    turn = scene.folder / "turn"
    turn.write_text("0")
    page.goto("/#/")
    tasks = scene.client.job("large", "tasks", "turn").submit_many([(str(turn), at) for at in range(1, 301)], "w")
    page.click(".table >> text=large")
    sees(page, "0 of 300 tasks finished")
    page.get_by_role("button", name="All 300").click()
    first, last = (page.locator(f".table a:visible:text-is('{tasks[at].task_id}')") for at in (0, -1))
    first.wait_for()
    window = page.locator(".window")
    wait_until(
        lambda: window.evaluate("it => it.scrollTop = it.scrollHeight") and last.count(), explain="the last row is seen"
    )
    assert first.count() == 0
    assert 0 < page.locator(".row").count() <= 50

    turn.write_text("100")
    page.locator(".log p", has_text="turn of 100").wait_for()
    expect(page.locator("section.large > p")).to_have_text(
        re.compile(r"^100 of 300 tasks finished · [\d.,]+/(s|min) · about [\d.]+ (s|min .*) left$")
    )
    page.get_by_role("button", name="Stop this job").click()
    page.click("#ask-yes")
    sees(page, "Stopped; 200 tasks were open.")
    page.get_by_text(re.compile(r"^300 of 300 tasks finished · .*stopped$")).wait_for()
    page.click("nav >> text=Overview")
    page.locator(".feed li", has_text="job large stopped").wait_for()


def test_plots_are_drawn_or_their_absence_is_told(page):
    """Six of them, with more on them than nothing."""
    inked = """[...document.querySelectorAll('.uplot canvas')].filter(
        it => it.getContext('2d').getImageData(0, 0, it.width, it.height).data.some(value => value)).length"""
    if PLOTS.is_dir():
        page.wait_for_function(f"{inked} === 6")
        page.locator(".u-legend", has_text=re.compile(r"finished\s*[\d.,]+/s")).wait_for()
    else:
        sees(page, "Plots are missing")
    sees(page, "Now: finished")


def test_cancelling_is_asked_and_done(scene, page):
    """By keyboard: what is not confirmed is not done."""
    task = scene.client.job("cancelled", "tasks", "until").submit("/nonexistent/gate", location="w")
    page.goto(f"/#/jobs/cancelled/tasks/{task.task_id}")
    sees(page, "running")
    page.get_by_role("button", name="Cancel this task").focus()
    page.keyboard.press("Enter")
    page.locator("dialog[open]").wait_for()
    page.keyboard.press("Enter")
    page.locator("dialog[open]").wait_for(state="hidden")
    assert not task.done()
    expect(page.get_by_role("button", name="Cancel this task")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Leave it")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#ask-yes")).to_be_focused()
    page.keyboard.press("Enter")
    page.locator("strong:text-is('cancelled')").wait_for()


def test_why_a_task_waits(scene, page):
    """In the list, and candidate by candidate."""
    page.goto("/#/jobs/waiting")
    sees(page, "No worker called 'nowhere' is connected.")
    page.click(f".table a:text-is('{scene.waiting}')")
    sees(page, "Worker 'nowhere' is not connected.")


def test_what_others_named_and_wrote_stays_text(scene, page):
    """Names of jobs and workers, tags, tracebacks, lines, reasons; no page makes markup of any of them."""
    scene.call("POST", "/enroll/", {"name": EVIL, "public_key": "0" * 40})
    waits = scene.client.job(f"{EVIL}2", "tasks", "quick").submit(1, location=f"{EVIL}2")
    name = "%3Cimg%20src%3Dx%20onerror%3Dwindow.hit%3D1%3E"
    shown = {
        "#/": None,
        "#/jobs": ".table a",
        "#/workers": ".table a",
        f"#/jobs/{name}": "h1",
        f"#/jobs/{name}/tasks/{scene.evil}": "pre",
        f"#/jobs/{name}2/tasks/{waits.task_id}": ".theirs",
        f"#/workers/{name}": "h1",
        "#/audit": ".table",
    }
    for place, where in shown.items():
        page.goto(f"/{place}")
        if where:
            page.locator(where, has_text=EVIL).first.wait_for()
        assert page.evaluate("window.hit ?? 0") == 0
        assert page.locator("main img").count() == 0
    page.goto(f"/#/jobs/{name}/tasks/{scene.evil}")
    page.locator(".log p", has_text=EVIL).wait_for()
    page.locator("pre", has_text="Traceback").wait_for()


def test_the_browser_makes_no_markup_of_text(scene, browser):
    """Whatever a script tried: the policy refuses it."""
    with visit(browser, scene.url, meant=("TrustedHTML",)) as page:
        page.goto("/")
        page.wait_for_selector("#key")
        for attempt in (
            "document.body.innerHTML = '<b>x</b>'",
            "document.body.insertAdjacentHTML('beforeend', '<b>x</b>')",
        ):
            assert page.evaluate(f"(() => {{ try {{ {attempt} }} catch (it) {{ return it.name; }} }})()") == "TypeError"


def test_each_scope_sees_what_it_may(scene, browser):
    """`read` has no buttons that it may not press; when its key is revoked the page is over."""
    with visit(browser, scene.url) as page:
        made = scene.call("POST", "/key/", {"scope": "read", "name": "visitor"})
        log_in(page, made["text"])
        sees(page, "visitor (read)")
        assert page.locator("nav li").all_inner_texts() == ["Overview", "Workers", "Jobs"]
        page.goto("/#/jobs/waiting")
        sees(page, "No worker called 'nowhere' is connected.")
        assert page.get_by_role("button", name="Stop this job").count() == 0
        page.goto("/#/keys")
        page.wait_for_selector(".tiles")
        scene.call("DELETE", f"/key/{made['key']['id']}/")
        sees(page, "visitor was revoked")
        page.wait_for_selector("#key")


def test_an_admin_sees_keys_and_revokes_one(scene, page):
    """And finds it in the audit."""
    scene.call("POST", "/key/", {"scope": "submit", "name": "phone"})
    page.click("nav >> text=Keys")
    page.get_by_role("button", name="Revoke phone").click()
    page.get_by_role("button", name="Revoke this key").click()
    sees(page, "The key phone was revoked.")
    page.click("nav >> text=Audit")
    page.locator(".row", has_text="key.revoke").first.wait_for()


def test_without_a_mouse(scene, page):
    """To the content, into the search, to a job and its tasks."""
    page.keyboard.press("Tab")
    page.goto("/#/jobs")
    page.locator(".table a", has_text="waiting").first.wait_for()
    page.keyboard.press("/")
    page.keyboard.type("WAIT")
    expect(page.locator(".space .row:visible")).to_have_count(1)
    page.locator(".table a:visible", has_text="waiting").focus()
    page.keyboard.press("Enter")
    page.locator("h1:text-is('waiting')").wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1"


def test_a_worker_drains_and_goes(scene, page):
    """Asked for on its own page, which the list leads to; the list has a line of its load."""
    agent = scene.start_agent("leaving")
    page.goto("/#/workers")
    page.locator(".row", has=page.locator("a:text-is('w')")).locator(".spark path[d^=M]").wait_for(state="attached")
    page.click(".table >> text=leaving")
    page.get_by_role("button", name="Drain this worker").click()
    page.click("#ask-yes")
    sees(page, "1 agents were asked to finish and leave.")
    assert agent.wait(20) == 0
    page.click("nav >> text=Overview")
    page.locator(".feed li", has_text="worker leaving disconnected").wait_for()


WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PLACES = ("", "workers", "workers/w", "jobs", "jobs/waiting", "jobs/waiting/tasks/{waiting}", "keys", "audit")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_keeps_anybody_out(scene, browser, admin, theme):
    """Axe finds nothing serious, in either theme, at the way in too. Narrow screens cut nothing, nor move sideways."""
    with visit(browser, scene.url, viewport=WIDE, color_scheme=theme) as page:
        page.goto("/")
        page.wait_for_selector("#key")
        found = {"login": serious(page, theme)}
    with visit(browser, scene.url, viewport=WIDE, color_scheme=theme, storage_state=admin) as page:
        for place in PLACES:
            page.set_viewport_size(WIDE)
            page.goto(f"/#/{place.format(waiting=scene.waiting)}")
            page.locator("#live.good").wait_for()
            if page.locator(".table").count():
                page.locator(".space .row:visible, .nothing:visible").first.wait_for()
            found[place] = serious(page, theme)
            page.set_viewport_size(NARROW)
            wide = page.evaluate("document.documentElement.scrollWidth")
            cut = page.evaluate(
                "[...document.querySelectorAll('.row')].filter(it => it.scrollWidth > it.clientWidth).length"
            )
            assert (place, wide, cut) == (place, NARROW["width"], 0)
        assert {place: faults for place, faults in found.items() if faults} == {}


def serious(page, theme):
    """What axe finds that is serious: rule and element. Dark pages differ from light ones by their colours alone."""
    rules = {"type": "rule", "values": ["color-contrast"]} if theme == "dark" else {"type": "tag", "values": WCAG}
    found = Axe().run(page, options={"resultTypes": ["violations"], "runOnly": rules}).response["violations"]
    return [
        (it["id"], node["html"][:200], node["failureSummary"][:300])
        for it in found
        if it["impact"] in {"serious", "critical"}
        for node in it["nodes"]
    ]
