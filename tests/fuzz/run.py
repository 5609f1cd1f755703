"""Fuzzes all targets, two at a time: `python -m fuzz.run --minutes 10`. Tells of each what was tried; 1 if any broke.

With --keep, inputs that reach code which nothing kept so far reaches are added to the corpus, and what became
superfluous there is removed. What broke a property is left in the folder of work and belongs into the corpus by hand,
with its repair.
"""

import argparse
import hashlib
import importlib
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz.one import CORPUS

TARGETS = sorted(path.stem for path in Path(__file__).parent.glob("fuzz_*.py"))
PARALLEL = 2
FINDING = "finding-"
"""Begins the names of inputs that once broke something: they stay whatever they reach."""


def fuzz(target: str, seconds: int, work: Path) -> tuple[str, bool]:
    """One target for so long: its row of the table, and whether it held."""
    log = work / f"{target}.log"
    with log.open("w") as out:
        done = subprocess.run(
            [sys.executable, "-m", "fuzz.one", target, str(seconds), str(work)],
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=seconds + 300,
        )
    text = log.read_text(errors="replace")
    tried, speed, memory, added = (
        (re.findall(pattern, text) or ["-"])[-1]
        for pattern in (
            r"executed_units: *(\d+)",
            r"exec_per_sec: *(\d+)",
            r"peak_rss_mb: *(\d+)",
            r"units_added: *(\d+)",
        )
    )
    verdict = "holds" if done.returncode == 0 else f"BROKEN, exit code {done.returncode}, see {log}"
    return (
        f"| {target.removeprefix('fuzz_')} | {tried} | {speed} | {added} | {memory} | {verdict} |",
        done.returncode == 0,
    )


Arcs = set[tuple[str, int, int, int]]
"""File, a line, the next one, and how often: once, twice, up to 4, 8 ..."""


class _Arcs:
    """Which lines of dart followed one another, and how often."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[str, int, int]] = Counter()
        self._folder = f"{os.sep}dart{os.sep}"

    def __call__(self, frame, event, argument):
        name = frame.f_code.co_filename
        if self._folder not in name:
            return None
        before = frame.f_lineno

        def local(frame, event, argument):
            nonlocal before
            self._seen[name, before, frame.f_lineno] += 1
            before = frame.f_lineno
            return local

        return local

    def of(self, check, data: bytes) -> Arcs:
        self._seen = Counter()
        sys.settrace(self)
        try:
            check(data)
        finally:
            sys.settrace(None)
        return {(*arc, count.bit_length()) for arc, count in self._seen.items()}


def keep(target: str, work: Path) -> int:
    """Choose again what is kept of a target; how many inputs that are."""
    module = importlib.import_module(f"fuzz.{target}")
    kept = CORPUS / target
    kept.mkdir(parents=True, exist_ok=True)
    findings = [path for path in kept.iterdir() if path.name.startswith(FINDING)]
    others = {path.read_bytes() for path in (*kept.iterdir(), *(work / target).glob("*")) if path not in findings}
    arcs = _Arcs()
    reached: Arcs = set()
    for data in (*module.seeds(), *(path.read_bytes() for path in findings)):
        reached |= arcs.of(module.check, data)
    chosen = {}
    for data in sorted(others, key=lambda data: (len(data), data)):
        more = arcs.of(module.check, data) - reached
        if more:
            reached |= more
            chosen[hashlib.sha256(data).hexdigest()[:16]] = data
    for path in kept.iterdir():
        if path not in findings and path.name not in chosen:
            path.unlink()
    for name, data in chosen.items():
        (kept / name).write_bytes(data)
    return len(chosen) + len(findings)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=10.0)
    arguments.add_argument("--targets", nargs="*", default=TARGETS)
    arguments.add_argument("--keep", action="store_true")
    given = arguments.parse_args()
    work = Path(tempfile.mkdtemp(prefix="dart-fuzz-"))
    seconds = max(1, int(given.minutes * 60 * PARALLEL / len(given.targets)))
    print(f"{len(given.targets)} targets, {seconds} s each, {PARALLEL} at a time; work in {work}", flush=True)
    print("| target | inputs | a second | new | MiB at most | |\n| --- | ---: | ---: | ---: | ---: | --- |", flush=True)
    held = True
    with ThreadPoolExecutor(PARALLEL) as pool:
        for row, holds in pool.map(lambda target: fuzz(target, seconds, work), given.targets):
            print(row, flush=True)
            held = held and holds
    if given.keep and held:
        for target in given.targets:
            print(f"{target}: {keep(target, work)} inputs are kept")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
