"""What the README says of installing: this folder becomes a package whose command starts."""

import os
import re
import subprocess
import sys
from pathlib import Path

from harness.pages import ROOT, blocks


def test_what_the_readme_installs_is_whole_and_starts(tmp_path: Path):
    """By pip, from this folder, with what the README names; what it needs is here already, so only DART is brought."""
    (installing,) = [it.text for it in blocks(ROOT / "README.md") if "pip install" in it.text]
    (what,) = re.findall(r"pip install -q '([^']+)'", installing)
    into = tmp_path / "installed"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-compile",
         "--target", into, what],
        cwd=ROOT, check=True, timeout=120,
    )  # fmt: skip
    for package, source in (("dart", ROOT / "src"), ("dart_client", ROOT / "clients" / "python")):
        ours = {it.relative_to(source) for it in (source / package).rglob("*.py")}
        assert {it.relative_to(into) for it in (into / package).rglob("*.py")} == ours
    done = subprocess.run(
        [sys.executable, into / "bin" / "dart", "help", "--exit-codes"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(into)}, capture_output=True, check=True, text=True,
    )  # fmt: skip
    assert "Wrong or missing options" in done.stdout
