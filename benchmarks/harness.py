"""Measures a peer on workloads W1 to W6; one line of JSON a workload on stdout.

W1: no-op tasks submitted at once, one tracked task each. W2: round trips one after the other. W3a, W3b: 64 values of
1 MiB and 4 of 64 MiB, there and back. W4: a backlog built while the workers are held back, then drained. W5: from
process start to the first result, and idle memory. W6: words of 64 MB of text in 16 files.
"""

import argparse
import collections
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import bench_tasks
import psutil

from dart.stdin_end import end_with_stdin

WORKERS = 2
MIB = 1 << 20
QUIET_PERCENT = 6.0
"""CPU that others may take of the machine in a measurement that counts."""
TEXT = Path(__file__).parent / ".data"


class Peer:
    """What can be measured. `start`, `submit_many` and `collect` are the peer's; processes that it starts end here."""

    name = "?"
    variants = ("",)

    def __init__(self, variant: str, folder: Path) -> None:
        self.variant, self.folder = variant, folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        raise NotImplementedError

    def submit_many(self, function, arguments) -> Any:
        """Start one task for each argument, in the peer's bulk idiom; gives what `collect` takes."""
        raise NotImplementedError

    def collect(self, handle) -> list[Any]:
        """All results, in order."""
        raise NotImplementedError

    def one(self, function, argument) -> Any:
        return self.collect(self.submit_many(function, [argument]))[0]

    def role(self, process: psutil.Process) -> str:
        raise NotImplementedError

    def stop(self) -> None:
        """Close what is open in this process."""

    def spawn(self, *arguments: object) -> subprocess.Popen[bytes]:
        """A process that is ended at the end; its stdin ends when this process is killed before that."""
        with (self.folder / f"process{len(self.processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def end_processes(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdin.close()
            process.stdout.close()


def tree() -> list[psutil.Process]:
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def by_role(peer: Peer, measure) -> dict[str, float]:
    """A figure summed over the processes of each role."""
    found: dict[str, float] = collections.defaultdict(float)
    for process in tree():
        try:
            role = "client" if process.pid == os.getpid() else peer.role(process)
            found[role] += measure(process)
        except psutil.Error:
            continue
    return dict(found)


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def memory(peer: Peer) -> dict[str, Any]:
    """Role -> number, resident and private MB."""
    count = by_role(peer, lambda _: 1)
    private = by_role(peer, lambda process: process.memory_full_info().uss)
    resident = by_role(peer, lambda process: process.memory_info().rss)
    return {
        role: {"n": int(count[role]), "rss_mb": round(resident[role] / MIB, 1), "uss_mb": round(private[role] / MIB, 1)}
        for role in sorted(private)
    }


class Meter:
    """Wall and CPU time of an interval by role, and what others took of the machine meanwhile."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.machine, self.cpu, self.began = psutil.cpu_times(), by_role(peer, cpu_seconds), time.perf_counter()

    def stop(self, tasks: int = 1) -> "Meter":
        self.wall = time.perf_counter() - self.began
        now, machine = by_role(self.peer, cpu_seconds), psutil.cpu_times()
        took = {role: max(0.0, now[role] - self.cpu.get(role, 0.0)) for role in now}
        busy = sum(getattr(machine, kind) - getattr(self.machine, kind) for kind in ("user", "nice", "system"))
        self.foreign = round(max(0.0, busy - sum(took.values())) / (self.wall * psutil.cpu_count()) * 100, 1)
        self.cpu_us = {role: round(seconds * 1e6 / tasks, 1) for role, seconds in sorted(took.items()) if seconds}
        self.cpu_us_total = round(sum(took.values()) * 1e6 / tasks, 1)
        return self


def wait_until_quiet(peer: Peer, seconds: float) -> None:
    """Until others leave the machine alone, at most so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        meter = Meter(peer)
        time.sleep(0.5)
        if meter.stop().foreign < QUIET_PERCENT:
            return


def settle(peer: Peer, seconds: float = 60.0) -> None:
    """Until our own processes have nothing to do."""
    deadline, last = time.monotonic() + seconds, sum(by_role(peer, cpu_seconds).values())
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = sum(by_role(peer, cpu_seconds).values())
        if now - last < 0.05:
            return
        last = now


class Bench:
    """The workloads on one peer."""

    def __init__(self, peer: Peer, options: argparse.Namespace) -> None:
        self.peer, self.options = peer, options

    def emit(self, workload: str, **figures: Any) -> None:
        line = {"peer": self.peer.name, "variant": self.peer.variant, "workload": workload, **figures}
        print(json.dumps({**line, "load1": round(os.getloadavg()[0], 2)}), flush=True)

    def repeat(self, run, right, tasks: int) -> tuple[list[float], dict[str, Any]]:
        """Wall times of the repetitions that others disturbed least, and figures of the median one."""
        meters = []
        while len(meters) < self.options.reps + 2:
            wait_until_quiet(self.peer, self.options.quiet_limit)
            meter = Meter(self.peer)
            got = run()
            meters.append(meter.stop(tasks))
            if not right(got):
                raise RuntimeError("wrong results")
            if sum(meter.foreign < QUIET_PERCENT for meter in meters) >= self.options.reps:
                break
        best = sorted(meters, key=lambda meter: meter.foreign)[: self.options.reps]
        walls = [meter.wall for meter in best]
        middle = sorted(best, key=lambda meter: meter.wall)[len(best) // 2]
        figures = {
            "runs": len(meters),
            "spread": round((max(walls) - min(walls)) / statistics.median(walls), 3),
            "cpu_us_per_task": middle.cpu_us,
            "cpu_us_total": middle.cpu_us_total,
            "foreign_pct": [meter.foreign for meter in best],
        }
        return walls, figures

    def w1(self) -> None:
        peer, count = self.peer, self.options.n
        peer.collect(peer.submit_many(bench_tasks.noop, range(max(20, count // 10))))
        walls, figures = self.repeat(
            lambda: peer.collect(peer.submit_many(bench_tasks.noop, range(count))),
            lambda got: list(got) == list(range(count)),
            count,
        )
        rate = round(count / statistics.median(walls), 1)
        self.emit("W1", n=count, tasks_per_s=rate, reps=[round(count / wall, 1) for wall in walls], **figures)

    def w2(self) -> None:
        peer, count = self.peer, self.options.n_latency
        for number in range(max(3, count // 10)):
            peer.one(bench_tasks.noop, number)
        wait_until_quiet(peer, self.options.quiet_limit)
        meter, trips = Meter(peer), []
        for number in range(count):
            began = time.perf_counter()
            if peer.one(bench_tasks.noop, number) != number:
                raise RuntimeError("wrong result")
            trips.append((time.perf_counter() - began) * 1e3)
        meter.stop(count)
        trips.sort()
        at = {f"p{percent}_ms": round(trips[min(count - 1, count * percent // 100)], 3) for percent in (50, 95, 99)}
        mean = round(statistics.fmean(trips), 3)
        self.emit(
            "W2",
            n=count,
            **at,
            mean_ms=mean,
            cpu_us_per_task=meter.cpu_us,
            cpu_us_total=meter.cpu_us_total,
            foreign_pct=meter.foreign,
        )

    def w3(self) -> None:
        for label, count, size in (("W3a", 64, 1), ("W3b", 4, 64)):
            try:
                self.values(label, count, size)
            except Exception as error:  # noqa: BLE001 - a failure is a figure too
                self.emit(label, error=f"{type(error).__name__}: {error}"[:300])

    def values(self, label: str, count: int, size: int) -> None:
        peer = self.peer
        blobs = [random.randbytes(size * MIB) for _ in range(count)]
        peer.collect(peer.submit_many(bench_tasks.echo, blobs[:2]))
        walls, figures = self.repeat(
            lambda: peer.collect(peer.submit_many(bench_tasks.echo, blobs)), lambda got: list(got) == blobs, count
        )
        rates = [round(2 * count * size * MIB / 1e6 / wall, 1) for wall in walls]
        self.emit(label, n=count, mib=size, mb_per_s=statistics.median(rates), reps=rates, mem=memory(peer), **figures)

    def w4(self) -> None:
        peer, count = self.peer, self.options.n_backlog
        path = self.peer.folder / "gate"
        gates: list[Any] = []
        while (held := len(list(self.peer.folder.glob("gate.*")))) < WORKERS and len(gates) < 12:
            gates.append(peer.submit_many(bench_tasks.gate, [str(path)]))
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline and len(list(self.peer.folder.glob("gate.*"))) == held:
                time.sleep(0.02)
        settle(peer)
        before = memory(peer)
        began = time.perf_counter()
        handle = peer.submit_many(bench_tasks.noop, range(count))
        submitted = time.perf_counter() - began
        settle(peer)
        queued = memory(peer)
        meter = Meter(peer)
        path.touch()
        for held_back in gates:
            peer.collect(held_back)
        got = peer.collect(handle)
        meter.stop(count)
        if list(got) != list(range(count)):
            raise RuntimeError("wrong results")
        each = {role: round((queued[role]["rss_mb"] - before[role]["rss_mb"]) * MIB / count) for role in before}
        self.emit(
            "W4", n=count, gates_held=held, submit_per_s=round(count / submitted, 1),
            drain_per_s=round(count / meter.wall, 1), bytes_per_queued_task=each,
            cpu_us_per_task=meter.cpu_us, cpu_us_total=meter.cpu_us_total, foreign_pct=meter.foreign,
            mem_before=before, mem_queued=queued, mem_after=memory(peer),
        )  # fmt: skip

    def w6(self) -> None:
        peer, paths = self.peer, text_files()

        def run() -> collections.Counter[str]:
            total: collections.Counter[str] = collections.Counter()
            for part in peer.collect(peer.submit_many(bench_tasks.count_words, paths)):
                total.update(part)
            return total

        peer.collect(peer.submit_many(bench_tasks.count_words, paths[:2]))
        walls, figures = self.repeat(run, lambda total: len(total) > 1000, len(paths))
        seconds = round(statistics.median(walls), 3)
        self.emit("W6", files=len(paths), wall_s=seconds, reps=[round(wall, 3) for wall in walls], **figures)


def text_files() -> list[str]:
    """16 files of 4 MB: invented words by Zipf's law, the same on every machine."""
    TEXT.mkdir(exist_ok=True)
    paths = [TEXT / f"part-{part:02d}.txt" for part in range(16)]
    rng = random.Random(20240)
    syllables = [first + second for first in "bcdfghjklmnprstvw" for second in ("a", "e", "i", "o", "u", "an", "er")]
    words = sorted({"".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(60_000)})
    rng.shuffle(words)
    weights = [1.0 / (rank + 3) for rank in range(len(words))]
    for path in paths:
        if not path.exists() or path.stat().st_size != 4_000_000:
            text = " ".join(rng.choices(words, weights, k=1_400_000))
            path.write_text(text[:4_000_000], encoding="utf-8")
    return [str(path) for path in paths]


def main(kind: type[Peer]) -> int:
    """Measure one peer as the command line says."""
    parser = argparse.ArgumentParser(description=f"benchmark of {kind.name}")
    parser.add_argument("--workloads", default="w5,w1,w2,w3,w6,w4")
    parser.add_argument("--variant", default=kind.variants[0], choices=kind.variants)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--n-latency", type=int, default=500)
    parser.add_argument("--n-backlog", type=int, default=100_000)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--quiet-limit", type=float, default=8.0, help="seconds to wait for others to be quiet")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when stdin ends: when the starter is gone")
    options = parser.parse_args()
    if options.end_with_stdin:
        end_with_stdin()
    began = float(os.environ.get("BENCH_T0") or psutil.Process().create_time())
    failed = False
    with tempfile.TemporaryDirectory(prefix="dart-bench-") as folder:
        peer = kind(options.variant, Path(folder))
        bench = Bench(peer, options)
        try:
            peer.start()
            if peer.one(bench_tasks.noop, 7) != 7:
                raise RuntimeError("wrong first result")
            cold = time.time() - began
            for workload in options.workloads.split(","):
                if workload == "w5":
                    settle(peer, 15)
                    bench.emit("W5", cold_start_s=round(cold, 3), mem_idle=memory(peer), python=sys.version.split()[0])
                    continue
                try:
                    getattr(bench, workload)()
                except Exception as error:  # noqa: BLE001 - as above
                    failed = True
                    bench.emit(workload.upper(), error=f"{type(error).__name__}: {error}"[:400])
        finally:
            peer.stop()
            peer.end_processes()
    return int(failed)
