"""Tasks of one second on four slots far away: how much of their time are the slots busy?

python benchmarks/alone/wan.py [--tasks 80] [--write]

The agent is in a network namespace of its own; between it and the server each packet takes 50 ms (a round trip of
100 ms) or 100 ms, and one of 100 is lost. Needs root and /dev/net/tun, and PYTHONPATH has to name `tests`, for
the wire is the tests' own. Busy is the time in the tasks, of slots times the time from the first begin to the last end.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from harness.network import missing, network  # before ours, which have a module of that name

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from figures import Others, write
from installation import Installation

SLOTS = 4
SECONDS = 1.0
LINKS = ((0.0, 0.0), (0.05, 0.01), (0.1, 0.01))
"""Seconds one way, and the part that is lost."""


def measure(tasks: int, delay: float, loss: float) -> dict[str, Any]:
    """One quality of the link."""
    with tempfile.TemporaryDirectory(prefix="dart-wan-") as folder, network(1) as net:
        installed = Installation(Path(folder), "--host", net.address, "--agent-host", net.address)
        try:
            installed.start_server()
            net.worsen(1, loss=loss, delay=delay)
            installed.start_agent("far", SLOTS, *net.inside(1))
            others = Others()
            with installed.client() as client:
                client.define_job("j", "bench_tasks", "pause")
                client.submit("j", [{"parameter": 0.01}] * SLOTS, wait=30)
                client.submit("j", [{"parameter": SECONDS}] * tasks)
                times, cursor = [], "0"
                while len(times) < tasks:
                    page = client.results("j", tasks, after=cursor, wait=20)
                    cursor = page["cursor"]
                    ended = [(result["start_time"], result["duration"]) for result in page["results"]]
                    times += [(start, duration) for start, duration in ended if duration >= SECONDS / 2]
        finally:
            installed.close()
    took = max(start / 1000 + duration for start, duration in times) - min(start for start, _ in times) / 1000
    busy = sum(duration for _, duration in times) / (SLOTS * took)
    return {
        "one_way_ms": round(delay * 1000),
        "lost_percent": round(loss * 100),
        "tasks": tasks,
        "took_s": round(took, 2),
        "busy_percent": round(100 * busy, 1),
        "others_percent": others.percent(),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=80)
    parser.add_argument("--write", action="store_true", help="into benchmarks/data, for docs/performance.md")
    options = parser.parse_args()
    if reason := missing():
        print(f"skipped: {reason}")
        return 0
    rows = []
    for delay, loss in LINKS:
        rows.append(measure(options.tasks, delay, loss))
        if len(rows) == 1:
            print("".join(f"{name.replace('_', ' '):>16}" for name in rows[0]))
        print("".join(f"{value:>16}" for value in rows[-1].values()), flush=True)
    if options.write:
        write("wan", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
