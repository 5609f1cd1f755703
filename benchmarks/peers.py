"""`make bench-peers`: DART, the yardstick and the peers that are installed, on the same workloads one after the other.

python benchmarks/peers.py [--peers pool dask parsl ipyparallel celery] [--workloads w1,w2,w4] [--n 2000] [--write]

Each peer runs as it comes: its own bulk call, two worker processes on this machine, nothing tuned, without encryption
where that is its default and with nothing kept on disk. DART has durability, TLS and CURVE on. A peer that is not
installed is skipped with a message.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import harness

HERE = Path(__file__).resolve().parent
SECONDS_MAX = 600
FIGURES = (
    ("W1", "tasks_per_s", "W1 tasks/s"),
    ("W1", "cpu_us_total", "CPU us/task"),
    ("W2", "p50_ms", "W2 p50 ms"),
    ("W2", "p99_ms", "p99 ms"),
    ("W4", "drain_per_s", "W4 drain/s"),
)


class Pool(harness.Peer):
    """The standard library's pool of processes: no network at all."""

    name = "pool"
    needs = ""

    def start(self) -> None:
        self.executor = ProcessPoolExecutor(harness.WORKERS)

    def submit_many(self, function, arguments):
        return [self.executor.submit(function, argument) for argument in arguments]

    def collect(self, handle):
        return [future.result(300) for future in handle]

    def role(self, process) -> str:  # noqa: ARG002 - all are workers
        return "worker"

    def stop(self) -> None:
        self.executor.shutdown()


class Dask(Pool):
    """A scheduler and workers as processes of their own."""

    name = "dask"
    needs = "distributed"

    def start(self) -> None:
        from distributed import Client, LocalCluster  # noqa: PLC0415 - only where it is installed

        self.cluster = LocalCluster(
            n_workers=harness.WORKERS, threads_per_worker=1, dashboard_address=None, local_directory=str(self.folder)
        )
        self.executor = Client(self.cluster)

    def submit_many(self, function, arguments):
        return self.executor.map(function, list(arguments), pure=False)

    def collect(self, handle):
        return self.executor.gather(handle)

    def stop(self) -> None:
        self.executor.close()
        self.cluster.close()


class Parsl(Pool):
    """Its executor with an interchange, the one for many workers."""

    name = "parsl"
    needs = "parsl"

    def start(self) -> None:
        import parsl  # noqa: PLC0415 - as above
        from parsl.executors import HighThroughputExecutor  # noqa: PLC0415 - as above
        from parsl.providers import LocalProvider  # noqa: PLC0415 - as above

        executor = HighThroughputExecutor(
            label="bench",
            max_workers_per_node=harness.WORKERS,
            address="127.0.0.1",
            provider=LocalProvider(max_blocks=1),
        )
        self.parsl = parsl
        parsl.load(parsl.Config(executors=[executor], run_dir=str(self.folder / "run"), usage_tracking=0))
        self.apps: dict[str, Any] = {}

    def submit_many(self, function, arguments):
        app = self.apps.setdefault(function.__name__, self.parsl.python_app(function))
        return [app(argument) for argument in arguments]

    def stop(self) -> None:
        self.parsl.dfk().cleanup()
        self.parsl.clear()


class IPyParallel(Pool):
    """A controller with its schedulers, and engines."""

    name = "ipyparallel"
    needs = "ipyparallel"

    def start(self) -> None:
        import ipyparallel  # noqa: PLC0415 - as above

        self.cluster = ipyparallel.Cluster(n=harness.WORKERS, log_level=40, profile_dir=str(self.folder / "profile"))
        self.executor = self.cluster.start_and_connect_sync()
        self.executor[:].apply_sync(sys.path.insert, 0, str(HERE))
        self.view = self.executor.load_balanced_view()

    def submit_many(self, function, arguments):
        return self.view.map_async(function, list(arguments))

    def collect(self, handle):
        return list(handle.get(300))

    def stop(self) -> None:
        self.executor.close()
        self.cluster.stop_cluster_sync()


class Celery(Pool):
    """With a Redis of its own, if the program is there."""

    name = "celery"
    needs = "celery redis /redis-server"

    def start(self) -> None:
        socket = self.folder / "redis.sock"
        self.spawn("redis-server", "--port", 0, "--unixsocket", socket, "--save", "", "--dir", self.folder)
        os.environ["BENCH_REDIS"] = f"redis+socket://{socket}"
        import celery_tasks  # noqa: PLC0415 - as above

        self.tasks = celery_tasks.TASKS
        command = (sys.executable, "-m", "celery", "-A", "celery_tasks", "worker", "-c", harness.WORKERS, "-l", "ERROR")
        self.spawn("env", f"PYTHONPATH={HERE}", *command)

    def submit_many(self, function, arguments):
        task = self.tasks[function.__name__]
        return [task.delay(argument) for argument in arguments]

    def collect(self, handle):
        return [result.get(300) for result in handle]

    def stop(self) -> None:
        """Its processes are ended with all others."""


PEERS = {kind.name: kind for kind in (Pool, Dask, Parsl, IPyParallel, Celery)}


def missing(kind: type[Pool]) -> list[str]:
    """What this peer needs and what is not there."""
    return [
        need.removeprefix("/")
        for need in kind.needs.split()
        if (shutil.which(need[1:]) if need[0] == "/" else importlib.util.find_spec(need)) is None
    ]


def run(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The lines of one peer."""
    script = {"dart": ["dart_peer.py"], "yardstick": ["yardstick.py"]}.get(name, ["peers.py", "--one", name])
    counts = ["--n", str(options.n), "--n-latency", "200", "--n-backlog", str(options.n), "--reps", "1"]
    command = [sys.executable, str(HERE / script[0]), *script[1:], "--workloads", options.workloads, *counts]
    further = os.environ.get("PYTHONPATH", "").split(os.pathsep) if name in PEERS else []
    environment = {
        **os.environ,
        "BENCH_T0": str(time.time()),
        "PATH": os.pathsep.join([*(str(Path(folder) / "bin") for folder in further), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(HERE), *further]),
    }
    try:
        done = subprocess.run(
            [*command, "--quiet-limit", "1"],
            capture_output=True, check=False, env=environment, text=True, timeout=SECONDS_MAX,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        print(f"{name}: not done in {SECONDS_MAX} s", file=sys.stderr)
        return []
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        print(f"{name}: failed\n{done.stderr[-800:]}", file=sys.stderr)
    for line in lines:
        if "error" in line:
            print(f"{name}: {line['workload']}: {line['error']}", file=sys.stderr)
    return lines


def main() -> int:
    """All of them, and the table."""
    if sys.argv[1:2] == ["--one"]:
        kind = PEERS[sys.argv[2]]
        del sys.argv[1:3]
        return harness.main(kind)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=[*PEERS], choices=[*PEERS])
    parser.add_argument("--workloads", default="w1,w2,w4")
    parser.add_argument("--n", type=int, default=2000, help="tasks of W1 and W4")
    parser.add_argument("--write", action="store_true", help="into benchmarks/data, for docs/performance.md")
    options = parser.parse_args()
    rows = []
    print(f"{'':<14}" + "".join(f"{label:>14}" for _, _, label in FIGURES))
    for name in ("yardstick", "dart", *options.peers):
        lacks = missing(PEERS[name]) if name in PEERS else []
        if lacks:
            print(f"{name:<14}skipped: {', '.join(lacks)} not installed")
            continue
        found = {line["workload"]: line for line in run(name, options)}
        row = {label: found.get(workload, {}).get(member) for workload, member, label in FIGURES}
        rows.append({"peer": name, **row})
        print(f"{name:<14}" + "".join(f"{'-' if value is None else value:>14}" for value in row.values()), flush=True)
    if options.write:
        from figures import write  # noqa: PLC0415 - not where a peer runs

        write("peers", rows, tasks=options.n)
    return 0


if __name__ == "__main__":
    sys.exit(main())
