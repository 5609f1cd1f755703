"""Ten million recorded results in the store alone: does anything grow but the file?

python benchmarks/alone/recorded.py [--results 10000000] [--folder DIRECTORY] [--write]

Tasks are added and finished 1,000 at a time with the durability of the server. At 10,000, 100,000 and so on it prints
the CPU of the last tenth a task, the process's private memory (SQLite's page cache of 16 MB included), the file, and
the time for one page of results from the middle and for the state with which a server starts.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil
from figures import write
from store import added, finished

from dart.broker.core.model import JobConfig
from dart.broker.core.records import JobAdded
from dart.broker.store.base import ResultQuery
from dart.broker.store.sqlite import SqliteStore
from dart.limits import Limits

GROUP = 1000


def milliseconds(call) -> float:
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) * 1e3


def look(store: SqliteStore, path: Path, results: int, spent: float, counted: int) -> dict[str, Any]:
    """How it stands."""
    query = ResultQuery(1, None, results // 2, 1000, 1 << 30)
    return {
        "results": results,
        "cpu_us_a_task": round(spent / counted * 1e6, 1),
        "uss_mb": round(psutil.Process().memory_full_info().uss / 1e6, 1),
        "file_mb": round(sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*")) / 1e6),
        "page_ms": round(min(milliseconds(lambda: store.results(query)) for _ in range(3)), 1),
        "start_ms": round(milliseconds(store.look), 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=int, default=10_000_000)
    parser.add_argument("--folder", help="on the disk to measure")
    parser.add_argument("--write", action="store_true", help="into benchmarks/data, for docs/performance.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "dart.db"
        store = SqliteStore(path, Limits())
        store.recover()
        store.commit([JobAdded(1, "job", JobConfig("module", "method", {}), 1)])
        rows: list[dict[str, Any]] = []
        goal, counted_from, spent = 10_000, 0, 0.0
        for first in range(2, options.results + 2, GROUP):
            began = time.process_time()
            store.commit(added(first, GROUP))
            store.commit(finished(first, GROUP))
            spent += time.process_time() - began
            done = first + GROUP - 2
            if done in {goal, options.results}:
                rows.append(look(store, path, done, spent, done - counted_from))
                if len(rows) == 1:
                    print("".join(f"{name.replace('_', ' '):>16}" for name in rows[0]))
                print("".join(f"{value:>16}" for value in rows[-1].values()), flush=True)
                goal, counted_from, spent = goal * 10, done, 0.0
            elif done == goal * 9 // 10 and goal > 10_000:
                counted_from, spent = done, 0.0
        store.close()
    if options.write:
        write("recorded", rows)


if __name__ == "__main__":
    main()
