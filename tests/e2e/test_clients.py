"""Clients against the conformance suite, which can fail; README, types and browser of the JavaScript one."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dart_client.testing import installation

ROOT = Path(__file__).parents[2]
SUITE = ROOT / "clients" / "conformance"
JAVASCRIPT = ROOT / "clients" / "javascript"
NODE = shutil.which("node")
PYTHON_DRIVER = [sys.executable, str(SUITE / "driver.py")]
NODE_DRIVER = [NODE or "node", str(JAVASCRIPT / "conformance" / "driver.js")]
needs_node = pytest.mark.skipif(NODE is None, reason="no Node here: apt-get install -y nodejs (18 or later)")

sys.path.insert(0, str(SUITE))
import suite  # noqa: E402 - lies beside the clients, for those who write one


@pytest.fixture(scope="module")
def stage():
    with suite.stage() as made:
        yield made


@pytest.mark.parametrize("driver", [PYTHON_DRIVER, pytest.param(NODE_DRIVER, marks=needs_node)], ids=["python", "node"])
def test_a_client_keeps_the_contract(stage, driver):
    """Every case, through faults and a killed server."""
    found = suite.run(*stage, driver, name=driver[0].rpartition("/")[2])
    assert len(found) >= 17
    assert [(it.case, it.wrong) for it in found if it.wrong] == []


@pytest.mark.parametrize(
    ("fault", "case"),
    [
        ("forget_the_keys_of_repetitions", "a_submission_whose_answer_is_lost"),
        ("trust_everybody", "a_wrong_certificate"),
        ("count_in_floats", "values_come_back"),
        ("remember_ids_too_early", "events_go_on"),
    ],
)
def test_the_suite_notices_a_client_that_does_not(stage, fault, case):
    """One fault each, and the case that is there for it."""
    wrong = [sys.executable, str(Path(__file__).with_name("wrong_driver.py")), fault]
    ((_, told, _),) = suite.run(*stage, wrong, only=case, name=fault)
    assert told.startswith("AssertionError")


def test_a_driver_that_ends_is_told():
    """And not waited for."""
    driver = suite.Driver([sys.executable, "-c", "input()"])
    with pytest.raises(AssertionError, match="the driver ended"):
        driver.do("connect")
    driver.close()


def test_the_driver_protocol_is_the_documented_one():
    """Commands of the suite, of both drivers, and of clients/README.md."""
    page = (ROOT / "clients" / "README.md").read_text(encoding="utf-8")
    table = page[page.index("| `do` |") :]
    documented = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) - {"do"}
    asked = set(re.findall(r'\.(?:do|begin)\(\s*"(\w+)"|_refused\("(\w+)"', (SUITE / "suite.py").read_text()))
    assert {name for pair in asked for name in pair if name} | {"close"} == documented
    javascript = (JAVASCRIPT / "conformance" / "driver.js").read_text(encoding="utf-8")
    commands = javascript[javascript.index("const COMMANDS = {") :]
    assert set(re.findall(r"^  (?:async )?(\w+)\(", commands, re.MULTILINE)) == documented


@needs_node
def test_units_of_the_javascript_client():
    """Values against the vectors of the protocol, hashes, events."""
    done = subprocess.run(
        [NODE, "--test", "test/"], cwd=JAVASCRIPT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:]
    assert int(re.search(r"^# pass (\d+)", done.stdout, re.MULTILINE)[1]) > 150


@needs_node
def test_the_quick_start_of_the_javascript_readme(tmp_path):
    """As it stands there, with the package installed by a link."""
    (block,) = re.findall(r"```js\n(.*?)```", (JAVASCRIPT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "dart-client").symlink_to(JAVASCRIPT)
    (tmp_path / "start.mjs").write_text(block, encoding="utf-8")
    (tmp_path / "count_words.py").write_text("def count(text):\n    return {'words': len(text.split())}\n")
    with installation(tmp_path, workers=["red"]) as dart:
        done = subprocess.run(
            [NODE, "start.mjs"],
            cwd=tmp_path,
            env=dart.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:4] == [f"{{ words: {count} }}" for count in (6, 2, 1, 3)]
    assert sorted(lines[4:]) == ["{ words: 1 }", "{ words: 2 }"]


IN_THE_PAGE = """
async (key) => {
  const { asCompleted, Client } = await import("/javascript/src/index.js");
  const client = new Client({ url: location.origin, key });
  const job = await client.job("browser", { modulePath: "conform", method: "echo" });
  const events = await client.events({ job: "browser", kinds: ["result"] });
  const tasks = await job.submitMany([1, "ä", new Uint8Array([1, 2, 255]), 2n ** 60n]);
  const found = [];
  for await (const task of asCompleted(tasks)) found.push(String(await task.result()));
  const heard = [];
  for await (const event of events) if (heard.push(event.data.task) === 4) break;
  const reference = await client.putBlob(new Blob(["x".repeat(3_000_000)]));
  let bytes = 0;
  for await (const piece of client.getBlob(reference)) bytes += piece.length;
  const refused = await client.call("GET", ["job", "nobody"]).catch((error) => error.code);
  client.close();
  return { found: found.sort(), heard: heard.length, blob: reference.sha256, bytes, refused };
}
"""


def test_in_a_browser(stage):
    """Chromium, on a page of the server itself: results, events, blobs, errors, by `fetch` alone."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install -y chromium")
    installed, _ = stage

    def serve(route):
        path = JAVASCRIPT / route.request.url.partition("/javascript/")[2]
        route.fulfill(body=path.read_text(encoding="utf-8"), content_type="text/javascript")

    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(ignore_https_errors=True).new_page()
        page.route("**/javascript/**", serve)
        page.goto(f"{installed.client.url}/healthz")
        found = page.evaluate(IN_THE_PAGE, (installed.state_dir / "admin.key").read_text().strip())
        browser.close()
    assert found["found"] == sorted(["1", "ä", "1,2,255", str(2**60)])
    assert (found["heard"], found["bytes"], found["refused"]) == (4, 3_000_000, 31)
    assert found["blob"] == hashlib.sha256(b"x" * 3_000_000).hexdigest()


@needs_node
def test_types_of_the_javascript_client():
    """The code against declarations made of the OpenAPI document; `make javascript` installs what that takes."""
    if not (JAVASCRIPT / "node_modules" / ".bin" / "tsc").exists():
        pytest.skip("no type checker here: make javascript")
    subprocess.run(
        [sys.executable, str(ROOT / "tools" / "write_openapi.py"), str(JAVASCRIPT / "build" / "openapi.json")],
        check=True,
    )
    done = subprocess.run(
        [str(shutil.which("npm")), "run", "-s", "check"],
        cwd=JAVASCRIPT,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout
    assert json.loads((JAVASCRIPT / "package.json").read_text())["version"] == "0.1.0"
