"""Builds the documentation site into build/docs/site: the repository's pages and a reference made of the code.

python tools/site/build.py    # exit code 1 and a line for each dead link or undocumented option
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import links
import reference

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("site.toml")
SHOWN = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "SECURITY.md")
SHOWN_BELOW = ("docs/", "clients/", "examples/", "tests/vectors/")
"""What the site has of the repository, at the same place: pages, and files that pages link to."""


def collect(target: Path) -> None:
    """Put the pages together: those that git knows, or will, and those that are made of the code."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    for name in listed:
        if name in SHOWN or name.startswith(SHOWN_BELOW):
            source, copy = ROOT / name, target / name
            if source.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, copy)
    for name, text in reference.pages().items():
        made = target / "docs" / name
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text, encoding="utf-8")


def build(folder: Path) -> list[str]:
    """Make the site below a folder; what is wrong with it."""
    faults = reference.undocumented(ROOT)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    collect(folder / "pages")
    shutil.copyfile(CONFIG, folder / "zensical.toml")
    made = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder,
        capture_output=True,
        check=False,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    )
    dead = links.dead(folder / "site")
    if made.returncode and not dead:  # otherwise that is what it says, too, in a hundred lines
        faults.append(f"zensical build --strict failed:\n{made.stdout}{made.stderr}")
    return faults + dead


def main() -> int:
    """Build; say where it is, or what is wrong."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"
    faults = build(folder)
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 1
    print(folder / "site" / "index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
