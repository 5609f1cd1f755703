"""`make chaos MINUTES=10`: everything fails again and again, and every task has exactly one result in the end."""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from chaos.faults import Actor, Faults
from chaos.load import JOB, Rest, Submitter, Watcher
from chaos.stage import Stage, stage
from harness import network

TASKS_PER_MINUTE = 2000
DRAIN_SECONDS = 240.0
POLICY = {"retries": 1000, "lost_retries": 1000}
"""Faults come faster than any sane policy allows for: what is shown is that nothing is lost or doubled."""


def storm(
    on: Stage, *, seconds: float, tasks: int, seed: int, longest: float = 20.0, pace: float = 1.0
) -> dict[str, Any]:
    """Let it all happen for so long, wait for the last result, and check what can be seen from outside.

    Args:
        on: What is hit.
        seconds: How long faults go on.
        tasks: So many are submitted, evenly.
        seed: Of every choice made here; what the machine makes of it differs from run to run.
        longest: Seconds that a cut lasts at most.
        pace: Faults come so many times as often.
    """
    rest = Rest(on.running)
    rest.call("POST", "/job/", name=JOB, module_path="chaos", method="run", **POLICY)
    written = on.running.folder / "written"
    submitter = Submitter(on.running, written, tasks=tasks, seconds=seconds, seed=seed)
    watcher = Watcher(on.running)
    over = threading.Event()
    faults = Faults(on, watcher, over, longest=longest)
    actors = [Actor(strike, mean / pace, seed=seed, over=over) for strike, mean in faults.timetable()]
    began = time.monotonic()
    for thread in (submitter, watcher, *actors):
        thread.start()
    while time.monotonic() < began + seconds:
        over.wait(1.0)
        _check_threads(submitter, watcher, *actors)
    over.set()
    for actor in actors:
        actor.join(60.0)
        assert not actor.is_alive(), f"{actor.strike.__name__} does not end"
    faults_over = time.monotonic()
    submitter.join(300.0)
    _check_threads(submitter, watcher, *actors)
    assert not submitter.is_alive(), f"only {len(submitter.accepted)} tasks were accepted"
    _wait_for_the_last(rest, len(submitter.accepted), on)
    drained = time.monotonic() - faults_over
    figures = check(rest, submitter.accepted, watcher, written)
    return {
        **figures,
        "seconds": round(faults_over - began, 1),
        "drained_seconds": round(drained, 1),
        "server_starts": on.restarts,
        "struck": faults.struck,
        "healed": watcher.healed,
        "overlapped": watcher.overlapped,
        "unanswered": submitter.rest.unanswered + watcher.rest.unanswered,
        "refused": dict(submitter.rest.refused + watcher.rest.refused),
    }


def _check_threads(*threads: Any) -> None:
    for thread in threads:
        if thread.failure is not None:
            raise thread.failure


def _wait_for_the_last(rest: Rest, accepted: int, on: Stage) -> None:
    deadline = time.monotonic() + DRAIN_SECONDS
    while rest.server()["open_tasks"]:
        if time.monotonic() > deadline:
            workers = rest.call("GET", "/worker/")["workers"]
            left = rest.call("GET", f"/job/{JOB}/tasks/?state=queued&state=leased&state=running")["tasks"][:5]
            raise AssertionError(
                f"of {accepted} tasks {rest.server()} are open: {left}; workers {workers}; {on.running.folder}"
            )
        time.sleep(0.5)


def check(rest: Rest, accepted: dict[str, int], watcher: Watcher, written: Path) -> dict[str, Any]:
    """Every accepted task has exactly one result, the right one; nothing else has; the cursor skipped nothing."""
    results = rest.call("GET", f"/job/{JOB}/results/", amount=10 * len(accepted))["results"]
    times = Counter(result["id"] for result in results)
    doubled = [task for task, count in times.items() if count > 1]
    assert not doubled, f"more than one result: {doubled[:10]}"
    wrong = [r for r in results if r.get("success") != f"done {accepted.get(r['id'])}"]
    assert not wrong, f"{len(wrong)} results are wrong: {wrong[:3]}"
    missing = accepted.keys() - times.keys()
    assert not missing, f"{len(missing)} tasks have no result: {sorted(missing)[:10]}"
    assert len(results) == len(accepted)
    deadline = time.monotonic() + 30.0
    while len(watcher.seen) < len(accepted) and time.monotonic() < deadline:
        time.sleep(0.1)
    watcher.done.set()
    watcher.join(40.0)
    _check_threads(watcher)
    assert watcher.seen == times, f"the cursor showed {len(watcher.seen)} of {len(times)} results"
    tasks = rest.call("GET", f"/job/{JOB}/")["job"]["tasks"]
    states = {state: count for state, count in tasks.items() if count}
    assert states == {"succeeded": len(accepted)}, states
    ran = Counter(int(line) for line in written.read_text().split())
    assert set(accepted.values()) <= ran.keys(), "there are results of tasks that never ran"
    about = rest.server()
    return {
        "tasks": len(accepted),
        "results": len(results),
        "repeats": sum(ran.values()) - len(ran),
        "late": about.get("late_results", "unknown"),
        "incarnation": about["incarnation"],
    }


def table(figures: dict[str, Any]) -> str:
    """Seconds until results flowed again, by kind of fault."""
    lost: dict[str, list[float]] = {}
    for wound, seconds in figures["healed"]:
        lost.setdefault(wound.kind, []).append(seconds)
    lines = ["| fault | times | timed | median s | 90 % s | worst s |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for kind, count in sorted(figures["struck"].items()):
        times = sorted(lost.get(kind, []))
        if times:
            ninth = times[min(len(times) - 1, int(len(times) * 0.9))]
            shown = f"{statistics.median(times):.2f} | {ninth:.2f} | {times[-1]:.2f}"
        else:
            shown = "- | - | -"
        lines.append(f"| {kind} | {count} | {len(times)} | {shown} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--agents", type=int, default=6)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--keep", type=Path, help="an empty folder for databases and logs, which then stay")
    options = parser.parse_args()
    reason = network.missing()
    print(f"seed {options.seed}" + (f"; without faults of the network: {reason}" if reason else ""), flush=True)
    with tempfile.TemporaryDirectory(prefix="dart-chaos-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        with stage(folder, agents=options.agents, slots=options.slots, seed=options.seed) as on:
            figures = storm(
                on,
                seconds=options.minutes * 60,
                tasks=int(options.minutes * TASKS_PER_MINUTE),
                seed=options.seed,
            )
    print(table(figures))
    print(", ".join(f"{name} {value}" for name, value in figures.items() if name not in {"struck", "healed"}))
    print(f"{figures['tasks']} tasks, {figures['results']} results, each once")
    return 0


if __name__ == "__main__":
    sys.exit(main())
