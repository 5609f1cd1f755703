"""`make bench-profile`: where server, agents, runners and client spend W1: samples for flame graphs, and a table.

Needs py-spy (`pip install py-spy`), which looks from outside at processes that run as ever. What it sees are samples:
shares of the time in which a thread did something.
"""

import argparse
import collections
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import bench_tasks
import psutil
from dart_peer import Dart
from figures import write

import harness

TOP = 15
RATE = 500
"""Samples a second."""
FRAME = re.compile(r" \((?:.*/)?([^/]*):\d+\)$")
_WAITING = (
    "Condition.wait (threading.py)",
    "EpollSelector.select (selectors.py)",
    "_worker (thread.py)",
    "SSLSocket.read (ssl.py)",
    "_watch (stdin_end.py)",
    "Committer._step (committer.py)",
    "Runner.run (runners.py)",
    "Loop.run (runner_loop.py)",
)
"""Threads that wait; py-spy takes some of them for busy."""
ROUND = 10_000
PARTS = {
    "server": (
        ("REST: submissions", "submit (tasks.py)"),
        ("REST: results", "list_all (results.py)"),
        ("REST: connections, keys, the rest", "_handle_request (web_protocol.py)"),
        ("frames in: ZeroMQ and codec", "Transport._drain (transport.py)"),
        ("core: submissions let in", "admit_some (submissions.py)"),
        ("core: outcomes", "on_results (results.py)"),
        ("core: leases given", "place (placement.py)"),
        ("core: the rest", "Reactor.handle"),
        ("frames out: codec and ZeroMQ", "Delivery.give (delivery.py)"),
        ("turns, outbox, events", "Service._"),
        ("store: writing", "Committer._run (committer.py)"),
        ("store: reading", "_worker (thread.py)"),
    ),
    "agent": (
        ("frames in: ZeroMQ and codec", "Link.ready (link.py)"),
        ("core", "AgentCore.handle_all (agent_core.py)"),
        ("tasks to runners", "Supervisor.give (supervisor.py)"),
        ("answers of runners", "Supervisor._pump (supervisor.py)"),
        ("frames out: codec and ZeroMQ", "Link.send (link.py)"),
        ("audit log", "AuditLog."),
        ("spool", "Spool."),
    ),
    "runner": (
        ("the call, its parameter and result", "Loop._call (runner_loop.py)"),
        ("answers", "Channel.send (runner_task.py)"),
        ("output", "Loop._flush (runner_loop.py)"),
    ),
    "client": (
        ("futures and bodies", "Job.submit_many (job.py)"),
        ("answers decoded", "_decoded (connection.py)"),
        ("futures settled", "settle (futures.py)"),
    ),
}
"""What the first of these frames that is in a stack belongs to; everything else is the rest of its process."""


def spy() -> str:
    """The command py-spy."""
    beside = Path(sys.executable).with_name("py-spy")
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        sys.exit("py-spy is not installed: .venv/bin/pip install py-spy, and call this again")
    return found


def roles(peer: Dart) -> dict[str, int]:
    """One process of each role."""
    found = {"client": os.getpid()}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if Path(process.exe()).name.startswith("python"):
                found.setdefault(peer.role(process), process.pid)
    return found


@contextlib.contextmanager
def recorded(targets: dict[str, int], folder: Path) -> Iterator[None]:
    """Samples of all these processes in FOLDER/ROLE.txt."""
    how = ("--rate", str(RATE), "--duration", "600", "--format", "raw")
    spies = []
    for role, pid in targets.items():
        command = [spy(), "record", "--pid", str(pid), *how, "--output", str(folder / f"{role}.txt")]
        with (folder / f"{role}.log").open("w") as log:
            spies.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log))
    time.sleep(1.0)  # py-spy says nowhere that it is ready
    try:
        yield
    finally:
        for each in spies:
            each.send_signal(2)
        for each in spies:
            each.wait(60)


def stacks(path: Path) -> list[tuple[list[str], int]]:
    """Each stack, outermost first, and in how many samples it was."""
    found = []
    for line in path.read_text().splitlines():
        frames, _, count = line.rpartition(" ")
        found.append(([FRAME.sub(r" (\1)", frame) for frame in frames.split(";")], int(count)))
    return found


def tell(role: str, samples: list[tuple[list[str], int]], seconds: float) -> None:
    """The functions that took most, themselves and with what they called, as parts of one core."""
    own: collections.Counter[str] = collections.Counter()
    with_called: collections.Counter[str] = collections.Counter()
    for frames, count in samples:
        if frames[-1] in _WAITING:
            continue
        own[frames[-1]] += count
        for frame in set(frames):
            with_called[frame] += count
    whole = RATE * seconds
    print(f"\n{role}: {sum(own.values()) / whole:.0%} of a core\n{'itself':>8} {'in all':>8}")
    for frame, count in own.most_common(TOP):
        print(f"{count / whole:8.1%} {with_called[frame] / whole:8.1%}  {frame}")
    print("  with what they called:")
    for frame, count in with_called.most_common(2 * TOP):
        print(f"{own[frame] / whole:8.1%} {count / whole:8.1%}  {frame}")


def parts(role: str, samples: list[tuple[list[str], int]], cpu_us: float) -> list[dict[str, object]]:
    """The CPU of a process by its parts, as their shares of the samples."""
    found: collections.Counter[str] = collections.Counter()
    for frames, count in samples:
        if frames[-1] not in _WAITING:
            stack = "\n".join(frames)
            found[next((part for part, frame in PARTS[role] if frame in stack), "the rest")] += count
    whole = sum(found.values()) or 1
    order = (*(part for part, _ in PARTS[role]), "the rest")
    return [
        {"process": role, "part": part, "us_a_task": round(cpu_us * found[part] / whole, 1)}
        for part in order
        if found[part]
    ]


def rounds(peer: Dart, seconds: float) -> int:
    """W1 again and again; how many tasks."""
    began, tasks = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        peer.collect(peer.submit_many(bench_tasks.noop, range(ROUND)))
        tasks += ROUND
    return tasks


def main() -> None:
    """Run W1 for a while and look."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--output", type=Path, default=Path("profile"), help="folder of the samples")
    parser.add_argument("--variant", default=Dart.variants[0], choices=Dart.variants)
    parser.add_argument("--write", action="store_true", help="keep the parts for the page of performance")
    options = parser.parse_args()
    spy()
    options.output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="dart-profile-") as folder:
        peer = Dart(options.variant, Path(folder))
        try:
            peer.start()
            rounds(peer, 1.0)
            # What it costs is measured while nobody looks.
            meter = harness.Meter(peer)
            meter.stop(rounds(peer, options.seconds))
            with recorded(roles(peer), options.output):
                began = time.perf_counter()
                tasks = rounds(peer, options.seconds)
                seconds = time.perf_counter() - began
        finally:
            peer.stop()
            peer.end_processes()
    print(f"{tasks} tasks, {tasks / seconds:.0f}/s while it was looked at")
    rows = []
    for path in sorted(options.output.glob("*.txt")):
        tell(path.stem, stacks(path), seconds)
        rows += parts(path.stem, stacks(path), meter.cpu_us.get(path.stem, 0.0))
    print(f"\nCPU us a task, {meter.cpu_us_total} in all, others took {meter.foreign} % of the machine")
    for row in rows:
        print(f"{row['us_a_task']:8}  {row['process']}: {row['part']}")
    if options.write:
        write("profile", rows, cpu_us=meter.cpu_us, cpu_us_total=meter.cpu_us_total, others_percent=meter.foreign)
    print(f"\nsamples are in {options.output}/ROLE.txt, to be opened with speedscope or flamegraph.pl")


if __name__ == "__main__":
    main()
