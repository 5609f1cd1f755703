"""Large values on the agent's disk: found there or written as they come, checked by their hash, the oldest thrown away.

One thread does all that waits for the disk or hashes. What a process has not hashed itself it hashes before it lets a
task have it, so nothing here needs to be synced: a file that a crash left half written is fetched again.
"""

import contextlib
import hashlib
import logging
import os
import queue
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

from dart.agent.blob_events import (
    BlobCrowded,
    BlobFault,
    BlobFind,
    BlobFree,
    BlobGone,
    BlobHere,
    BlobLack,
    BlobLet,
    BlobPin,
    BlobRead,
    BlobReady,
    BlobWrite,
    PieceRead,
)
from dart.agent.made_blobs import NEW, GivenUp, MadeBlobs, MadeEvent, Making, Missing, Room, Written
from dart.errors import TaskErrorCode
from dart.ids import AttemptRef
from dart.limits import Limits
from dart.private_files import make_private_directory
from dart.wire.messages import Buffer

FOLDER: Final = "blobs"
"""In the agent's home."""
_LOG = logging.getLogger("dart.agent")
_PIECE_BYTES: Final = 1 << 20
_PART: Final = ".part"
Event = BlobHere | BlobReady | BlobFault | BlobCrowded | BlobGone | MadeEvent
Order = BlobFind | BlobWrite | BlobLet | BlobPin | BlobFree | BlobRead


class _Coming:
    """A blob that is being written."""

    def __init__(self, size: int, file: BinaryIO) -> None:
        self.size = size
        self.file = file
        self.here = 0
        self.hash = hashlib.sha256()


class BlobCache:
    """The blobs in an agent's home.

    Args:
        folder: Made when the first blob is looked for.
        limits: `blob_cache_bytes_max`.
        emit: Called from the thread with what the core is to know.
    """

    def __init__(self, folder: Path, limits: Limits, emit: Callable[[Event], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._emit = emit
        self._orders: queue.SimpleQueue[Order | Making | None] = queue.SimpleQueue()
        self._rooms_given = 0
        self._thread: threading.Thread | None = None
        self._lacking: dict[bytes, Missing] = {}
        self._sound: dict[bytes, int] = {}
        """Hashed by this process, and when each was last changed: a task of this user may have got at it."""
        # Of the thread alone:
        self._knows = False
        self._sizes: dict[str, int] = {}
        """Files by name, those first that were not used for longest."""
        self._pinned: dict[bytes, int] = {}
        """Those that tasks need, with the size they have or will have."""
        self._made = MadeBlobs(folder, limits, emit)
        self._coming: dict[bytes, _Coming] = {}

    # ---- for the agent's loop ----

    def do(self, order: Order | BlobLack) -> None:
        """Carry out a command of the core; the events follow."""
        if isinstance(order, BlobLack):
            self._lacking[order.sha256] = Missing(order.code, order.reason)
            return
        if isinstance(order, BlobLet):
            self._lacking.pop(order.sha256, None)
        self._put(order)

    def _put(self, order: Order | Making) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dart blobs", daemon=True)
            self._thread.start()
        self._orders.put(order)

    def room(self, size: int, reply: Callable[[int | Missing], None]) -> int:
        """A number for a new blob. `reply` gets the descriptor of an empty file for it, or why there is none."""
        self._rooms_given += 1
        self._put(Room(self._rooms_given, size, reply))
        return self._rooms_given

    def make(self, number: int, ref: AttemptRef, sha256: bytes, reply: Callable[[Missing | None], None]) -> None:
        """The new blob is written and synced: `BlobMade` follows, and `reply`. Without a hash it is thrown away."""
        self._put(Written(number, ref, sha256, reply))

    def drop_room(self, number: int) -> None:
        """The new blob will not be finished."""
        self._put(GivenUp(number))

    def open(self, sha256: bytes) -> int:
        """A descriptor to read a blob that is ready; the caller closes it.

        Raises:
            Missing: It is not here.
        """
        missing = self._lacking.get(sha256)
        if missing is not None:
            raise missing
        try:
            descriptor = os.open(self._folder / sha256.hex(), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            text = f"this worker cannot read it from its cache: {error.strerror}"
            raise Missing(TaskErrorCode.BLOB_UNAVAILABLE, text) from None
        if os.fstat(descriptor).st_ctime_ns != self._sound.get(sha256):
            os.close(descriptor)
            text = "it was changed in this worker's cache since it was checked; it is fetched again for the next task"
            raise Missing(TaskErrorCode.BLOB_UNAVAILABLE, text)
        return descriptor

    def close(self) -> None:
        """Do nothing more; what is half here is gone on with after the next start."""
        self._emit = lambda _: None
        if self._thread is not None:
            self._orders.put(None)
            self._thread.join()

    # ---- the thread ----

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                self._carry_out(order)
            except OSError as error:
                self._failed(order, f"this worker cannot write it into its cache: {error.strerror}")
            if isinstance(order, BlobLet):
                self._emit(BlobGone(order.sha256))
        for coming in self._coming.values():
            coming.file.close()

    def _failed(self, order: Order | Making, reason: str) -> None:
        match order:
            case BlobFind() | BlobWrite():
                self._drop(order.sha256)
                self._emit(BlobFault(order.sha256, reason))
            case BlobLet():
                self._drop(order.sha256)
            case BlobRead():
                self._emit(PieceRead(order.sha256, order.offset, 0, b""))
            case Room() | Written():
                self._made.fail(order, reason)
            case _:
                _LOG.warning("blobs that tasks made: %s", reason)

    def _carry_out(self, order: Order | Making) -> None:
        if not self._knows:
            self._look_around()
            self._knows = True
        match order:
            case BlobPin(sha256, size):
                self._made.keep(sha256, size)
            case BlobFree(sha256):
                self._made.free(sha256)
            case BlobRead():
                self._made.read(order)
            case Room():
                self._made.make_file(order, fits=self._make_room(b"", order.size))
            case Written():
                if self._made.take_file(order, self._sound_size):
                    name = order.sha256.hex()
                    self._sizes.pop(name, None)
                    self._sizes[name] = (self._folder / name).stat().st_size
            case GivenUp(number):
                self._made.throw_away(number)
            case _:
                self._carry_out_fetching(order)

    # ---- blobs that tasks need ----

    def _carry_out_fetching(self, order: Order) -> None:
        match order:
            case BlobFind(sha256, size):
                self._find(sha256, size)
            case BlobWrite(sha256, offset, data):
                coming = self._coming.get(sha256)
                if coming is None or offset != coming.here:
                    return
                _write_all(coming.file, data)
                coming.hash.update(data)
                coming.here += len(data)
                self._sizes[sha256.hex() + _PART] = coming.here
                self._tell(sha256, coming)
            case BlobLet(sha256):
                self._pinned.pop(sha256, None)
                coming = self._coming.pop(sha256, None)
                if coming is not None:
                    coming.file.close()

    def _find(self, sha256: bytes, size: int) -> None:
        former = self._coming.pop(sha256, None)
        if former is not None:
            former.file.close()
        self._pinned.pop(sha256, None)
        if size > self._limits.blob_cache_bytes_max:
            most = self._limits.blob_cache_bytes_max
            reason = f"it has {size} bytes, and this worker's cache takes {most} (limit blob_cache_bytes_max)"
            self._emit(BlobFault(sha256, reason))
        elif not self._make_room(sha256, size):
            self._emit(BlobCrowded(sha256))
        else:
            self._pinned[sha256] = size
            if self._is_whole(sha256, size):
                self._emit(BlobReady(sha256))
            else:
                self._go_on(sha256, size)

    def _look_around(self) -> None:
        """Learn what earlier processes left."""
        make_private_directory(self._folder, "The folder of blobs")
        for left in self._folder.glob(f"*{NEW}"):
            left.unlink()
        names = re.compile(r"[0-9a-f]{64}(\.part)?")
        entries = [entry for entry in os.scandir(self._folder) if names.fullmatch(entry.name)]
        found = sorted((entry.stat().st_atime_ns, entry.name, entry.stat().st_size) for entry in entries)
        self._sizes = {name: size for _, name, size in found}

    def _make_room(self, sha256: bytes, size: int) -> bool:
        """Throw away what is needed for it, the oldest first and nothing that tasks use."""
        kept = self._made.sizes() | self._pinned | {sha256: size}
        pinned = {key.hex() + end for key in kept for end in ("", _PART)}
        taken = sum(kept.values()) + self._made.room_bytes
        if taken > self._limits.blob_cache_bytes_max:
            return False
        taken += sum(there for name, there in self._sizes.items() if name not in pinned)
        for name in [name for name in self._sizes if name not in pinned]:
            if taken <= self._limits.blob_cache_bytes_max:
                break
            taken -= self._sizes.pop(name)
            (self._folder / name).unlink(missing_ok=True)
            if not name.endswith(_PART):
                self._sound.pop(bytes.fromhex(name), None)
        return True

    def _sound_size(self, sha256: bytes) -> int | None:
        size = self._sizes.get(sha256.hex())
        return size if size is not None and self._is_whole(sha256, size) else None

    def _is_whole(self, sha256: bytes, size: int) -> bool:
        name = sha256.hex()
        path = self._folder / name
        if self._sizes.get(name) != size:
            return False
        if path.stat().st_ctime_ns != self._sound.get(sha256):
            with path.open("rb") as file:
                if _hash_of(file).digest() != sha256:
                    _LOG.warning("blob %s in this agent's cache is damaged; it is fetched again", name)
                    self._drop(sha256)
                    return False
        self._sizes[name] = self._sizes.pop(name)  # the newest now
        os.utime(path)
        self._sound[sha256] = path.stat().st_ctime_ns
        return True

    def _go_on(self, sha256: bytes, size: int) -> None:
        """Begin a blob, or go on with what a cut or an earlier process left of it."""
        name = sha256.hex() + _PART
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.fdopen(os.open(self._folder / name, flags, 0o600), "r+b", buffering=0)
        coming = self._coming[sha256] = _Coming(size, file)
        coming.here = os.fstat(file.fileno()).st_size
        if coming.here > size:
            file.truncate(0)
            coming.here = 0
        coming.hash = _hash_of(file)
        self._sizes[name] = coming.here
        self._tell(sha256, coming)

    def _tell(self, sha256: bytes, coming: _Coming) -> None:
        if coming.here < coming.size:
            self._emit(BlobHere(sha256, coming.here))
            return
        del self._coming[sha256]
        coming.file.close()
        if coming.hash.digest() != sha256:
            self._drop(sha256)
            self._emit(BlobFault(sha256, "what the server sent has another hash", damaged=True))
            return
        name = sha256.hex()
        path = self._folder / name
        (self._folder / (name + _PART)).rename(path)
        del self._sizes[name + _PART]
        self._sizes[name] = coming.size
        self._sound[sha256] = path.stat().st_ctime_ns
        self._emit(BlobReady(sha256))

    def _drop(self, sha256: bytes) -> None:
        """Nothing of it is kept."""
        coming = self._coming.pop(sha256, None)
        if coming is not None:
            coming.file.close()
        self._sound.pop(sha256, None)
        for name in (sha256.hex(), sha256.hex() + _PART):
            self._sizes.pop(name, None)
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()


def _write_all(file: BinaryIO, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _hash_of(file: BinaryIO) -> "hashlib._Hash":
    """Of all that is in a file, which is read to its end."""
    digest = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    return digest
