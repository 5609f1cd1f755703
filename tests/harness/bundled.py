"""Bundles as a person makes and unpacks them: by the command, and by tar."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def dart(*words: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Run the command line."""
    return subprocess.run(
        [sys.executable, "-m", "dart.cli.main", *map(str, words)],
        capture_output=True, text=True, check=False, timeout=600, cwd=cwd, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def built(file: Path, platform: str, *options: str | Path, python: str = "3.11") -> dict[str, object]:
    """Make a bundle; what the command tells of it. Skipped where no wheels can be fetched, but never in CI."""
    done = dart(
        "bundle", "--platform", platform, "--python", python, "--output", file, "--output", "json", *options
    )  # fmt: skip
    if done.returncode != 0 and "pip cannot fetch" in done.stderr and os.environ.get("CI") != "true":
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    assert ("apt install python3-zmq" in done.stderr) is bool(told["needs"])
    return told


def unpacked(file: Path, where: Path) -> Path:
    """Its folder, by the system's own tar."""
    where.mkdir()
    subprocess.run(["tar", "-xzf", file, "-C", where], check=True, timeout=60)  # noqa: S607
    (folder,) = where.iterdir()
    return folder


def clean_environment(**more: str) -> dict[str, str]:
    """As on a host that knows nothing of this project."""
    mine = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE", "DART_"))}
    return {**mine, **more}
