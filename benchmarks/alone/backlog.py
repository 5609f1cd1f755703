"""W4: what a queued task costs in memory, and whether a backlog is drained as fast when it is a thousand times as long.

python benchmarks/alone/backlog.py [--queued 1000 10000 100000 1000000] [--drain 20000] [--write]

A server with two agents of one slot each, both held back. So many no-op tasks are submitted over REST; the server's
private memory (USS; the store's pages are in the kernel's cache and not in it) is compared with that before. Then the
agents go on, and the first `--drain` results from this backlog are timed, or all of a shorter one; shorter ones are
drained several times. CPU a task is counted beside the time, for that is what a busy machine leaves as it is.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import msgpack
import psutil
from figures import Others, write
from installation import Installation, installation, rest_until_quiet

from dart_client import Client

AGENTS = 2
PIECE = 5_000
"""Tasks of one POST, as the SDK makes them."""
PAGE = 1000
POLL_SECONDS = 0.02
PARAMETER = 7


def gate(installed: Installation, client: Client, number: int) -> None:
    """Hold both agents back, until the file is there."""
    path = installed.folder / f"gate-{number}"
    locations = [f"w{agent}" for agent in range(AGENTS)]
    entries = [{"location": location, "parameter": str(path), "priority": 5} for location in locations]
    client.submit("gate", entries)
    deadline = time.monotonic() + 30
    while len(list(installed.folder.glob(f"gate-{number}.*"))) < AGENTS and time.monotonic() < deadline:
        time.sleep(0.05)


def submit(client: Client, job: str, amount: int) -> None:
    """The tasks, in as many requests as it takes."""
    entry = {"location": "", "parameter": PARAMETER}
    for start in range(0, amount, PIECE):
        piece = [entry] * min(PIECE, amount - start)
        body = msgpack.packb({"location_and_parameters": piece})
        client.connection.call("POST", f"/job/{job}/tasks/", body, seconds=300)


def done(client: Client, job: str) -> int:
    return int(client.job_info(job)["tasks"].get("succeeded", 0))


def drain(installed: Installation, client: Client, job: str, amount: int, path: Path) -> tuple[float, float, float]:
    """Seconds, CPU of the server and CPU of server and agents a task, while so many are done.

    Time is the workers': from the begin of the first call to the end of the last.
    """
    processes = [psutil.Process(each.pid) for each in installed.running]
    family = [one for process in processes for one in (process, *process.children(recursive=True))]

    def cpu() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in family)

    server, everybody = installed.server_cpu(), cpu()
    path.touch()
    while (finished := done(client, job)) < amount:
        time.sleep(POLL_SECONDS)
    # All that were done, also those that nobody waited for.
    spent, everybody = (installed.server_cpu() - server) / finished, (cpu() - everybody) / finished
    cursor, found = "0", []
    while len(found) < amount:
        page = client.results(job, PAGE, after=cursor)
        cursor = page["cursor"]
        found += [(result["start_time"], result["duration"]) for result in page["results"]]
    took = max(start / 1000 + duration for start, duration in found) - min(start for start, _ in found) / 1000
    return took / len(found), spent, everybody


def measure(queued: int, amount: int, rounds: int) -> dict[str, Any]:
    """One length of backlog."""
    with tempfile.TemporaryDirectory(prefix="dart-backlog-") as folder, installation(Path(folder)) as installed:
        for agent in range(AGENTS):
            installed.start_agent(f"w{agent}")
        with installed.client() as client:
            client.define_job("gate", "bench_tasks", "gate")
            figures: list[tuple[float, float, float]] = []
            others = Others()
            for number in range(rounds):
                job = f"job-{number}"
                client.define_job(job, "bench_tasks", "noop")
                gate(installed, client, number)
                if number == 0:
                    rest_until_quiet(installed)
                    before, began, cpu = installed.server_uss(), time.monotonic(), installed.server_cpu()
                submit(client, job, queued)
                if number == 0:
                    submitted, spent = time.monotonic() - began, installed.server_cpu() - cpu
                    rest_until_quiet(installed)
                    after = installed.server_uss()
                path = installed.folder / f"gate-{number}"
                figures.append(drain(installed, client, job, min(queued, amount), path))
                if queued <= amount:
                    rest_until_quiet(installed)
            middle = [sorted(column)[len(figures) // 2] for column in zip(*figures, strict=True)]
            return {
                "queued": queued,
                "bytes_a_task": round((after - before) / queued),
                "submitted_per_s": round(queued / submitted),
                "submit_server_us": round(spent / queued * 1e6, 1),
                "drained_per_s": round(1 / middle[0]),
                "drain_server_us": round(middle[1] * 1e6, 1),
                "drain_all_us": round(middle[2] * 1e6, 1),
                "others_percent": others.percent(),
            }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queued", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--drain", type=int, default=50_000)
    parser.add_argument("--write", action="store_true", help="into benchmarks/data, for docs/performance.md")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for queued in options.queued:
        rounds = max(1, min(9, options.drain // queued // 2))
        rows.append(measure(queued, options.drain, rounds))
        if len(rows) == 1:
            print("".join(f"{name.replace('_', ' '):>18}" for name in rows[0]))
        print("".join(f"{value:>18}" for value in rows[-1].values()), flush=True)
    if options.write:
        write("backlog", rows)


if __name__ == "__main__":
    main()
