"""The word count example, as `make demo` runs it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from harness.cluster import read_line
from harness.waiting import wait_until

DEMO = Path(__file__).resolve().parents[2] / "examples" / "count_words" / "demo.py"


def processes_of(folder: str) -> list[str]:
    """Command lines of live processes that name the demo's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, ValueError):
            continue
        if folder in line:
            found.append(line)
    return found


def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}


def test_the_demo_counts_compares_and_leaves_nothing(tmp_path):
    """At least 200 files, a fair share for each worker, equal counts, exit code 0, no process, no file."""
    done = subprocess.run(
        [sys.executable, DEMO], capture_output=True, check=False, text=True, timeout=120, env=environment(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shares = {name: int(count) for name, count in re.findall(r"worker (\S+): (\d+) files", done.stdout)}
    assert sum(shares.values()) >= 200
    assert set(shares) == {"red", "blue"}
    assert min(shares.values()) * 4 >= sum(shares.values())
    assert "the same as counted here by other means" in done.stdout
    assert processes_of(str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_demo_leaves_nothing_either(tmp_path):
    """Ctrl-C in the middle ends server and agents."""
    log = tmp_path / "demo.log"
    work = tmp_path / "tmp"
    work.mkdir()
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, DEMO], stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment(work),
            start_new_session=True,
        )  # fmt: skip
    with process:
        try:
            while not read_line(process, seconds=60, log=log).startswith("joined red"):
                pass
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 1
        finally:
            process.kill()
    assert "stopped" in log.read_text()
    wait_until(lambda: processes_of(str(work)) == [], explain=lambda: processes_of(str(work)))
    assert list(work.iterdir()) == []


def test_the_example_tells_when_counts_differ(tmp_path):
    """The check can fail: a worker that counts wrongly is found out."""
    copy = tmp_path / "example"
    copy.mkdir()
    for name in ("demo.py", "count_words.py", "count_words_worker.py"):
        (copy / name).write_text((DEMO.parent / name).read_text())
    worker = copy / "count_words_worker.py"
    worker.write_text(worker.read_text().replace(", 0) + 1", ", 0) + 2"))
    text = tmp_path / "text.txt"
    text.write_text("one two two")
    done = subprocess.run(
        [sys.executable, copy / "demo.py", text, text], capture_output=True, check=False, text=True, timeout=120
    )
    assert done.returncode == 1
    assert "differs" in done.stderr
