"""The page of figures agrees with the figures, and what measures them still runs."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))
make_performance = importlib.import_module("make_performance")
ALONE = ROOT / "benchmarks" / "alone"


def test_the_page_is_what_its_figures_say():
    """`make docs` writes it again."""
    assert make_performance.PAGE.read_text(encoding="utf-8") == make_performance.page()


@pytest.mark.parametrize("name", make_performance.PLOTTED)
def test_plots_are_drawn_of_the_figures(name):
    """Each says of which; it is shown on the page."""
    drawn = (make_performance.PLOTS / f"{name}.svg").read_text(encoding="utf-8")
    assert f"figures {make_performance.fingerprint(name)}" in drawn
    assert f"(plots/{name}.svg)" in make_performance.page()


def test_figures_name_the_command_that_writes_them():
    """And that is there."""
    for path in make_performance.DATA.glob("*.json"):
        told = json.loads(path.read_text(encoding="utf-8"))
        script = re.fullmatch(r"python (benchmarks/\S+\.py) .*--write.*", told["command"])
        assert script is not None, told["command"]
        assert (ROOT / script[1]).is_file()
        assert told["rows"]


@pytest.mark.parametrize(
    ("script", "options", "said"),
    [
        ("agents.py", ("--agents", "10", "--seconds", "0.2"), "ran twice"),
        ("backlog.py", ("--queued", "300"), "bytes a task"),
        ("recorded.py", ("--results", "10000"), "file mb"),
    ],
)
def test_benchmarks_run(script, options, said):
    """In their shortest form; nothing is said of their figures."""
    done = subprocess.run(
        [sys.executable, ALONE / script, *options], capture_output=True, check=False, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
