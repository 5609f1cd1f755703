"""One quick task at a time, to a worker of its own, while a job of a million tasks is submitted and runs on others.

python benchmarks/alone/interactive.py [--tasks 1000000] [--trips 1000] [--write]

Round trips through the SDK, from the call to the result: first with nothing else to do; then while another program
submits the tasks of a large job to the same server, for workers that are not there yet; then while two of them run it;
then while more is submitted and run at once. The goal is a p99 under load of at most five times the quiet one. The
processes of the load share the machine's cores.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import msgpack
from figures import Others, write
from installation import Installation, installation, rest_until_quiet

from dart_client import Client, Job

LOADED = 2
PIECE = 5_000
PAUSE_SECONDS = 0.002
"""Between two trips, as a program that has something to do with what it gets."""


def submit(state: str, tasks: int) -> None:
    """What the other program does."""
    entry = {"location": "load", "parameter": 7}
    with Client(state_dir=state) as client:
        for start in range(0, tasks, PIECE):
            body = msgpack.packb({"location_and_parameters": [entry] * min(PIECE, tasks - start)})
            client.connection.call("POST", "/job/large/tasks/", body, seconds=300)


def trips(job: Job, most: int, goes_on: "threading.Event | None" = None) -> list[float]:
    """Milliseconds of each, in order; so many, or until it is over."""
    found: list[float] = []
    while len(found) < most and (goes_on is None or not goes_on.is_set()):
        began = time.perf_counter()
        job.submit(7, "mine").result(120)
        found.append((time.perf_counter() - began) * 1e3)
        time.sleep(PAUSE_SECONDS)
    return found


def row(what: str, found: list[float], others: Others) -> dict[str, Any]:
    """Their distribution."""
    ordered = sorted(found)
    at = {f"p{part}_ms": round(ordered[len(ordered) * part // 100], 2) for part in (50, 95, 99)}
    worst = {"worst_ms": round(ordered[-1], 1), "mean_ms": round(statistics.fmean(ordered), 2)}
    return {"while": what, "trips": len(ordered), **at, **worst, "others_percent": others.percent()}


class Load:
    """The other program, until it has submitted all of its tasks."""

    def __init__(self, state: Path, tasks: int) -> None:
        command = [sys.executable, __file__, "--submit", str(state), "--tasks", str(tasks)]
        self._program = subprocess.Popen(command)
        self.over = threading.Event()
        threading.Thread(target=self._wait).start()

    def _wait(self) -> None:
        self._program.wait()
        self.over.set()

    def check(self) -> None:
        """Raise if it did not go well."""
        if self._program.returncode:
            raise RuntimeError(f"the submission of the load ended with {self._program.returncode}")


def measure(installed: Installation, tasks: int, most: int) -> list[dict[str, Any]]:
    """Quiet; while a job is submitted whose workers are not there; while they run it; while more of it comes, too."""
    installed.start_agent("mine")
    with installed.client() as client:
        job = client.job("quick", "bench_tasks", "noop")
        client.define_job("large", "bench_tasks", "noop")
        trips(job, 100)
        rest_until_quiet(installed)
        rows, others = [], Others()
        rows.append(row("quiet", trips(job, most), others))
        load, others = Load(installed.state, tasks), Others()
        rows.append(row("submitted", trips(job, 100 * most, load.over), others))
        load.check()
        for _ in range(LOADED):
            installed.start_agent("load", 1)
        others = Others()
        rows.append(row("running", trips(job, most), others))
        left = client.job_info("large")["tasks"].get("queued", 0)
        if not left:
            raise RuntimeError("the load was worked off before the trips were over: take more --tasks")
        load, others = Load(installed.state, tasks // 4), Others()
        rows.append(row("both", trips(job, 100 * most, load.over), others))
        load.check()
        for one in rows:
            one["p99_by_quiet"] = round(one["p99_ms"] / rows[0]["p99_ms"], 2)
        return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--trips", type=int, default=1000)
    parser.add_argument("--submit", help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help="into benchmarks/data, for docs/performance.md")
    options = parser.parse_args()
    if options.submit:
        submit(options.submit, options.tasks)
        return
    with tempfile.TemporaryDirectory(prefix="dart-interactive-") as folder, installation(Path(folder)) as installed:
        rows = measure(installed, options.tasks, options.trips)
    print("".join(f"{name.replace('_', ' '):>16}" for name in rows[0]))
    for one in rows:
        print("".join(f"{value:>16}" for value in one.values()))
    if options.write:
        write("interactive", rows)


if __name__ == "__main__":
    main()
