"""House rules that no linter knows: purpose told, at most 400 lines, documents that keep up with the code."""

import subprocess
import sys
from pathlib import Path

import reference

from dart.broker.core.lifecycle import page
from dart.cli.help import document
from harness.pages import unmarked

LINES_MAX = 400
REASON = "# long file:"
"""Followed by why this one may be longer."""


def faults(file: Path) -> list[str]:
    """What is wrong with one file."""
    lines = file.read_text(encoding="utf-8").splitlines()
    found = []
    if lines and not lines[0].startswith(('"""', "#!")):
        found.append(f"{file}:1: the first line does not say what the file is for")
    if len(lines) > LINES_MAX and not any(line.startswith(REASON) for line in lines):
        found.append(f"{file}: {len(lines)} lines, more than {LINES_MAX}; split it, or give a reason: {REASON} ...")
    return found


def drift() -> list[str]:
    """Generated documents that their sources have left behind."""
    made = {"docs/states.md": ("the table of transitions", page()), "docs/cli.md": ("the commands", document())}
    return [
        f"{file}: differs from {source}; run: make docs"
        for file, (source, text) in made.items()
        if Path(file).read_text(encoding="utf-8") != text
    ]


def main() -> int:
    """Check what git knows."""
    known = subprocess.run(["git", "ls-files", "-z", "*.py"], capture_output=True, check=True, text=True)  # noqa: S607
    files = [Path(name) for name in known.stdout.split("\0") if name]
    found = (
        [fault for file in files if file.exists() for fault in faults(file)]
        + drift()
        + unmarked()
        + reference.undocumented(Path())
    )
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
