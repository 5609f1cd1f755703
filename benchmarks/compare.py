"""DART beside the yardstick in the same run, and the ratios: absolute values of a shared machine mean little."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from figures import write

HERE = Path(__file__).resolve().parent
FIGURES = (
    # workload, member, what it is, whether more is better
    ("W1", "tasks_per_s", "W1 no-op tasks/s", True),
    ("W1", "cpu_us_total", "W1 CPU us a task", False),
    ("W1h", "tasks_per_s", "W1 by historic REST/s", True),
    ("W2", "p50_ms", "W2 round trip p50 ms", False),
    ("W2", "p99_ms", "W2 round trip p99 ms", False),
    ("W3a", "mb_per_s", "W3a 1 MiB values MB/s", True),
    ("W3b", "mb_per_s", "W3b 64 MiB values MB/s", True),
    ("W4", "drain_per_s", "W4 backlog drained/s", True),
    ("W5", "cold_start_s", "W5 cold start s", False),
    ("W6", "wall_s", "W6 word count s", False),
    ("W6p", "wall_s", "W6, a pool as yardstick", False),
)


def run(script: str, workloads: str, options: list[str], *before: str) -> dict[str, dict]:
    """The lines of one peer by workload; `before` is put before all other arguments of its script."""
    how = [*before, "--end-with-stdin", "--workloads", workloads, *options]
    command = [sys.executable, str(HERE / script), *how]
    environment = {**os.environ, "BENCH_T0": str(time.time())}
    read, write = os.pipe()  # ends with this process, and everything that it started with it
    try:
        done = subprocess.run(
            command, stdin=read, stdout=subprocess.PIPE, check=False, env=environment, text=True, timeout=1200
        )
    finally:
        os.close(read)
        os.close(write)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["workload"]: line for line in lines}


def main() -> int:
    """Run both, print the table; exit code 1 if a workload failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workloads", default="w5,w1,w2,w3,w4,w6")
    parser.add_argument("--write", action="store_true", help="keep the figures for the page of performance")
    parser.add_argument("--long", action="store_true", help="as the published figures: more tasks, more repetitions")
    options = parser.parse_args()
    extra = ["--reps", "3"] if options.long else ["--reps", "1", "--n-backlog", "20000", "--quiet-limit", "2"]
    yardstick, dart = (run(script, options.workloads, extra) for script in ("yardstick.py", "dart_peer.py"))
    if "w1" in options.workloads:
        yardstick["W1h"], dart["W1h"] = yardstick.get("W1", {}), run("historic_peer.py", "w1", extra).get("W1", {})
    if "w6" in options.workloads:
        # No network, no server: what two processes of this machine can do with the files.
        yardstick["W6p"], dart["W6p"] = run("peers.py", "w6", extra, "--one", "pool").get("W6", {}), dart.get("W6", {})
    print(f"{'':<24}{'yardstick':>12}{'dart':>12}{'ratio':>9}")
    rows = []
    for workload, member, label, more in FIGURES:
        if workload.lower().rstrip("abhp") not in options.workloads:
            continue
        bare, ours = yardstick.get(workload, {}).get(member), dart.get(workload, {}).get(member)
        ratio = f"{(ours / bare if more else bare / ours):.2f}" if bare and ours else "-"
        print(f"{label:<24}{bare if bare is not None else '-':>12}{ours if ours is not None else '-':>12}{ratio:>9}")
        rows.append({"what": label, "yardstick": bare, "dart": ours, "ratio": ratio})
    if memory := dart.get("W5", {}).get("mem_idle"):
        print(
            "idle private MB: " + ", ".join(f"{role} {told['uss_mb']} ({told['n']})" for role, told in memory.items())
        )
    if options.write:
        write("compare", rows)
    for line in (*yardstick.values(), *dart.values()):
        if "error" in line:
            print(f"{line['peer']} {line['workload']}: {line['error']}")
    return int(any("error" in line for line in (*yardstick.values(), *dart.values())) or not dart or not yardstick)


if __name__ == "__main__":
    sys.exit(main())
