"""Scratch directories: one for each runner, made fresh, its TMPDIR, gone with it.

They lie below one directory of the agent, in the system's place for temporary files: a short path, since programs bind
unix sockets there. What is thrown away is removed by a process, never by the agent's loop: a task may leave millions of
files, or folders nested deeper than any stack.
"""

import contextlib
import fcntl
import os
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path

from dart.agent import escaped, kernel_calls
from dart.agent.enrol import write_private
from dart.agent.task_user import TaskUser
from dart.errors import ConfigError

RECORD = "scratch.path"
"""File in the agent's home: where the last run had its directory, to be cleared away if it was killed."""
_PLACES = ("/tmp", "/var/tmp")  # noqa: S108 - the names in there are random
_REMOVE = 'rm -rf -- "$1" 2> /dev/null || { chmod -R u+rwX -- "$1"; rm -rf -- "$1"; }'
_END_SECONDS = 5.0
"""How long the agent's end waits for what is removed; the rest goes on without it."""


class Scratch:
    """The scratch directories of one agent.

    Args:
        home: The agent's home, where a record is kept; None: nothing is recorded.
        user: Whose they are; None: the agent's own.
        bytes_max: Size of each, a file system in memory of its own; 0: as the disk has room.

    Raises:
        ConfigError: No place can be written, or the agent may not limit their size.
    """

    def __init__(self, home: Path | None, user: TaskUser | None, bytes_max: int) -> None:
        self._user = user
        self._bytes_max = bytes_max
        self._removing: list[subprocess.Popen[bytes]] = []
        self._record = None if home is None else home / RECORD
        if self._record is not None:
            self._clear_last(self._record)
        self.base = _make_base(home, os.environ)
        # Cleaners of temporary files leave alone what is locked.
        self._lock = os.open(self.base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if user is not None:
            self.base.chmod(0o711)
        if self._record is not None:
            write_private(self._record, f"{self.base}\n")
        if bytes_max:
            try:
                self.drop(self.fresh(0))
            except OSError as error:
                self.close()
                raise ConfigError(
                    f"isolation.scratch_bytes: this agent may not mount a file system ({error.strerror}); "
                    "it has to be root, outside of a container, or take the member away."
                ) from None

    def fresh(self, slot: int) -> Path:
        """An empty directory for a runner of this slot.

        Raises:
            OSError: It cannot be made.
        """
        path = self.base / f"{slot}-{os.urandom(4).hex()}"
        path.mkdir(mode=0o700)
        path.chmod(0o700)  # whatever the umask
        try:
            if self._bytes_max:
                kernel_calls.mount_memory(str(path), f"size={self._bytes_max},mode=0700")
            if self._user is not None:
                os.chown(path, self._user.uid, self._user.gid)
        except OSError:
            self.drop(path)
            raise
        return path

    def drop(self, path: Path) -> None:
        """Throw a directory away with all that is in it."""
        self._removing = [process for process in self._removing if process.poll() is None]
        with contextlib.suppress(OSError):
            self._unmount(path)
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            self._remove(path)

    def pids(self) -> set[int]:
        """The processes that are removing something."""
        return {process.pid for process in self._removing}

    def close(self) -> None:
        """Throw everything away."""
        if self._lock < 0:
            return
        for path in self._inside(self.base):
            self.drop(path)
        for process in self._removing:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_SECONDS)
        os.close(self._lock)
        self._lock = -1
        with contextlib.suppress(OSError):
            self.base.rmdir()
            if self._record is not None:
                self._record.unlink()

    def _unmount(self, path: Path) -> None:
        if self._bytes_max:
            kernel_calls.unmount(str(path))

    def _remove(self, path: Path) -> None:
        command = ["/bin/sh", "-c", _REMOVE, "sh", str(path)]
        devnull = subprocess.DEVNULL
        with contextlib.suppress(OSError):  # out of processes: the next start clears it away
            self._removing.append(
                subprocess.Popen(command, stdin=devnull, stdout=devnull, stderr=devnull, start_new_session=True)
            )

    def _clear_last(self, record: Path) -> None:
        """A killed agent's directory. The name comes from our own private file; that it is still ours is checked."""
        try:
            last = Path(record.read_text(encoding="utf-8").strip())
            found = last.lstat()
        except (OSError, ValueError):
            return
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and last.name.startswith("dart-"):
            escaped.end_all_of(str(last))
            for path in self._inside(last):
                with contextlib.suppress(OSError):
                    kernel_calls.unmount(str(path))
            self._remove(last)

    @staticmethod
    def _inside(path: Path) -> list[Path]:
        try:
            return list(path.iterdir())
        except OSError:
            return []


def _make_base(home: Path | None, environment: Mapping[str, str]) -> Path:
    """A new directory where the system keeps temporary files, or in the agent's home."""
    places = [environment.get("TMPDIR", ""), *_PLACES, str(home or "")]
    for place in filter(None, places):
        path = Path(place).absolute() / f"dart-{os.urandom(4).hex()}"
        with contextlib.suppress(OSError):
            path.mkdir(mode=0o700)
            path.chmod(0o700)
            return path.resolve()
    raise ConfigError(f"No directory for temporary files can be made in {', '.join(filter(None, places))}.")
