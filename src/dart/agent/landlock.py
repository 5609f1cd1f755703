"""Landlock, the kernel's way to take rights from a thread and all that it starts, without being root (Linux 5.13).

A thread that restricts itself is in a *domain* of its own: it cannot look into, trace or (Linux 6.12) signal a process
outside of it, and has only those rights to files that the rules give. A right that is not *handled* is not restricted.
"""

import ctypes
import os
import platform
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from dart.agent import kernel_calls

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION_FLAG = 1
_BENEATH = 1

EXECUTE, WRITE_FILE, READ_FILE = 1 << 0, 1 << 1, 1 << 2
REMOVE_DIR, REMOVE_FILE = 1 << 4, 1 << 5
MAKE_BLOCK = 1 << 11
MAKE_ANY = 0b1111111 << 6
REFER, TRUNCATE = 1 << 13, 1 << 14
WRITING = WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_ANY | REFER | TRUNCATE
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
"""Rights that mean something for a file; the others are those of a folder."""

SCOPE_ABSTRACT_SOCKETS, SCOPE_SIGNALS = 1, 2

APART, WHOLE, SIGNALS = 2, 3, 6
"""Versions from which on a domain leaves renaming alone, holds truncating too, and keeps signals in."""


def version() -> int:
    """What the kernel offers; 0: no Landlock."""
    if platform.machine().startswith(("mips", "alpha")):
        return 0  # the numbers of its calls differ there
    try:
        return kernel_calls.system_call(_CREATE, 0, 0, _VERSION_FLAG)
    except OSError:
        return 0


class Ruleset:
    """Rights to be handled, and who keeps them. Use it as a context: it holds a descriptor.

    Args:
        known: What `version` said; what it does not know is left out.
        handled: Rights to files.
        scoped: Of `SCOPE_...`.

    Raises:
        OSError: The kernel refuses.
    """

    def __init__(self, known: int, handled: int, scoped: int = 0) -> None:
        self.handled = handled & ~(TRUNCATE if known < WHOLE else 0)
        attributes = struct.pack("=QQQ", self.handled, 0, scoped if known >= SIGNALS else 0)
        size = 8 if known < 4 else 16 if known < SIGNALS else 24
        buffer = ctypes.create_string_buffer(attributes)
        self._descriptor = kernel_calls.system_call(_CREATE, ctypes.addressof(buffer), size, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def allow(self, path: Path | str, rights: int) -> None:
        """Give rights to all that is at or below this path; nothing happens if it is gone, or a link."""
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            return
        try:
            rights &= self.handled
            if not stat.S_ISDIR(os.fstat(place).st_mode):
                rights &= _OF_FILES
            if rights:
                buffer = ctypes.create_string_buffer(struct.pack("=Qi", rights, place))
                kernel_calls.system_call(_ADD_RULE, self._descriptor, _BENEATH, ctypes.addressof(buffer), 0)
        except OSError:
            return  # a kind of file that no rule can be about; without a rule it is out of reach
        finally:
            os.close(place)

    def restrict_thread(self) -> None:
        """From now on, and for ever, this thread and what it starts have no other rights.

        Raises:
            OSError: It could still gain privileges (PR_SET_NO_NEW_PRIVS), or is in 16 domains already.
        """
        kernel_calls.system_call(_RESTRICT, self._descriptor, 0)


def around(hidden: Iterable[Path], entries_max: int) -> list[str] | None:
    """Paths that together are everything but `hidden` and what lies directly on the way there.

    Args:
        hidden: Absolute folders without links.
        entries_max: More than so many entries on the way are too many: None.
    """
    closed = {str(path) for path in hidden}
    on_the_way = {str(parent) for path in hidden for parent in path.parents}
    open_ones: list[str] = []
    left = sorted(on_the_way)
    seen = 0
    for folder in left:
        if any(folder == path or folder.startswith(path + "/") for path in closed):
            continue
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen += 1
                    if seen > entries_max:
                        return None
                    if entry.path not in on_the_way and entry.path not in closed and not entry.is_symlink():
                        open_ones.append(entry.path)
        except OSError:
            continue  # what cannot be listed cannot be opened up either
    return open_ones
