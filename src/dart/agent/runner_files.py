"""Reading the owner's source files in a runner; standard library only, Python 3.9 or later.

What is checked is what is read: a file is opened folder by folder below its root, none of them by a link, so nobody can
put another file in its place between a check and the load.
"""

from __future__ import annotations

import os
import stat
from importlib.machinery import SourceFileLoader

TYPE_CHECKING = False  # importing `typing` would cost every runner memory
if TYPE_CHECKING:
    from typing import Any

_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class EscapeError(OSError):
    """A path does not lead to a file of this very name below its root; the message says where it leads."""


class SourceLoader(SourceFileLoader):
    """Loads a module from below a folder, its cached bytecode as well.

    Args:
        name: Of the module.
        path: The file, below `prefix`.
        prefix: The folder.
        exact: No link is followed, and each name must be spelled as the folder has it: then a file has one path only,
            also on file systems that do not tell upper from lower case.
    """

    def __init__(self, name: str, path: str, prefix: str, *, exact: bool) -> None:
        super().__init__(name, path)
        self._prefix = prefix
        self._exact = exact

    def get_data(self, path: Any) -> bytes:
        """The bytes of the source, or of its bytecode.

        Raises:
            OSError: It cannot be read.
        """
        descriptor = self._open(path)
        try:
            return _read(descriptor)
        finally:
            os.close(descriptor)

    def path_stats(self, path: Any) -> dict[str, float]:
        """Time and size of the source, which its bytecode must match."""
        descriptor = self._open(path)
        try:
            state = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        return {"mtime": state.st_mtime, "size": state.st_size}

    def _open(self, path: str) -> int:
        root = os.path.realpath(self._prefix)
        if not self._exact:
            return open_below(root, os.path.relpath(os.path.realpath(path), root), exact=False)
        return open_below(root, os.path.relpath(path, self._prefix), exact=True)


def open_below(root: str, relative: str, *, exact: bool) -> int:
    """A descriptor of a plain file below `root`, reached without a link.

    Raises:
        EscapeError: There is a link on the way, or it is no plain file; with `exact` also another spelling.
        OSError: It is not there or cannot be opened.
    """
    parts = relative.split("/")
    if ".." in parts:
        raise EscapeError(f"{relative} leads out of {root}")
    # Naming a folder needs less permission than listing it.
    folder_flags = _FOLDER | (os.O_RDONLY if exact else getattr(os, "O_PATH", os.O_RDONLY))
    folder = os.open(root, folder_flags)
    try:
        for number, part in enumerate(parts, 1):
            if exact and part not in os.listdir(folder):
                raise EscapeError(f"{part} is not the name of a file in {root}/{'/'.join(parts[: number - 1])}")
            try:
                inner = os.open(part, _FILE if number == len(parts) else folder_flags, dir_fd=folder)
            except OSError as error:
                raise EscapeError(f"{part} of {relative} is a link or cannot be opened: {error.strerror}") from None
            os.close(folder)
            folder = inner
        if not stat.S_ISREG(os.fstat(folder).st_mode):
            raise EscapeError(f"{relative} is no plain file")
    except OSError:
        os.close(folder)
        raise
    return folder


def module_hash(files: dict[str, bytes]) -> str:
    """SHA-256 of a module in hex: of its one file, or of a package's paths (from its folder on) and files.

    Args:
        files: By path; one without `/` is a module of one file.
    """
    import hashlib  # noqa: PLC0415 - needed where somebody asks for it only

    if len(files) == 1 and "/" not in next(iter(files)):
        return hashlib.sha256(next(iter(files.values()))).hexdigest()
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(path.encode() + b"\0" + hashlib.sha256(files[path]).digest())
    return whole.hexdigest()


def hash_on_disk(root: str, relative: str, *, package: bool) -> str:
    """`module_hash` of what lies below `root`: a file, or all of a package's folder but what Python compiled.

    Raises:
        OSError: Something cannot be read.
    """
    if not package:
        return module_hash({os.path.basename(relative): _content(root, relative)})
    folder = os.path.dirname(relative)
    above = os.path.dirname(folder)
    found: dict[str, bytes] = {}
    for file in _files_below(os.path.join(root, folder)):
        path = os.path.relpath(file, os.path.join(root, above))
        found[path] = _content(root, os.path.join(above, path))
    return module_hash(found)


def state_on_disk(path: str, *, package: bool) -> int:
    """A number that is another one, and never 0, when a file of the module at `path` was changed.

    Raises:
        OSError: Something cannot be looked at.
    """
    found = []
    for file in _files_below(os.path.dirname(path)) if package else [path]:
        state = os.lstat(file)
        found.append((file, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns))
    return hash(tuple(sorted(found))) or 1


def _files_below(top: str) -> list[str]:
    """All of a package's files but what Python compiled."""
    found = []
    for place, folders, names in os.walk(top):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found += [os.path.join(place, name) for name in names if not name.endswith((".pyc", ".pyo"))]
    return found


def _content(root: str, relative: str) -> bytes:
    descriptor = open_below(os.path.realpath(root), relative, exact=False)
    try:
        return _read(descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> bytes:
    pieces: list[bytes] = []
    while True:
        piece = os.read(descriptor, 1 << 20)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
