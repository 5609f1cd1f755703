"""Throughput against payload: values of 10 bytes to 10 MB there and back through the SDK, to two workers.

python benchmarks/alone/payload.py [--sizes 10 1000 100000 1000000 10000000] [--write]
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from figures import Others, write
from installation import installation

AGENTS = 2
TOTAL_BYTES = 40_000_000
TASKS_MAX = 5_000
ROUNDS = 3


def main() -> None:
    """Measure and print; the fastest of some rounds, for others can only slow it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 1000, 10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--write", action="store_true", help="into benchmarks/data, for docs/performance.md")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="dart-payload-") as folder, installation(Path(folder)) as installed:
        for number in range(AGENTS):
            installed.start_agent(f"w{number}")
        with installed.client() as client:
            job = client.job("j", "bench_tasks", "echo")
            [future.result(60) for future in job.submit_many([b""] * 100)]
            for size in options.sizes:
                count = max(2, min(TASKS_MAX, TOTAL_BYTES // size))
                values = [random.randbytes(size) for _ in range(min(count, 16))]
                others, best = Others(), float("inf")
                for _ in range(ROUNDS):
                    began = time.perf_counter()
                    futures = job.submit_many(values[number % len(values)] for number in range(count))
                    for number, future in enumerate(futures):
                        assert future.result(300) == values[number % len(values)]
                    best = min(best, time.perf_counter() - began)
                rate = {"tasks_per_s": round(count / best, 1), "mb_per_s": round(2 * count * size / best / 1e6, 1)}
                rows.append({"bytes": size, "tasks": count, **rate, "others_percent": others.percent()})
                if len(rows) == 1:
                    print("".join(f"{name.replace('_', ' '):>16}" for name in rows[0]))
                print("".join(f"{value:>16}" for value in rows[-1].values()), flush=True)
    if options.write:
        write("payload", rows)


if __name__ == "__main__":
    main()
