"""Asks the advisory sources about every library that server, agent, SDK and command line need, directly or not.

Exit code 0: nothing is known against any of them. 1: something is, and is listed. 2: not all could be asked about, so
nothing is claimed; docs/dependencies.md has the versions to look up by hand.
"""

import json
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

ROOT = "dart-runtime"
EXTRA = "server"
TOOL = Path(".venv/audit")
"""An environment of its own: the auditor's libraries are none of ours."""
SOURCES = ("pypi", "osv")
SECONDS = 300


def needed() -> dict[str, str]:
    """Names and versions of all libraries that an installation with every part has, beside our own."""
    found: dict[str, str] = {}
    waiting = [name for name, _ in _required(ROOT, EXTRA)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = metadata.version(name)
            waiting += [further for further, _ in _required(name, "")]
    return dict(sorted(found.items()))


def _required(name: str, extra: str) -> list[tuple[str, str]]:
    """What a distribution requires here: those that are installed, so markers of other systems fall away."""
    listed = []
    for requirement in metadata.requires(name) or ():
        found = re.match(r"[A-Za-z0-9._-]+", requirement)
        marker = requirement.partition(";")[2]
        if found is None or ("extra" in marker and f'"{extra}"' not in marker.replace("'", '"')):
            continue
        try:
            metadata.version(found[0])
        except metadata.PackageNotFoundError:
            continue
        listed.append((re.sub(r"[-_.]+", "-", found[0]).lower(), marker))
    return listed


def ask(source: str, libraries: dict[str, str]) -> tuple[list[str], list[str]]:
    """What is known against them, and which could not be asked about."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{name}=={version}\n" for name, version in libraries.items())
        file.flush()
        done = subprocess.run(
            [
                TOOL / "bin" / "pip-audit", "-s", source, "-r", file.name, "--no-deps", "--disable-pip",
                "--format", "json", "--progress-spinner", "off",
            ],
            capture_output=True, check=False, text=True, timeout=SECONDS,
        )  # fmt: skip
    try:
        told = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return [], list(libraries)
    known = [
        f"{one['name']} {one['version']}: {', '.join([fault['id'], *fault['aliases']])}"
        + (f"; mended in {', '.join(fault['fix_versions'])}" if fault["fix_versions"] else "")
        for one in told
        for fault in one.get("vulns", ())
    ]
    answered = {one["name"] for one in told if "skip_reason" not in one}
    return known, sorted(set(libraries) - answered)


def main() -> int:
    """Ask one source after the other until one knows all of them."""
    if not (TOOL / "bin" / "pip-audit").exists():
        subprocess.run([sys.executable, "-m", "venv", TOOL], check=True)
        subprocess.run([TOOL / "bin" / "pip", "install", "-q", "pip-audit"], check=True)
    libraries = needed()
    unknown = list(libraries)
    for source in SOURCES:
        known, unknown = ask(source, libraries)
        if known:
            print("\n".join(known))
            return 1
        if not unknown:
            print(f"Nothing is known to {source} against {len(libraries)} libraries.")
            return 0
        print(f"{source} could not be asked about {len(unknown)} of {len(libraries)} libraries.")
    print(" ".join(f"{name}=={libraries[name]}" for name in unknown))
    return 2


if __name__ == "__main__":
    sys.exit(main())
