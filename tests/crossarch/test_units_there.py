"""The unit tests of wire and agent, run by pytest on the foreign architecture with the packages that Debian has."""

import importlib.metadata
import os
from pathlib import Path

import pytest

from harness.foreign import PROJECT

RUN_SECONDS = 600.0
PURE = ("pytest", "pluggy", "iniconfig", "packaging", "pygments", "pytest-asyncio", "typing-extensions", "urllib3")
"""pytest, its plugin that the project's settings name, and what these import: Python only, so ours run anywhere."""
UNITS = ("tests/unit/wire", "tests/unit/agent")
ARCHITECTURES = os.environ.get("DART_CROSSARCH", "i386").split(",")
"""In every test run where 32 bits need no emulator: that is soon done."""


@pytest.mark.parametrize("foreign", ARCHITECTURES, indirect=True)
def test_wire_and_agent_pass_their_unit_tests_there(foreign, tmp_path, tell):
    """All that need no hypothesis, which is compiled: nothing depends on a word's size or the order of its bytes."""
    site = tmp_path / "site"
    site.mkdir()
    for name in PURE:
        for entry in {Path(file).parts[0] for file in importlib.metadata.files(name) or ()} - {"..", "__pycache__"}:
            (site / entry).symlink_to(Path(importlib.metadata.distribution(name).locate_file(entry)))
    files = [path for folder in UNITS for path in sorted((PROJECT / folder).rglob("test_*.py"))]
    path = [foreign.source, "clients/python", "tests", site, foreign.root / "numpy"]
    done = foreign.run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", tmp_path / "temp",
        *(path for path in files if "from hypothesis" not in path.read_text()),
        environment={"PYTHONPATH": ":".join(map(str, path))}, timeout=RUN_SECONDS,
    )  # fmt: skip
    told = done.stdout.strip().rpartition("\n")[2]
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    tell(f"{foreign.architecture}: {told}")
    assert int(told.split()[0]) > 200, told
