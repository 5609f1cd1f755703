"""The worker's log file: what its tasks print, byte for byte, in `output_directory/log_NAME.txt`."""

import contextlib
import os
import stat
from pathlib import Path

from dart.errors import ConfigError
from dart.private_files import make_missing_directories

_NAME_BYTES_MAX = 200
"""With `log_`, `.txt.1` and a hash a file name stays below the 255 bytes that file systems take."""


def log_file_name(worker: str) -> str:
    """`log_NAME.txt`; long or odd names are cut and get a hash, so that different workers have different files."""
    plain = worker.isprintable() and "/" not in worker and len(worker.encode("utf-8", "replace")) <= _NAME_BYTES_MAX
    if plain:
        return f"log_{worker}.txt"
    import hashlib  # noqa: PLC0415 - brings OpenSSL with it, for the rare name only

    shown = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_" for letter in worker)
    digest = hashlib.sha256(worker.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"log_{shown[:80]}_{digest}.txt"


def open_log(path: Path, remedy: str) -> int:
    """A descriptor that appends to a log file of this user only, 0600 and no link.

    Raises:
        ConfigError: It is a link, not ours, or cannot be opened; `remedy` is what can be done beside removing it.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        opened = os.open(path, flags, 0o600)
    except OSError as error:
        raise ConfigError(
            f"The log file {path} cannot be opened: {error.strerror}. Remove what is there, or {remedy}."
        ) from None
    state = os.fstat(opened)
    if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid() or state.st_nlink > 1:
        os.close(opened)
        raise ConfigError(f"The log file {path} is no plain file of this user. Remove it, or {remedy}.")
    os.fchmod(opened, 0o600)
    return opened


class WorkerLog:
    """The open log file of one worker, shared by its slots; another agent may append to the same one.

    Args:
        directory: It is made if it is missing.
        worker: The worker's name.
        bytes_max: At this size the file is renamed to `...txt.1` and begun anew.

    Raises:
        ConfigError: The file is a link, not ours, or cannot be opened.
    """

    def __init__(self, directory: Path, worker: str, bytes_max: int) -> None:
        self.path = directory / log_file_name(worker)
        self._bytes_max = bytes_max
        try:
            make_missing_directories(directory)
        except OSError as error:
            raise ConfigError(f"output_directory {directory} cannot be made: {error.strerror}.") from None
        self._file = self._open()

    def write(self, data: bytes) -> None:
        """Append; what a full disk or a vanished directory does not take is lost, the worker goes on."""
        with contextlib.suppress(OSError, ConfigError):
            self._rotate(len(data))
            while data:
                data = data[os.write(self._file, data) :]

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> int:
        return open_log(self.path, "set output_directory to a folder of your own")

    def _rotate(self, more_bytes: int) -> None:
        state = os.fstat(self._file)
        if state.st_size == 0 or state.st_size + more_bytes <= self._bytes_max:
            return
        with contextlib.suppress(OSError):
            # Another agent of this name may have renamed it already: then ours is the old one.
            if os.path.samestat(state, os.lstat(self.path)):
                self.path.rename(f"{self.path}.1")
        fresh = self._open()
        os.close(self._file)
        self._file = fresh
