"""Large values as files named by their SHA-256: written beside, checked, synced, and only then known by that name.

Everything here blocks and is safe in any thread. What a client says of a hash is never believed: the bytes are hashed
as they are written, and those of an interrupted upload once more when it goes on.
"""

import errno
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Final

from dart.errors import (
    ConflictError,
    DartError,
    InvalidRequestError,
    LimitError,
    StoreError,
    TooLargeError,
    UnavailableError,
)
from dart.limits import Limits
from dart.private_files import make_private_directory
from dart.wire.blob_references import HASH_BYTES, MARK, named_in

_PIECE_BYTES: Final = 1 << 20
_PART: Final = ".part"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


class Blobs:
    """The blobs of one server.

    Args:
        folder: Made if it is missing; what was there before is known again.
        limits: Bounds of one blob, of all, and of the room that is left to the database.

    Raises:
        ConfigError: The folder cannot be used, or others may enter it.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        make_private_directory(folder, "The folder of blobs")
        self._folder = folder
        self._limits = limits
        self._lock = threading.Lock()
        self._used: dict[bytes, float] = {}
        """When each was last put, read or named, as Unix time."""
        self._sizes: dict[bytes, int] = {}
        self._parts: dict[str, int] = {}
        """Interrupted and running uploads by file name: bytes that came."""
        self._writing: set[str] = set()
        self.bytes = 0
        """On the disk, uploads included."""
        for entry in os.scandir(folder):
            found = entry.stat(follow_symlinks=False)
            if entry.name.endswith(_PART):
                self._parts[entry.name] = found.st_size
            elif len(entry.name) == 2 * HASH_BYTES:
                sha256 = bytes.fromhex(entry.name)
                self._sizes[sha256], self._used[sha256] = found.st_size, found.st_mtime
            else:
                continue
            self.bytes += found.st_size

    def __len__(self) -> int:
        return len(self._sizes)

    def size(self, sha256: bytes) -> int | None:
        """Bytes of a blob, which counts as used now; None: it is not here."""
        with self._lock:
            size = self._sizes.get(sha256)
            if size is not None:
                self._used[sha256] = time.time()
            return size

    def open(self, sha256: bytes) -> BinaryIO | None:
        """A blob, to be read; None: it is not here."""
        if self.size(sha256) is None:
            return None
        try:
            return (self._folder / sha256.hex()).open("rb")
        except FileNotFoundError:
            return None

    def note_use(self, payload: bytes) -> None:
        """What a payload refers to is used now."""
        if MARK in payload:
            for sha256 in named_in(payload):
                self.size(sha256)

    # ---- uploads ----

    def uploaded(self, sha256: bytes, who: str) -> int:
        """How many bytes of an interrupted upload are here."""
        with self._lock:
            return self._parts.get(_part_name(sha256, who), 0)

    def begin(self, sha256: bytes, who: str, *, offset: int, total: int) -> "Upload":
        """Begin an upload of `total` bytes, or go on with one; `close` it in any case.

        Args:
            sha256: What the bytes must hash to.
            who: Whose upload it is: nobody goes on with what another began.
            offset: How many bytes are here already; 0: begin anew.
            total: All bytes of the blob.

        Raises:
            ConflictError: Another number of bytes is here (`offset` in the details), or it is being uploaded.
            TooLargeError, LimitError, UnavailableError: It has no room.
        """
        name = _part_name(sha256, who)
        if total > self._limits.blob_bytes_max:
            raise TooLargeError(
                f"The blob has {total} bytes; one may have {self._limits.blob_bytes_max} (limit blob_bytes_max)."
            )
        with self._lock:
            here = self._parts.get(name, 0)
            if name in self._writing:
                raise ConflictError(
                    "This blob is being uploaded with this key at this moment; wait until that has ended.",
                    retry_after=1,
                )
            if offset not in (0, here) or offset > total:
                raise ConflictError(
                    f"{here} bytes of this blob are here, and the upload goes on from {offset}; go on from {here}, or"
                    " begin anew from 0.",
                    offset=here,
                )
            self._check_room(total - here)
            self._writing.add(name)
            if not offset:
                self.bytes -= here
                self._parts[name] = 0
        try:
            return Upload(self, self._folder / name, sha256, offset=offset, total=total)
        except OSError as error:
            self._writing.discard(name)
            raise _trouble(error) from None

    def _check_room(self, more: int) -> None:
        if self.bytes + more > self._limits.blobs_bytes_max:
            raise LimitError(
                f"All blobs together have {self.bytes} bytes, and may have {self._limits.blobs_bytes_max} (limit"
                " blobs_bytes_max). Delete results and stop jobs that refer to blobs; what nothing refers to goes by"
                f" itself {self._limits.blob_idle_seconds:g} s after its last use."
            )
        if shutil.disk_usage(self._folder).free - more < self._limits.store_spare_bytes:
            raise _no_room()

    def grown(self, name: str, count: int) -> None:
        """So many bytes of an upload came."""
        with self._lock:
            self._parts[name] += count
            self.bytes += count

    def ended(self, name: str, *, keep: bool, whole: tuple[bytes, int] | None = None) -> None:
        """An upload is over: kept to go on with, dropped, or whole."""
        with self._lock:
            self._writing.discard(name)
            if whole is not None:
                sha256, size = whole
                self.bytes -= self._parts.pop(name) - size
                if sha256 in self._sizes:
                    self.bytes -= size  # another key was faster; its file was replaced by the same bytes
                self._sizes[sha256], self._used[sha256] = size, time.time()
            elif not keep:
                self.bytes -= self._parts.pop(name, 0)

    # ---- what goes ----

    def idle(self) -> list[bytes]:
        """Blobs that nobody used for `blob_idle_seconds`; they may go if nothing refers to them."""
        before = time.time() - self._limits.blob_idle_seconds
        with self._lock:
            return [sha256 for sha256, used in self._used.items() if used <= before]

    def remove(self, candidates: Iterable[bytes]) -> int:
        """Remove those of these that still nobody used, and uploads that were given up; how many blobs went."""
        before = time.time() - self._limits.blob_idle_seconds
        gone = 0
        for sha256 in candidates:
            with self._lock:
                if self._used.get(sha256, before + 1) > before:
                    continue
                (self._folder / sha256.hex()).unlink(missing_ok=True)
                del self._used[sha256]
                self.bytes -= self._sizes.pop(sha256)
                gone += 1
        with self._lock:
            for name in [name for name in self._parts if name not in self._writing]:
                path = self._folder / name
                if not path.exists() or path.stat().st_mtime <= before:
                    path.unlink(missing_ok=True)
                    self.bytes -= self._parts.pop(name)
        return gone

    def keep_times(self) -> None:
        """Write into the files when they were used, for the next start."""
        with self._lock:
            used = list(self._used.items())
        for sha256, at in used:
            try:
                os.utime(self._folder / sha256.hex(), (at, at))
            except FileNotFoundError:
                continue


class Upload:
    """One blob on its way in; made by `Blobs.begin`."""

    def __init__(self, blobs: Blobs, path: Path, sha256: bytes, *, offset: int, total: int) -> None:
        self._blobs = blobs
        self._path = path
        self._sha256 = sha256
        self._hash = hashlib.sha256()
        self._total = total
        self._size = offset
        self._offset = offset
        self._keep = True
        self._whole = False
        self._lock = threading.Lock()
        """Whoever gives up while a thread writes waits for it before the file is closed."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | (0 if offset else os.O_TRUNC)
        self._file = os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)

    def _hash_what_is_here(self) -> None:
        left, self._offset = self._offset, 0
        while left and (piece := self._file.read(min(left, _PIECE_BYTES))):
            self._hash.update(piece)
            left -= len(piece)

    def write(self, piece: bytes | bytearray) -> None:
        """Add what came next.

        Raises:
            InvalidRequestError: More came than was announced.
            UnavailableError: The disk is full.
        """
        with self._lock:
            self._write(piece)

    def _write(self, piece: bytes | bytearray) -> None:
        self._hash_what_is_here()
        if self._size + len(piece) > self._total:
            self._keep = False
            raise InvalidRequestError(f"More than the {self._total} bytes came that the request announced.")
        self._hash.update(piece)
        view = memoryview(piece)
        try:
            while view:
                count = self._file.write(view)
                self._blobs.grown(self._path.name, count)
                self._size += count
                view = view[count:]
        except OSError as error:
            # What is here takes the room that others need.
            self._keep = False
            raise _trouble(error) from None

    def finish(self) -> None:
        """Check the hash and make the blob durable.

        Raises:
            InvalidRequestError: The bytes are others than the name says, or too few; nothing is kept of wrong ones.
            StoreError, UnavailableError: It cannot be written.
        """
        with self._lock:
            self._finish()

    def _finish(self) -> None:
        self._hash_what_is_here()
        if self._size < self._total:
            raise InvalidRequestError(f"Of {self._total} bytes {self._size} came; send the rest from there.")
        if self._hash.digest() != self._sha256:
            self._keep = False
            raise InvalidRequestError(
                f"What came has the SHA-256 {self._hash.hexdigest()}, not the one of the path; it was dropped. Send it"
                " again from the beginning, under the hash of its bytes.",
                field="sha256",
            )
        try:
            os.fsync(self._file.fileno())
            self._path.replace(self._path.with_name(self._sha256.hex()))
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise _trouble(error) from None
        self._whole = True

    def close(self) -> None:
        """The end of it, however it went; what is unfinished can be gone on with."""
        with self._lock:
            self._file.close()
            if not self._whole and not self._keep:
                self._path.unlink(missing_ok=True)
        whole = (self._sha256, self._size) if self._whole else None
        self._blobs.ended(self._path.name, keep=self._keep, whole=whole)


def _part_name(sha256: bytes, who: str) -> str:
    """Nobody's bytes come into what another uploads, which would only fail at its end."""
    return f"{sha256.hex()}.{hashlib.sha256(who.encode()).hexdigest()[:16]}{_PART}"


def _no_room() -> UnavailableError:
    return UnavailableError(
        "The disk of the blobs is nearly full, and what is left is kept for results. Free some space there, or delete"
        " results that refer to blobs, and send it again.",
        retry_after=5,
    )


def _trouble(error: OSError) -> DartError:
    if error.errno in _FULL:
        return _no_room()
    return StoreError(f"A blob cannot be written: {error}")
