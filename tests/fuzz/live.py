"""A whole installation under fire: `python -m fuzz.live --minutes 10`. Prints a table; 1 if something did not hold.

A server and an agent run as anybody's would. A well-behaved client runs one small task after the other, first in quiet,
then while attackers (`attacks.py`) come from all sides, then in quiet again. Judged are: nobody died and nothing was
logged as an error; each answer to an attacker was right; the server's memory does not grow; and the client's p99 is at
most twice what it is in quiet. Attackers share the machine with the server, so their pace is modest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import requests

import dart_client
from dart.wire import curve
from harness.cluster import Cluster, cluster
from harness.modules import write_modules

PACES = {
    "rest_garbage": 10,
    "rest_strangers": 10,
    "rest_mutated": 10,
    "router_garbage": 20,
    "router_wrong_key": 3,
    "router_enrolled": 3,
    "silent": 1,
}
"""Bad things a second of each kind."""
QUIET_PART = 0.15
"""Of the run before the attack, and as much after it."""
CALM_SECONDS = 10.0
"""After the attack, before it counts as quiet: handshakes run out."""
GROWTH_MIB_PER_HOUR = 40.0
"""In the last quarter of the attack. Buffers of connections come and go by about a MiB, which is as much in the last
quarter of ten minutes."""
JUDGED_SECONDS = 300.0
"""Shorter attacks tell nothing of memory."""
WARM_UP_TASKS = 40_000
"""Submitted one by one before all else, if memory is judged: they fill the page cache of the database (16 MiB) and the
bounded list of remembered submissions, which would look like growth for an hour at a lower pace."""
WARM_UP_THREADS = 6
MIB = 1 << 20


class Client(threading.Thread):
    """Well-behaved: one task, its result, the next."""

    def __init__(self, running: Cluster) -> None:
        super().__init__(daemon=True)
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {running.server.key}"
        self.url = running.server.url
        self.times: list[tuple[float, float]] = []
        """When a task was begun, and how long it took to its result."""
        self.faults: list[str] = []
        self.over = threading.Event()

    def call(self, method: str, path: str, /, **members: Any) -> Any:
        answer = self.session.request(method, self.url + path, json=members, timeout=30, verify=False)
        if answer.status_code != requests.codes.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def run(self) -> None:
        cursor = "0"
        while not self.over.is_set():
            began = time.monotonic()
            try:
                self.call(
                    "POST",
                    "/job/steady/tasks/",
                    location_and_parameters=[{"location": "steady", "parameter": "x" * 100}],
                )
                results: list[Any] = []
                while not results:
                    page = self.call("GET", "/job/steady/results/", amount=10, wait=5, after=cursor)
                    results, cursor = page["results"], page["cursor"]
                for result in results:
                    self.call("DELETE", f"/job/steady/results/{result['id']}/")
            except (RuntimeError, requests.RequestException) as error:
                self.faults.append(str(error))
            self.times.append((began, time.monotonic() - began))
            time.sleep(0.02)

    def between(self, start: float, end: float) -> list[float]:
        return sorted(took for began, took in self.times if start <= began < end)


class Sampler(threading.Thread):
    """The server's private memory and descriptors, once a second."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.samples: list[tuple[float, float, int]] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(1.0):
            self.samples.append((time.monotonic(), self.process.memory_full_info().uss / MIB, self.process.num_fds()))

    def slope(self, start: float, end: float) -> float:
        """MiB an hour, by least squares."""
        points = [(at, used) for at, used, _ in self.samples if start <= at < end]
        mean_x = sum(x for x, _ in points) / len(points)
        mean_y = sum(y for _, y in points) / len(points)
        spread = sum((x - mean_x) ** 2 for x, _ in points) or 1.0
        return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def attack(place: dict[str, Any], seconds: float) -> dict[str, dict[str, Any]]:
    """All kinds at once; what each has to tell."""
    attackers = {}
    for kind, pace in PACES.items():
        attackers[kind] = subprocess.Popen(
            [sys.executable, "-m", "fuzz.attacks", kind, str(seconds), str(pace)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stdin = attackers[kind].stdin
        assert stdin is not None
        stdin.write(json.dumps(place) + "\n")
        stdin.flush()
    told = {}
    try:
        for kind, process in attackers.items():
            out, _ = process.communicate(timeout=seconds + 120)
            told[kind] = (
                json.loads(out.splitlines()[-1]) if process.returncode == 0 else {"counted": {}, "faults": ["it died"]}
            )
    finally:
        for process in attackers.values():
            process.kill()
            process.wait()
    return told


def place_of(running: Cluster, client: Client) -> dict[str, Any]:
    """What attackers may know: a client's key, and an agent's."""
    known = client.call("POST", "/key/", scope="submit", name="fuzz", job_regex="fuzz.*")
    keys = curve.KeyPair.make()
    server = json.loads((running.state_dir / "server.json").read_text())
    client.call("POST", "/enroll/", name="rogue", public_key=curve.key_text(keys.public))
    return {
        "url": running.server.url,
        "agents_url": running.server.agents_url,
        "key": known["text"],
        "server_key": server["server_public_key"],
        "agent_public": keys.public_text,
        "agent_secret": curve.key_text(keys.secret),
    }


def warm_up(running: Cluster) -> None:
    """Fill what is bounded: many tasks, one a call."""
    with dart_client.Client(state_dir=running.state_dir) as client:

        def submit(_: int) -> None:
            client.submit("warm", [{"parameter": "x" * 200}], wait=10.0)

        client.define_job("warm", "m", "run")
        with ThreadPoolExecutor(WARM_UP_THREADS) as threads:
            for _ in threads.map(submit, range(WARM_UP_TASKS)):
                pass


def percentile(times: list[float], part: float) -> float:
    return times[min(len(times) - 1, int(len(times) * part))] if times else float("nan")


def run(minutes: float, folder: Path) -> bool:
    """Everything; whether all held."""
    seconds = minutes * 60
    quiet = seconds * QUIET_PART
    config = write_modules(folder, m="def run(parameter): return parameter")
    with cluster(folder) as running:
        running.start_agent("steady", config=config)
        client = Client(running)
        client.call("POST", "/job/", name="steady", module_path="m", method="run")
        client.call("POST", "/job/", name="fuzz-1", module_path="m", method="run")
        place = place_of(running, client)
        sampler = Sampler(psutil.Process(running.server.process.pid))
        if seconds - 2 * quiet >= JUDGED_SECONDS:
            warm_up(running)
        client.start()
        sampler.start()
        time.sleep(5.0)  # the first tasks start a runner
        marks = [time.monotonic()]
        time.sleep(quiet)
        marks.append(time.monotonic())
        told = attack(place, seconds - 2 * quiet)
        marks.append(time.monotonic())
        time.sleep(CALM_SECONDS)
        marks.append(time.monotonic())
        time.sleep(quiet)
        marks.append(time.monotonic())
        client.over.set()
        sampler.over.set()
        client.join(60)
        alive = all(process.poll() is None for process in running.processes)
    log = "\n".join(path.read_text() for path in folder.glob("*.log"))
    return report(client, sampler, marks, told, alive=alive, log=log)


def report(
    client: Client, sampler: Sampler, marks: list[float], told: dict[str, Any], *, alive: bool, log: str
) -> bool:
    before, during, after = (client.between(*marks[at : at + 2]) for at in (0, 1, 3))
    calm = sorted(before + after)
    print("| client | tasks | p50 ms | p99 ms | max ms |\n| --- | ---: | ---: | ---: | ---: |")
    for label, times in (("quiet, before", before), ("under attack", during), ("quiet, after", after)):
        figures = " | ".join(f"{1000 * percentile(times, part):.0f}" for part in (0.5, 0.99, 1.0))
        print(f"| {label} | {len(times)} | {figures} |")
    print("\n| attack | what came of it |\n| --- | --- |")
    faults = list(client.faults)
    for kind, what in told.items():
        print(f"| {kind} | {', '.join(f'{name}: {count}' for name, count in sorted(what['counted'].items()))} |")
        faults += what["faults"]
    errors = Counter(line for line in log.splitlines() if " ERROR " in line or "Traceback" in line)
    settled = marks[1] + 0.75 * (marks[2] - marks[1])
    slope, late = sampler.slope(marks[1], marks[2]), sampler.slope(settled, marks[2])
    used = [memory for at, memory, _ in sampler.samples if at >= marks[0]]
    ratio = percentile(during, 0.99) / percentile(calm, 0.99)
    print(f"\nserver: {used[0]:.0f} MiB at first, {max(used):.0f} at most, {used[-1]:.0f} at last", end="; ")
    steps = [used[at] for at in range(0, len(used), max(1, len(used) // 20))]
    print("over time " + " ".join(f"{memory:.0f}" for memory in steps), end="; ")
    print(f"under attack {slope:+.0f} MiB/h, in its last quarter {late:+.0f}", end="; ")
    print(f"descriptors {max(fds for *_, fds in sampler.samples)} at most, {sampler.samples[-1][2]} at last")
    print(f"p99 under attack is {ratio:.2f} times that in quiet")
    verdicts = {
        "everybody lives": alive,
        "no error is logged": not errors,
        "every answer is right": not faults,
        # Of a short run nothing can be said.
        "memory does not grow": late <= GROWTH_MIB_PER_HOUR or marks[2] - marks[1] < JUDGED_SECONDS,
        "p99 at most doubles": ratio <= 2.0,
    }
    for line in (*faults[:10], *list(errors)[:10]):
        print(line[:1000])
    for name, holds in verdicts.items():
        print(f"{'holds ' if holds else 'BROKEN'} {name}")
    return all(verdicts.values())


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10.0)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="dart-live-") as folder:
        return 0 if run(arguments.parse_args().minutes, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
