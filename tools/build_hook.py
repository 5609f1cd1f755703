"""Puts uPlot into the wheel when it is built: npm fetches it by its hash. Without npm the page goes without plots."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SECONDS = 60
"""An installation waits no longer for a registry."""
FOLDER = "src/dart/rest/dashboard/uplot"
FILES = {
    "uPlot.iife.min.js": "dist/uPlot.iife.min.js",
    "uPlot.min.css": "dist/uPlot.min.css",
    "LICENSE": "LICENSE",
}


class PlotsHook(BuildHookInterface):
    """Of hatchling; called for wheels and for editable installations."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Fetch what is not here yet; never fail for it, unless DART_PLOTS=required says so."""
        folder = Path(self.root, FOLDER)
        try:
            fetch(Path(self.root, "assets"), folder)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            if os.environ.get("DART_PLOTS") == "required":
                raise
            self.app.display_warning(f"The page at / will have no plots, since uPlot could not be fetched: {error}")
        build_data["artifacts"].append(f"/{FOLDER}/*")


def fetch(assets: Path, folder: Path) -> None:
    """Have uPlot's files in this folder, in the version of the lock.

    Raises:
        OSError: There is no npm, or its files are not where they should be.
        subprocess.SubprocessError: npm failed or took too long.
        ValueError: The lock cannot be read.
    """
    wanted = json.loads((assets / "package-lock.json").read_text(encoding="utf-8"))["packages"]["node_modules/uplot"]
    mark = folder / "version.txt"
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted["integrity"]:
        return
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("there is no npm")
    with tempfile.TemporaryDirectory() as name:
        for file in ("package.json", "package-lock.json"):
            shutil.copy(assets / file, name)
        command = [npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
        done = subprocess.run(
            command, cwd=name, timeout=SECONDS, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
        )
        if done.returncode:
            raise subprocess.SubprocessError(f"npm: {done.stderr.strip()[-300:]}")
        folder.mkdir(exist_ok=True)
        for ours, theirs in FILES.items():
            shutil.copyfile(Path(name, "node_modules/uplot", theirs), folder / ours)
    mark.write_text(wanted["integrity"], encoding="utf-8")
