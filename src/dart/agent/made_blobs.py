"""Blobs that tasks make, in the cache: a file for each while it is written, kept afterwards until the broker has it.

All but the classes of orders belongs to the cache's thread.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dart.agent.blob_events import BlobMade, BlobRead, Later, PieceRead
from dart.errors import TaskErrorCode
from dart.ids import AttemptRef
from dart.limits import Limits

NEW: Final = ".new"
MadeEvent = BlobMade | PieceRead | Later


class Missing(Exception):  # noqa: N818 - a state of the blob
    """A runner asks for a blob that is not here."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Room:
    """A task wants to write so much."""

    number: int
    size: int
    reply: Callable[[int | Missing], None]
    """Gets the descriptor of an empty file, which it has to close."""


@dataclass(frozen=True, slots=True)
class Written:
    """It has written and synced that, and says which hash it has; without one it has given up."""

    number: int
    ref: AttemptRef
    sha256: bytes
    reply: Callable[[Missing | None], None]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Its runner is gone."""

    number: int


Making = Room | Written | GivenUp


class MadeBlobs:
    """Those of one cache.

    Args:
        folder: Of the cache.
        limits: `blob_cache_bytes_max`.
        emit: Called with what core and loop are to know.
    """

    def __init__(self, folder: Path, limits: Limits, emit: Callable[[MadeEvent], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._emit = emit
        self._made: dict[bytes, list[int]] = {}
        """Size, and how often each is kept."""
        self._rooms: dict[int, int] = {}
        """Files that are being written, and how large they will be."""

    def sizes(self) -> dict[bytes, int]:
        """Blobs that are kept."""
        return {sha256: size for sha256, (size, _) in self._made.items()}

    @property
    def room_bytes(self) -> int:
        """What is being written."""
        return sum(self._rooms.values())

    def make_file(self, order: Room, *, fits: bool) -> None:
        """A file for a new blob, if the cache has room."""
        if not fits:
            most = self._limits.blob_cache_bytes_max
            text = f"it has {order.size} bytes; this worker's cache takes {most} (limit blob_cache_bytes_max), and what"
            self.fail(order, text + " waits to be sent, or is needed by tasks, stays there")
            return
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._folder / f"{order.number}{NEW}", flags, 0o600)
        self._rooms[order.number] = order.size
        self._tell(order, descriptor)

    def take_file(self, order: Written, size_here: Callable[[bytes], int | None]) -> bool:
        """The file becomes a blob. Its hash is its word: the server will check it, and so does the cache.

        Args:
            order: What is known of it.
            size_here: Tells of the cache's sound blob of that name. That stays: others may need it, and nobody need
                believe this one.
        """
        path = self._folder / f"{order.number}{NEW}"
        size = path.stat().st_size
        if size != self._rooms[order.number] or not order.sha256:
            self.fail(order, f"{size} bytes of it could be read, and not {self._rooms[order.number]}")
            return False
        here = size_here(order.sha256)
        if here not in {None, size}:
            self.fail(order, "what was written has another SHA-256")
            return False
        del self._rooms[order.number]
        blob = self._folder / order.sha256.hex()
        if here is None:
            path.rename(blob)
        else:
            path.unlink()
            _sync(blob)  # one that was fetched is not
        _sync(self._folder)
        self.keep(order.sha256, size)
        self._emit(BlobMade(order.ref, order.sha256, size))
        self._tell(order, None)
        return True

    def fail(self, order: Room | Written, reason: str) -> None:
        """The task hears why there is no such blob."""
        self.throw_away(order.number)
        self._tell(order, Missing(TaskErrorCode.BLOB_UNAVAILABLE, reason))

    def throw_away(self, number: int) -> None:
        """What is unfinished."""
        if self._rooms.pop(number, None) is not None:
            (self._folder / f"{number}{NEW}").unlink(missing_ok=True)

    def _tell(self, order: Room | Written, outcome: int | Missing | None) -> None:
        reply: Callable[[Any], None] = order.reply
        self._emit(Later(lambda: reply(outcome)))

    def keep(self, sha256: bytes, size: int) -> None:
        """Once more than before."""
        self._made.setdefault(sha256, [size, 0])[1] += 1

    def free(self, sha256: bytes) -> None:
        """Once less."""
        kept = self._made[sha256]
        kept[1] -= 1
        if not kept[1]:
            del self._made[sha256]

    def read(self, order: BlobRead) -> None:
        """A piece."""
        with (self._folder / order.sha256.hex()).open("rb") as file:
            total = os.fstat(file.fileno()).st_size
            file.seek(order.offset)
            self._emit(PieceRead(order.sha256, order.offset, total, file.read(order.size)))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
