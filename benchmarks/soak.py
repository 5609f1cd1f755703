"""`python benchmarks/soak.py MINUTES`: steady load with deletion of results; memory and the database must stay flat.

Every 10 s the private memory (USS) of server, agents and runners and the size of the database are sampled. After a
warm-up the slopes are fitted by least squares, of all that is left and of its second half: what settles grows less
there. Exit code 1 if something grows in both by more than `GROWTH_MB_PER_HOUR` and three times its standard error. A
longer run is not judged more strictly than a short one, and a short one not more kindly.
"""

import argparse
import contextlib
import itertools
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from dart_client import Client, children

MIB = 1 << 20
SAMPLE_SECONDS = 10.0
WARM_UP_PART = 0.3
"""Of the run: caches, allocators and the first checkpoints settle."""
GROWTH_MB_PER_HOUR = 1.0
STEADY_LEAST = 12
"""Samples after the warm-up, for two slopes that mean something."""
AGENTS = 2
SLOTS = 2
BATCH = 200
PARAMETER = "x" * 2000
RATE = 100.0
"""Tasks a second at most: steady, and far below what the machine can do."""
MODULE = "def echo(parameter):\n    return parameter\n"


def start(folder: Path, *arguments: object) -> "subprocess.Popen[bytes]":
    """A process that has said its first line."""
    log = (folder / f"{len(list(folder.glob('*.log')))}.log").open("wb")
    with log:
        process = children.start([str(word) for word in arguments[1:]], module=str(arguments[0]), log=log)
    assert process.stdout is not None
    if not process.stdout.readline():
        raise RuntimeError(f"{arguments} did not start; see {folder}")
    return process


@contextlib.contextmanager
def installation(folder: Path) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """A server and agents, ended in good order."""
    (folder / "soak_task.py").write_text(MODULE)
    processes: list[subprocess.Popen[bytes]] = []
    state = folder / "server"
    ports = ("--port", 0, "--agent-port", 0)
    try:
        processes.append(start(folder, "dart.cli.main", "server", "start", "--state-dir", state, *ports))
        for number in range(AGENTS):
            home = ("--home", folder / f"home-{number}", "--output-directory", folder, "--module-prefix", folder)
            name = ("--name", f"soak-{number}", "--slots", SLOTS, "--state-dir", state)
            processes.append(start(folder, "dart.agent", *name, *home))
        yield processes
    finally:
        for process in reversed(processes):
            children.end(process, 20)


def sample(folder: Path, processes: list["subprocess.Popen[bytes]"]) -> dict[str, float]:
    """Megabytes of each part."""
    figures = {"server": psutil.Process(processes[0].pid).memory_full_info().uss / MIB, "agents": 0.0, "runners": 0.0}
    for process in processes[1:]:
        agent = psutil.Process(process.pid)
        figures["agents"] += agent.memory_full_info().uss / MIB
        figures["runners"] += sum(runner.memory_full_info().uss for runner in agent.children()) / MIB
    for label, pattern in (("database", "dart.db"), ("write-ahead log", "dart.db-wal")):
        path = folder / "server" / pattern
        figures[label] = path.stat().st_size / MIB if path.exists() else 0.0
    figures["spools"] = sum(path.stat().st_size for path in folder.glob("home-*/spool/*")) / MIB
    return figures


def slope(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Least squares: growth an hour, and its standard error.

    Memory moves in steps that last for minutes, so neighbouring samples are no independent ones: with a correlation r
    of residuals that follow one another the error is larger by the root of (1 + r) / (1 - r).
    """
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    gain = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    residuals = [y - mean_y - gain * (x - mean_x) for x, y in points]
    rest = sum(residual**2 for residual in residuals)
    follow = sum(one * other for one, other in itertools.pairwise(residuals)) / rest if rest else 0.0
    follow = min(max(follow, 0.0), 0.95)
    error = math.sqrt(rest / max(1, count - 2) / spread * (1 + follow) / (1 - follow))
    return gain * 3600, error * 3600


def load_once(client: Client) -> None:
    """One batch: submit, wait for all, delete every result, as a program does that keeps nothing on the server."""
    wanted = set(client.submit("soak", [{"parameter": PARAMETER}] * BATCH)["tasks"])
    cursor = "0"
    while wanted:
        page = client.results("soak", 1000, after=cursor, wait=10.0)
        cursor = page["cursor"]
        done = [result["id"] for result in page["results"]]
        if any(result.get("success") != PARAMETER for result in page["results"]) or not wanted.issuperset(done):
            raise RuntimeError("a wrong result")
        client.delete_results("soak", done)
        wanted.difference_update(done)


def verdict(samples: list[tuple[float, dict[str, float]]], seconds: float) -> bool:
    """Print slopes; whether everything is flat."""
    steady = [entry for entry in samples if entry[0] >= WARM_UP_PART * seconds]
    if len(steady) < STEADY_LEAST:
        raise SystemExit(f"{len(steady)} samples after the warm-up tell nothing; take more minutes.")
    flat = True
    print("| part | first MB | last MB | most MB | MB/hour | +- | second half MB/hour | +- |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for part in steady[0][1]:
        points = [(at, figures[part]) for at, figures in steady]
        slopes = (slope(points), slope(points[len(points) // 2 :]))
        grows = all(gain > GROWTH_MB_PER_HOUR and gain > 3 * error for gain, error in slopes)
        flat &= not grows
        most = max(value for _, value in points)
        shown = " | ".join(f"{gain:+.1f} | {error:.1f}" for gain, error in slopes)
        print(f"| {part} | {points[0][1]:.1f} | {points[-1][1]:.1f} | {most:.1f} | {shown} |" + " GROWS" * grows)
    return flat


def main() -> int:
    """Load, sample, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", type=float)
    parser.add_argument("--samples", type=argparse.FileType("w"), help="file for all samples: seconds, then each part")
    arguments = parser.parse_args()
    seconds = arguments.minutes * 60
    samples: list[tuple[float, dict[str, float]]] = []
    tasks = 0
    with tempfile.TemporaryDirectory(prefix="dart-soak-") as temporary:
        folder = Path(temporary)
        with installation(folder) as processes, Client(state_dir=folder / "server") as client:
            client.define_job("soak", "soak_task", "echo")
            began = time.monotonic()
            while (now := time.monotonic() - began) < seconds:
                load_once(client)
                tasks += BATCH
                if not samples or now - samples[-1][0] >= SAMPLE_SECONDS:
                    samples.append((now, sample(folder, processes)))
                    if arguments.samples:
                        figures = " ".join(f"{value:.2f}" for value in samples[-1][1].values())
                        print(f"{now:.0f} {figures}", file=arguments.samples, flush=True)
                ahead = tasks / RATE - (time.monotonic() - began)
                time.sleep(max(0.0, ahead))
    flat = verdict(samples, seconds)
    print(f"{tasks} tasks in {seconds:.0f} s, {tasks / seconds:.0f}/s, {len(samples)} samples")
    print("flat" if flat else "GROWS")
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
