"""The page at `/` under load: 2,000 workers, 1,000,000 tasks, in a real Chromium.

python benchmarks/alone/dashboard.py [--agents 2000] [--tasks 1000000] [--pictures FOLDER] [--write]

Workers are simulated (`swarm.py`): real cores, links and sockets without runners. Of their tasks 200 end a second, of
one worker after the other. Measured is, in fresh profiles: how long until the first paint and until the first rows; and
on pages that are open: how long after something happened it is seen. Beside it how late the server's loop was. Server,
workers, browser and this program share the machine.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from harness.browser import chromium, log_in  # noqa: E402 - of the tests

sys.path.insert(0, str(ROOT / "benchmarks"))  # has a `harness`, too

from agents import Herd, lags, peak_lag  # noqa: E402 - of the benchmarks
from figures import Others, write  # noqa: E402
from installation import Installation, installation, raise_open_files  # noqa: E402

from dart_client import Client  # noqa: E402

SLICE = 50_000
OPENINGS = 5
CHANGES = 8
BREATH_SECONDS = 0.1
SETTLE_SECONDS = 180.0
FINISHING = 20
"""Tasks that end at each breath."""
PAINT = """() => new Promise((resolve) => new PerformanceObserver((list) => {
  list.getEntriesByName("first-contentful-paint").forEach((entry) => resolve(entry.startTime));
}).observe({type: "paint", buffered: true}))"""
ROWS = "main .space .row:visible"
WIDE = {"width": 1280, "height": 800}
NARROW = {"width": 390, "height": 800}


class Load:
    """Tasks that end all the time, until it is left."""

    def __init__(self, herd: Herd) -> None:
        self._herd = herd
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(BREATH_SECONDS):
            self._herd.finish(FINISHING)


def fill(client: Client, herd: Herd, tasks: int) -> None:
    """Jobs as there may be: a large one, some small ones, one that waits for what nobody has."""
    for number in range(40):
        name = f"sweep-{number:03}"
        client.define_job(name, "model/train", "fit")
        client.submit(name, [{"location": herd.names[number % len(herd.names)], "parameter": number}] * 50)
    client.define_job("waits-for-a-gpu", "model/train", "fit")
    client.submit("waits-for-a-gpu", [{"requires": ["gpu"], "parameter": 1}] * 20)
    client.define_job("images-of-the-year", "images/resize", "thumbnail")
    for first in range(0, tasks, SLICE):
        entries = [
            {"location": herd.names[number % len(herd.names)] if number % 2 else "", "parameter": number}
            for number in range(first, min(tasks, first + SLICE))
        ]
        client.submit("images-of-the-year", entries)


def settle(herd: Herd) -> None:
    """Until the agents have taken what they take ahead."""
    deadline, before = time.monotonic() + SETTLE_SECONDS, -1
    while herd.sum("held") != before and time.monotonic() < deadline:
        before = herd.sum("held")
        time.sleep(5)


@contextlib.contextmanager
def opened(browser: Any, url: str, state: Any, **options: Any) -> Iterator[Any]:
    """A page in a fresh profile that is logged in."""
    context = browser.new_context(ignore_https_errors=True, base_url=url, storage_state=state, **options)
    context.set_default_timeout(30_000)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"{request.url}: {request.failure}"))
    try:
        yield page
    except Exception:
        print(page.url, page.locator("body").inner_text()[:500], *said, sep="\n", file=sys.stderr)
        raise
    finally:
        context.close()


def row(what: str, found: list[float]) -> dict[str, Any]:
    """A figure, told at once."""
    made = {
        "what": what,
        "times": len(found),
        "middle_ms": round(statistics.median(found)),
        "worst_ms": round(max(found)),
    }
    print("  ".join(f"{name} {value}" for name, value in made.items()), flush=True)
    return made


def open_pages(browser: Any, url: str, state: Any) -> list[dict[str, Any]]:
    """From the address to the first paint, and to the first rows."""
    figures = []
    for name, place in (("overview", "/"), ("workers", "/#/workers"), ("job", "/#/jobs/images-of-the-year")):
        paints, rows = [], []
        for _ in range(OPENINGS):
            with opened(browser, url, state, viewport=WIDE) as page:
                began = time.monotonic()
                page.goto(place)
                page.locator(ROWS).first.wait_for()
                rows.append(1000 * (time.monotonic() - began))
                paints.append(page.evaluate(PAINT))
        figures.append(row(f"{name}: first paint", paints))
        figures.append(row(f"{name}: first rows", rows))
    return figures


def watch(browser: Any, url: str, state: Any, client: Client) -> list[dict[str, Any]]:
    """From what happened at the server to what is seen, on pages that are open."""
    figures = []

    def look(name: str, place: str, change: Callable[[int], str]) -> None:
        with opened(browser, url, state, viewport=WIDE) as page:
            page.goto(place)
            page.locator(ROWS).first.wait_for()
            waits = []
            for number in range(CHANGES):
                time.sleep(0.3 + 0.07 * number)  # at another moment of the page's beat each time
                began = time.monotonic()
                selector = change(number)
                page.locator(selector).first.wait_for()
                waits.append(1000 * (time.monotonic() - began))
            figures.append(row(f"{name} is seen", waits))

    def new_job(number: int) -> str:
        client.define_job(f"new-{number}", "m", "f")
        return f"a:text-is('new-{number}')"

    def waiting_task(number: int) -> str:
        name = f"place-{number}"
        client.submit("new-0", [{"location": name, "parameter": 1}])
        return f"text=No worker called '{name}' is connected."

    look("jobs: a new job", "/#/jobs", new_job)
    client.submit("new-0", [{"location": "first", "parameter": 1}])
    look("job: why a task waits", "/#/jobs/new-0", waiting_task)
    with opened(browser, url, state, viewport=WIDE) as page:
        page.goto("/#/jobs/images-of-the-year")
        page.locator(ROWS).first.wait_for()
        gaps = page.evaluate(
            """() => new Promise((resolve) => {
              const gaps = [];
              setTimeout(() => resolve(gaps.slice(1)), 15000);  // nothing is left to be done
              let last = performance.now();
              new MutationObserver(() => {
                gaps.push(performance.now() - last);
                last = performance.now();
                if (gaps.length > 15) resolve(gaps.slice(1));
              }).observe(
                document.querySelector("section [role=status]"), {childList: true, characterData: true, subtree: true}
              );
            })"""
        )
        if gaps:
            figures.append(row("job: from one update to the next", gaps))
    return figures


def draw(browser: Any, url: str, state: Any, folder: Path, task: str) -> None:
    """Pictures of each page: wide and narrow, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    places = {
        "overview": "/",
        "workers": "/#/workers",
        "worker": "/#/workers/agent-0001",
        "jobs": "/#/jobs",
        "job": "/#/jobs/images-of-the-year",
        "task": f"/#/jobs/waits-for-a-gpu/tasks/{task}",
        "keys": "/#/keys",
        "audit": "/#/audit",
    }
    for theme, (size, viewport) in (
        (theme, it) for theme in ("light", "dark") for it in (("", WIDE), ("-narrow", NARROW))
    ):
        with opened(browser, url, state, viewport=viewport, color_scheme=theme) as page:
            for name, place in places.items():
                page.goto(place)
                page.wait_for_timeout(1600)
                page.screenshot(path=folder / f"{name}-{theme}{size}.png", full_page=name == "overview")


def measure(options: argparse.Namespace, installed: Installation, client: Client) -> tuple[list[Any], dict[str, Any]]:
    """All figures of one run, and what is to be known of it."""
    key = (installed.state / "admin.key").read_text().strip()
    url = installed.line.split()[1]
    herd = Herd(client, options.agents)
    try:
        herd.wait("live", options.agents)
        with chromium() as browser:
            context = browser.new_context(ignore_https_errors=True, base_url=url)
            log_in(context.new_page(), key)
            state = context.storage_state()
            context.close()
            began = time.monotonic()
            fill(client, herd, options.tasks)
            print(f"filled in {time.monotonic() - began:.0f} s", flush=True)
            settle(herd)
            with Load(herd):
                before, others, cpu, began = lags(client), Others(), installed.server_cpu(), time.monotonic()
                figures = [*open_pages(browser, url, state), *watch(browser, url, state, client)]
                about = {
                    "workers": options.agents,
                    "tasks": options.tasks,
                    "open_tasks": client.server()["open_tasks"],
                    "peak_lag": peak_lag(client, before),
                    "server_core_percent": round(100 * (installed.server_cpu() - cpu) / (time.monotonic() - began)),
                    "server_uss_mb": round(installed.server_uss() / 1e6),
                    "others_percent": others.percent(),
                }
                print(about, flush=True)
                if options.pictures:
                    (task, *_) = [task["id"] for task in client.tasks("waits-for-a-gpu")][:1]
                    draw(browser, url, state, options.pictures, task)
    finally:
        herd.close()
    return figures, about


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=2000)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--pictures", type=Path, help="write a picture of each page into this folder")
    parser.add_argument("--write", action="store_true", help="into benchmarks/data")
    options = parser.parse_args()
    raise_open_files()
    with (
        tempfile.TemporaryDirectory(prefix="dart-dashboard-") as folder,
        installation(Path(folder)) as installed,
        installed.client() as client,
    ):
        figures, about = measure(options, installed, client)
    if options.write:
        write("dashboard", figures, **about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
