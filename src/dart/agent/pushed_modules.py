"""Modules that the server's administrators pushed, where the owner allows it: kept by version, switched by one rename.

Below `module_prefix/pushed` lies for each module `NAME.version`, a file with the SHA-256 of the present version, and
`NAME.SHA256/`, a folder with that version. Runners find out at a module's first import which one it is.
"""

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from dart.agent.runner_files import module_hash
from dart.agent.runner_modules import PUSHED
from dart.errors import InvalidRequestError
from dart.limits import Limits
from dart.module_files import name_of

_VERSION: Final = re.compile(r"[0-9a-f]{64}")
_LOCK_SECONDS_MAX: Final = 10.0
"""How long to wait for other agents that write to the same folder; tasks may lock it, too."""


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
        self._folder.mkdir(mode=0o755, exist_ok=True)
        with self._locked():
            return name, self._push(name, files)

    def _push(self, name: str, files: Mapping[str, bytes]) -> str:
        present = self.listed()
        if name not in present and len(present) >= self._limits.pushed_modules_max:
            raise InvalidRequestError(
                f"This worker has {len(present)} pushed modules and takes no more (pushed_modules_max); remove one."
            )
        version = module_hash(dict(files))
        self._folder.chmod(0o755)
        place = self._folder / f"{name}.{version}"
        if _is_whole(place, files):
            _drop_compiled(place)
        else:
            self._write(place, files)
        self._switch(name, version)
        self._clean(name, {version, present.get(name, version)})
        return version

    def remove(self, name: str) -> bool:
        """Drop a module; whether there was one."""
        if name not in self.listed():
            return False
        with self._locked():
            (self._folder / f"{name}.version").unlink(missing_ok=True)
            _to_disk(self._folder)
            self._clean(name, set())
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone in the folder: agents that share it are asked at the same moment."""
        if self._folder.is_symlink():
            raise InvalidRequestError(f"{self._folder} is a link; pushed modules go into a folder of their own.")
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            ends_at = time.monotonic() + _LOCK_SECONDS_MAX
            while not _lock(folder):
                if time.monotonic() > ends_at:
                    raise InvalidRequestError(f"Another process holds {self._folder} locked; push again.")
                time.sleep(0.01)
            yield
        finally:
            os.close(folder)

    def _write(self, place: Path, files: Mapping[str, bytes]) -> None:
        """All of it under another name first: what has a version's name is whole."""
        draft = place.with_name(f"{place.name}.part")
        _drop(draft)
        made: set[Path] = {draft}
        try:
            for path, content in files.items():
                file = draft / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                made |= {file, *(draft / folder for folder in PurePosixPath(path).parents)}
            for one in made:
                # Whatever the umask: a task's user may read all of it, and nobody else may write.
                one.chmod(0o755 if one.is_dir() else 0o644)
                _to_disk(one)
            _drop(place)
            draft.rename(place)
            _to_disk(self._folder)
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
        _to_disk(self._folder)

    def _clean(self, name: str, keep: set[str]) -> None:
        for path in self._folder.glob(f"{name}.*"):
            version = path.name.removeprefix(f"{name}.").removesuffix(".part")
            if _VERSION.fullmatch(version) and (version not in keep or path.name.endswith(".part")):
                shutil.rmtree(path, ignore_errors=True)


def _is_whole(place: Path, files: Mapping[str, bytes]) -> bool:
    """Whether a version is there already, just as it is to be: tasks can write below the prefix, too."""
    try:
        found = {
            path.relative_to(place).as_posix()
            for path in place.rglob("*")
            if path.is_symlink() or not (path.is_dir() or path.parent.name == "__pycache__")
        }
        return (
            not place.is_symlink()
            and found == set(files)
            and all((place / path).read_bytes() == content for path, content in files.items())
        )
    except OSError:
        return False


def _drop_compiled(place: Path) -> None:
    """What Python compiled counts instead of the source, whoever wrote it; it is compiled again."""
    for cache in list(place.rglob("__pycache__")):
        shutil.rmtree(cache, ignore_errors=True)


def _drop(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> str:
    """A version; empty: the file has none."""
    with contextlib.suppress(OSError, ValueError):
        version = path.read_text(encoding="ascii")
        if _VERSION.fullmatch(version):
            return version
    return ""
