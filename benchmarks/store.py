"""How fast the SQLite store records tasks: rows a second for groups of several sizes, each with its own commit.

Usage: python benchmarks/store.py [DIRECTORY]   (the directory decides which disk is measured)

A task costs two writes: its row, and later its outcome in place of that row.
"""

import sys
import tempfile
import time
from pathlib import Path

from dart.broker.core.model import JobConfig, TaskPolicy, TaskState
from dart.broker.core.records import JobAdded, Record, TaskFinished, TasksAdded
from dart.broker.store.base import ResultQuery
from dart.broker.store.sqlite import SqliteStore
from dart.limits import Limits

PARAMETER = b"p" * 200
VALUE = b"v" * 200
WORKERS = 30
OPEN_TASKS = 100_000


def added(first_id: int, amount: int) -> list[Record]:
    """One submission."""
    policy = TaskPolicy(location="worker")
    return [TasksAdded(1, first_id, tuple((policy, "", PARAMETER) for _ in range(amount)))]


def finished(first_id: int, amount: int) -> list[Record]:
    """Its outcomes, from many workers."""
    return [
        TaskFinished(
            id=task_id,
            job_id=1,
            state=TaskState.SUCCEEDED,
            worker=f"worker{task_id % WORKERS}",
            host="host",
            location="worker",
            tag="",
            attempts=1,
            start_time_ms=1_700_000_000_000,
            duration_seconds=0.5,
            error_code=0,
            payload=VALUE,
            finished_at_ms=1_700_000_000_500,
        )
        for task_id in range(first_id, first_id + amount)
    ]


def seconds(store: SqliteStore, groups: list[list[Record]]) -> float:
    """To commit these groups one after the other."""
    started = time.perf_counter()
    for group in groups:
        store.commit(group)
    return time.perf_counter() - started


def measure_groups(store: SqliteStore) -> list[tuple[int, float]]:
    """The table; for each size of groups the CPU of a task in microseconds, both writes."""
    rows = []
    print(f"{'tasks a group':>13} {'tasks/s added':>14} {'tasks/s finished':>17} {'us a task, both':>16}")
    next_id = 2
    for size in (1, 10, 100, 500, 1000):
        starts = range(next_id, next_id + max(300, min(30_000, size * 300)), size)
        cpu = time.process_time()
        adding = seconds(store, [added(start, size) for start in starts])
        finishing = seconds(store, [finished(start, size) for start in starts])
        cpu, tasks = time.process_time() - cpu, len(starts) * size
        print(f"{size:13} {tasks / adding:14.0f} {tasks / finishing:17.0f} {(adding + finishing) / tasks * 1e6:16.1f}")
        next_id = starts[-1] + size
        rows.append((size, round(cpu / tasks * 1e6, 1)))
    return rows


def measure_rest(store: SqliteStore) -> None:
    """Reading and starting."""
    started = time.perf_counter()
    rows, after = 0, 0
    while page := store.results(ResultQuery(1, None, after, 1000, 1 << 30)):
        rows, after = rows + len(page), page[-1].sequence
    print(f"reading {rows} results in pages of 1000: {(time.perf_counter() - started) / rows * 1e6:.1f} us a result")
    first = store.recover().highest_id + 1
    for start in range(first, first + OPEN_TASKS, 1000):
        store.commit(added(start, 1000))
    started = time.perf_counter()
    tasks = len(store.recover().tasks)
    print(f"recovering {tasks} open tasks: {time.perf_counter() - started:.2f} s")


def main() -> None:
    """Measure in a directory of its own."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        store = SqliteStore(Path(directory) / "dart.db", Limits())
        store.recover()
        store.commit([JobAdded(1, "job", JobConfig("module", "method", {}), 1)])
        measure_groups(store)
        measure_rest(store)
        store.close()


if __name__ == "__main__":
    main()
