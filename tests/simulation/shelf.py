"""Large values: what the server has of them, and an agent's cache as its thread shows it."""

import io
from collections import Counter
from hashlib import sha256
from zlib import crc32

from dart.agent.blob_events import (
    BlobCrowded,
    BlobFault,
    BlobFind,
    BlobFree,
    BlobGone,
    BlobHere,
    BlobLet,
    BlobMade,
    BlobPin,
    BlobRead,
    BlobReady,
    BlobWrite,
    PieceRead,
)
from dart.errors import InvalidRequestError, UnavailableError
from dart.wire import values

SIZES = (20, 50, 100)
BLOBS = {sha256(bytes([size]) * size).digest(): bytes([size]) * size for size in SIZES}
UNKNOWN = sha256(b"nobody has it").digest()
WORK_SECONDS = 0.01
ROT = 0.03
"""Of the blobs that tasks made: they are gone, or others, when they are to be read."""
FULL = 0.1
"""Of the times that the server begins to write a blob."""


def draw_limits(chance):
    """Bounds so tight that pieces are many, wait for one another, and do not all fit into the cache."""
    return {
        "blob_piece_bytes": chance.choice((15, 40, 1 << 18)),
        "blob_pieces_max": chance.choice((40, 64)),
        "blob_pieces_bytes_max": chance.choice((10, 60, 1 << 22)),
        "blob_fetch_bytes_max": chance.choice((15, 50, 1 << 21)),
        "blob_fetches_max": chance.choice((1, 8)),
        "blob_tasks_max": chance.choice((0, 2, 256)),
        "blob_cache_bytes_max": chance.choice((110, 130, 1 << 30)),
    }


def named(token):
    """References that the task of this token names: often none, seldom one to what nobody has."""
    number = crc32(token.encode())
    known = [values.BlobReference(digest, len(data)) for digest, data in BLOBS.items()]
    if number % 10 < 8:
        return []
    if number % 100 < 97:
        return known[number // 100 % 3 :][: 1 + number // 1000 % 2]
    return [values.BlobReference(UNKNOWN, 50)]


def made(token, run):
    """The blob that this run of the task of this token makes, and whether it returns it; None: none."""
    number = crc32(token.encode())
    if number // 10_000 % 5:
        return None, False
    # Some make what others make, too.
    data = (f"{token} {run} " if number // 50_000 % 3 else "of all ").encode() * 20
    return data[: number // 50_000 % 97], number // 150_000 % 8 > 0


class Shelf:
    """The server's blobs on its disk, which outlives its processes.

    Args:
        chance: Its luck.
    """

    def __init__(self, chance):
        self._chance = chance
        self.files = dict(BLOBS)
        self._parts = {}
        self.healthy = False

    def crash(self):
        """What was not synced may be there as nothing but zeros."""
        for name, data in self._parts.items():
            if self._chance.random() < 0.2:
                self._parts[name] = bytes(len(data))

    def size(self, digest):
        """As the real one."""
        data = self.files.get(digest)
        return None if data is None else len(data)

    def open(self, digest):
        """As the real one."""
        data = self.files.get(digest)
        return None if data is None else io.BytesIO(data)

    def uploaded(self, digest, who):
        """As the real one."""
        return len(self._parts.get((digest, who), b""))

    def begin(self, digest, who, *, offset, total):
        """As the real one."""
        self.may_be_full()
        self._parts[digest, who] = self._parts.get((digest, who), b"")[:offset]
        return _Upload(self, digest, who, total)

    def may_be_full(self):
        """Raise what a full disk makes the real one raise."""
        if not self.healthy and self._chance.random() < FULL:
            raise UnavailableError("The disk of the blobs is nearly full.")

    def write(self, name, piece):
        self._parts[name] = self._parts[name] + piece

    def finish(self, name):
        """As the real upload does."""
        data = self._parts.pop(name)
        if sha256(data).digest() != name[0]:
            raise InvalidRequestError("What came has another SHA-256.")
        self.files[name[0]] = data


class _Upload:
    def __init__(self, shelf, digest, who, total):
        self._shelf = shelf
        self._name = digest, who
        self._total = total

    def write(self, piece):
        self._shelf.may_be_full()
        self._shelf.write(self._name, piece)

    def finish(self):
        self._shelf.finish(self._name)

    def close(self):
        """What came stays."""


class Cache:
    """Of one agent process.

    Args:
        world: Its clock.
        chance: Its luck.
        disk: Bytes by name; outlives the process.
        emit: Takes its events.
        bytes_max: How much it may keep.
    """

    def __init__(self, world, chance, disk, emit, bytes_max):
        self._world = world
        self._chance = chance
        self._disk = disk
        self._emit = emit
        self._bytes_max = bytes_max
        self._orders = []
        self._pinned = {}
        self._lacking = {}
        self.made = Counter()
        """What runs made and results name, and how often."""
        self.rotten = set()
        self.ended = False

    def do(self, order):
        """Commands are carried out one after the other, each after a while."""
        self._orders.append(order)
        if len(self._orders) == 1:
            self._soon()

    def lack(self, order):
        """A blob that its tasks do without."""
        self._lacking[order.sha256] = order.code

    def code(self, reference):
        """Why a task cannot have this blob; 0: it has it."""
        if reference.sha256 in self._lacking:
            return self._lacking[reference.sha256]
        data = self._disk.get(reference.sha256)
        if data is None or data != BLOBS.get(reference.sha256):
            self._world.fail(f"a task begins without its blob {reference.sha256.hex()[:8]}: {data!r}")
        if reference.sha256 not in self._pinned:
            self._world.fail(f"a task begins with blob {reference.sha256.hex()[:8]}, which may go at any time")
        return 0

    def make(self, ref, data):
        """A run has made a blob; whether it had room."""
        digest = sha256(data).digest()
        if self._taken(but=digest) + len(data) > self._bytes_max:
            return False
        self._disk[digest] = data
        self.made[digest] += 1
        self._emit(BlobMade(ref, digest, len(data)))
        return True

    def _kept(self):
        return {**self._pinned, **{digest: len(self._disk.get(digest, b"")) for digest in self.made}}

    def _taken(self, but):
        return sum(size for digest, size in self._kept().items() if digest != but)

    def _free(self, digest):
        self.made[digest] -= 1
        if self.made[digest] < 0:
            self._world.fail(f"blob {digest.hex()[:8]} is let go once more than it was kept")
        if not self.made[digest]:
            del self.made[digest]

    def _read(self, order):
        data = self._disk.get(order.sha256)
        if order.sha256 not in self.made:
            self._world.fail(f"blob {order.sha256.hex()[:8]} is to be read and may go at any time")
        if order.sha256 not in self.rotten and data and self._chance.random() < ROT:
            self.rotten.add(order.sha256)
            data = self._disk[order.sha256] = bytes(len(data)) if self._chance.random() < 0.5 else b""
        if not data:
            self._emit(PieceRead(order.sha256, order.offset, 0, b""))
        else:
            piece = data[order.offset : order.offset + order.size]
            self._emit(PieceRead(order.sha256, order.offset, len(data), piece))

    def _soon(self):
        self._world.after(self._chance.random() * WORK_SECONDS, self._work)

    def _work(self):
        if self.ended:
            return
        order = self._orders.pop(0)
        match order:
            case BlobFind(digest, size):
                self._find(digest, size)
            case BlobWrite(digest, offset, data):
                self._write(digest, offset, bytes(data))
            case BlobLet(digest):
                self._pinned.pop(digest, None)
                self._emit(BlobGone(digest))
            case BlobPin(digest):
                self.made[digest] += 1
            case BlobFree(digest):
                self._free(digest)
            case BlobRead():
                self._read(order)
        if self._orders:
            self._soon()

    def forget(self, digest):
        """The core lets it go: what was lacking may be looked for anew."""
        self._lacking.pop(digest, None)

    def _find(self, digest, size):
        self._pinned.pop(digest, None)
        if size > self._bytes_max:
            self._emit(BlobFault(digest, "too large"))
        elif self._taken(but=digest) + size > self._bytes_max:
            self._emit(BlobCrowded(digest))
        else:
            for name in [name for name in self._disk if name not in self._kept() and name != digest]:
                if sum(map(len, self._disk.values())) + size > self._bytes_max:
                    del self._disk[name]
            self._pinned[digest] = size
            self._tell(digest)

    def _write(self, digest, offset, data):
        here = self._disk.get(digest)
        if digest in self._pinned and here is not None and offset == len(here) < self._pinned[digest]:
            self._disk[digest] = here + data
            self._tell(digest)

    def _tell(self, digest):
        data = self._disk.setdefault(digest, b"")
        if len(data) < self._pinned[digest]:
            self._emit(BlobHere(digest, len(data)))
        elif sha256(data).digest() == digest:
            self._emit(BlobReady(digest))
        else:
            del self._disk[digest]
            self._pinned.pop(digest)
            self._emit(BlobFault(digest, "damaged", damaged=True))
