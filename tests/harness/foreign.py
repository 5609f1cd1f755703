"""A Python of another architecture as tests use it: programs run in it, agents started in it."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import foreign_root

PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class ForeignPython:
    """One architecture's Python."""

    architecture: str
    """Debian's name of it."""
    root: Path
    source: Path = PROJECT / "src"
    """Where `dart` is imported from."""

    @property
    def python(self) -> Path:
        return self.root / "usr/bin/python3"

    @property
    def packages(self) -> Path:
        """The distribution's pyzmq and msgpack."""
        return self.root / "usr/lib/python3/dist-packages"

    @property
    def with_numpy(self) -> Path:
        """A `python_home` whose Python has numpy; the agent's own has none."""
        return self.root / "numpy"

    @property
    def emulated(self) -> bool:
        return bool(foreign_root.EMULATORS[self.architecture])

    @property
    def agent(self) -> tuple[str, ...]:
        """The words that start an agent there."""
        return (str(self.python), "-m", "dart.agent")

    def environment(self, **more: str) -> dict[str, str]:
        """For programs there: this repository's `dart`, and nothing of the environment that tests run in."""
        mine = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
        return {**mine, "PYTHONPATH": str(self.source), "PYTHONDONTWRITEBYTECODE": "1", **more}

    def run(
        self, *words: str | Path, environment: Mapping[str, str] | None = None, timeout: float = 300.0
    ) -> "subprocess.CompletedProcess[str]":
        """Run it with these arguments to its end."""
        return subprocess.run(
            [self.python, *words], capture_output=True, text=True, check=False, timeout=timeout,
            cwd=PROJECT, env=self.environment(**(environment or {})), stdin=subprocess.DEVNULL,
        )  # fmt: skip


def inside(root: Path, *shared: Path) -> tuple[str, ...]:
    """What to put before a command so that `root` is all it sees, but for these folders, `/proc` and `/dev`.

    In a mount namespace of its own: nothing of it is left behind.
    """
    places = [root / path.relative_to("/") for path in (Path("/proc"), Path("/dev"), *shared)]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    mounts = "".join(f"mount --rbind /{place.relative_to(root)} {place} && " for place in places)
    return ("unshare", "--mount", "--map-root-user", "sh", "-c", f'{mounts}exec chroot {root} "$@"', "sh")


def python_of(architecture: str) -> ForeignPython:
    """It, from the cache or made now.

    Raises:
        UnavailableError: This machine cannot have it; the message says why.
    """
    return ForeignPython(architecture, foreign_root.made(architecture))
