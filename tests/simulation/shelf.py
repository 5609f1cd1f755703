"""Large values: what the server has of them, and an agent's cache as its thread shows it."""

import io
from hashlib import sha256
from zlib import crc32

from dart.agent.blob_events import BlobCrowded, BlobFault, BlobFind, BlobGone, BlobHere, BlobLet, BlobReady, BlobWrite
from dart.wire import values

SIZES = (20, 50, 100)
BLOBS = {sha256(bytes([size]) * size).digest(): bytes([size]) * size for size in SIZES}
UNKNOWN = sha256(b"nobody has it").digest()
WORK_SECONDS = 0.01


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


class Shelf:
    """The server's blobs: they do not change."""

    def size(self, digest):
        """As the real one."""
        data = BLOBS.get(digest)
        return None if data is None else len(data)

    def open(self, digest):
        """As the real one."""
        data = BLOBS.get(digest)
        return None if data is None else io.BytesIO(data)


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
        if self._orders:
            self._soon()

    def forget(self, digest):
        """The core lets it go: what was lacking may be looked for anew."""
        self._lacking.pop(digest, None)

    def _find(self, digest, size):
        self._pinned.pop(digest, None)
        if size > self._bytes_max:
            self._emit(BlobFault(digest, "too large"))
        elif sum(self._pinned.values()) + size > self._bytes_max:
            self._emit(BlobCrowded(digest))
        else:
            for name in [name for name in self._disk if name not in self._pinned and name != digest]:
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
