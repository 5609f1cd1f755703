"""Figures, kept in `benchmarks/data`: one file a measurement. `docs/make_performance.py` makes a page of them."""

import contextlib
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from dart import __version__

DATA = Path(__file__).resolve().parent / "data"


def machine() -> dict[str, Any]:
    """What was measured on: figures of another machine are other figures."""
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "dart": __version__,
    }


class Others:
    """How much of the machine other programs took, from the making of this on: what a figure may be blamed on."""

    def __init__(self) -> None:
        self._busy, self._own, self._began = _busy(), _own(), time.monotonic()

    def percent(self) -> int:
        """Of all cores, until now. What our own processes took that have ended is counted as others'."""
        took = max(0.0, _busy() - self._busy - max(0.0, _own() - self._own))
        return round(100 * took / ((time.monotonic() - self._began) * (os.cpu_count() or 1)))


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _own() -> float:
    """CPU seconds of this process and those below it, also of those that it has waited for."""
    total = 0.0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def write(name: str, rows: Sequence[dict[str, Any]], **about: Any) -> None:
    """Keep the rows of a measurement, with the command that made them."""
    command = f"python benchmarks/{name_of_script()} {' '.join(sys.argv[1:])}".rstrip()
    told = {"command": command, "machine": machine(), **about, "rows": list(rows)}
    DATA.mkdir(exist_ok=True)
    (DATA / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")


def name_of_script() -> str:
    """Of the program that runs, from the folder of the benchmarks."""
    return str(Path(sys.argv[0]).resolve().relative_to(DATA.parent))
