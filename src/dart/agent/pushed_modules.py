"""Modules that the server's administrators pushed, where the owner allows it: kept by version, switched by one rename.

Below `module_prefix/pushed` lies for each module `NAME.version`, a file with the SHA-256 of the present version, and
`NAME.SHA256/`, a folder with that version. Runners find out at a module's first import which one it is.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dart.agent.runner_files import module_hash
from dart.agent.runner_modules import PUSHED
from dart.errors import InvalidRequestError
from dart.limits import Limits
from dart.module_files import name_of

_VERSION: Final = re.compile(r"[0-9a-f]{64}")


class PushedModules:
    """Those of one agent. Agents that share a `module_prefix` share them.

    Args:
        prefix: The worker's `module_prefix`.
        limits: How many, and how large.
    """

    def __init__(self, prefix: Path, limits: Limits) -> None:
        self._folder = prefix / PUSHED
        self._limits = limits

    def listed(self) -> dict[str, str]:
        """SHA-256 by name."""
        found = {}
        for path in sorted(self._folder.glob("*.version"))[: self._limits.pushed_modules_max]:
            version = _read(path)
            if version:
                found[path.name.removesuffix(".version")] = version
        return found

    def push(self, files: Mapping[str, bytes]) -> tuple[str, str]:
        """Take a module; its name and SHA-256. When this returns, every later import gets it.

        Raises:
            InvalidRequestError: It is no module, or one too many.
            OSError: It cannot be written; the version before is in force.
        """
        name = name_of(files, self._limits)
        present = self.listed()
        if name not in present and len(present) >= self._limits.pushed_modules_max:
            raise InvalidRequestError(
                f"This worker has {len(present)} pushed modules and takes no more (pushed_modules_max); remove one."
            )
        version = module_hash(dict(files))
        self._folder.mkdir(mode=0o755, exist_ok=True)
        if self._folder.is_symlink():
            raise InvalidRequestError(f"{self._folder} is a link; pushed modules go into a folder of their own.")
        place = self._folder / f"{name}.{version}"
        if not _is_whole(place, files):
            self._write(place, files)
        self._switch(name, version)
        self._clean(name, {version, present.get(name, version)})
        return name, version

    def remove(self, name: str) -> bool:
        """Drop a module; whether there was one."""
        known = name in self.listed()
        if known:
            (self._folder / f"{name}.version").unlink()
            self._clean(name, set())
        return known

    def _write(self, place: Path, files: Mapping[str, bytes]) -> None:
        """All of it under another name first: what has a version's name is whole."""
        draft = place.with_name(f"{place.name}.part")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            for path, content in files.items():
                file = draft / path
                file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                file.write_bytes(content)
                file.chmod(0o644)
            shutil.rmtree(place, ignore_errors=True)
            draft.rename(place)
        except OSError:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def _switch(self, name: str, version: str) -> None:
        draft = self._folder / f"{name}.version.part"
        with draft.open("w", encoding="ascii") as file:
            file.write(version)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        draft.replace(self._folder / f"{name}.version")

    def _clean(self, name: str, keep: set[str]) -> None:
        for path in self._folder.glob(f"{name}.*"):
            version = path.name.removeprefix(f"{name}.").removesuffix(".part")
            if _VERSION.fullmatch(version) and (version not in keep or path.name.endswith(".part")):
                shutil.rmtree(path, ignore_errors=True)


def _is_whole(place: Path, files: Mapping[str, bytes]) -> bool:
    """Whether a version is there already, as it is to be: tasks can write below the prefix, too."""
    try:
        return all((place / path).read_bytes() == content for path, content in files.items())
    except OSError:
        return False


def _read(path: Path) -> str:
    """A version; empty: the file has none."""
    with contextlib.suppress(OSError, ValueError):
        version = path.read_text(encoding="ascii")
        if _VERSION.fullmatch(version):
            return version
    return ""
