"""Finds a damaged log (`-wal`) before SQLite opens it, for SQLite would silently leave out what it cannot read there.

That is right after a power loss, when the last transaction was not yet promised to anybody; it is wrong after
anything else. Three things tell the two apart: the index of the log (`-shm`), which a killed server leaves behind and
which says how many frames were committed; a header that is not whole, though it was synced before all else; and two
commits behind the first frame that cannot be read, since the first of them was synced before the second was begun.
Layouts: https://www.sqlite.org/fileformat2.html#walformat and https://www.sqlite.org/walformat.html.
"""

import logging
import os
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from shlex import quote
from typing import NamedTuple
from urllib.parse import quote as quote_uri

from dart.errors import StoreError

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = 0x377F0682
"""The lowest bit tells in which byte order check sums are counted."""
INDEX_BYTES = 104
"""Two copies of the index's head, and how many frames have reached the database."""

log = logging.getLogger("dart.broker.store")


class Index(NamedTuple):
    """What the index says."""

    frames: int
    """Committed frames in the log."""
    moved: int
    """Of these, how many are in the database, too."""
    salt: bytes
    """Of the log's generation; a log that was begun anew has another."""


def check_log(path: Path) -> None:
    """Return if nothing that was committed is missing from the log of the database `path`.

    Raises:
        StoreError: Something is. Nothing was changed.
    """
    wal, shm = Path(f"{path}-wal"), Path(f"{path}-shm")
    data_bytes = wal.stat().st_size if wal.exists() else 0
    left = _index(shm)
    if not data_bytes:
        if left is not None and left.frames > left.moved:
            raise _damaged(wal, "is missing or empty", shm, good_bytes=0)
        return
    with wal.open("rb") as file:
        head = file.read(_HEADER.size)
    if not _is_whole(head):
        if data_bytes > _HEADER.size or (left is not None and left.frames > left.moved):
            raise _damaged(wal, "has no readable beginning", shm, good_bytes=0)
        return
    page_bytes = _HEADER.unpack(head)[2]
    frame_bytes = _FRAME.size + page_bytes
    readable = _readable_frames(path, shm)
    good_bytes = _HEADER.size + readable * frame_bytes
    if left is not None and left.salt == head[16:24] and left.frames > max(readable, left.moved):
        raise _damaged(wal, f"has {readable} readable pages of {left.frames}", shm, good_bytes)
    commits = _commits_behind(wal, head, good_bytes, frame_bytes)
    if commits > 1 and (left is None or left.salt != head[16:24]):
        raise _damaged(wal, f"cannot be read from byte {good_bytes} on", shm, good_bytes)
    if commits and left is None:
        log.warning(
            "The last transaction in %s was not written whole (power loss?) and is left out; it had not been "
            "acknowledged.",
            wal,
        )


def _damaged(wal: Path, what: str, shm: Path, good_bytes: int) -> StoreError:
    return StoreError(
        f"The database's log {wal} {what}: work that was acknowledged is in the part that is lost. Restore a backup. "
        f"To go on without that part: truncate -s {good_bytes} {quote(str(wal))} && rm -f {quote(str(shm))}"
    )


def _index(shm: Path) -> Index | None:
    """As `read_index`; None where there is none."""
    if not shm.exists():
        return None
    with shm.open("rb") as file:
        return read_index(file.read(INDEX_BYTES))


def read_index(data: bytes) -> Index | None:
    """What the first `INDEX_BYTES` of an index say; None if it was being written: then it says nothing."""
    if len(data) < INDEX_BYTES or data[:48] != data[48:96] or not data[12]:
        return None
    (frames,) = struct.unpack_from("=I", data, 16)
    (moved,) = struct.unpack_from("=I", data, 96)
    return Index(frames, moved, data[32:40])


def _is_whole(head: bytes) -> bool:
    """Whether the header's check sum is right."""
    if len(head) < _HEADER.size:
        return False
    magic, *_, first_sum, second_sum = _HEADER.unpack(head)
    if magic & ~1 != _MAGIC:
        return False
    words = struct.unpack(">6I" if magic & 1 else "<6I", head[:24])
    first = second = 0
    for even, odd in zip(words[::2], words[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return (first, second) == (first_sum, second_sum)


def _readable_frames(path: Path, shm: Path) -> int:
    """How many committed frames SQLite finds; it makes the index anew for that, so the old one is put back."""
    before = shm.read_bytes() if shm.exists() else None
    try:
        uri = f"file:{quote_uri(str(path.absolute()))}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            found = _index(shm)
        return 0 if found is None else found.frames
    finally:
        if before is None:
            shm.unlink(missing_ok=True)
        else:
            descriptor = os.open(shm, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(before)


def _commits_behind(wal: Path, head: bytes, position: int, frame_bytes: int) -> int:
    """Commits of the log's own generation behind the readable part; at most two are looked for."""
    commits = 0
    with wal.open("rb") as file:
        file.seek(position)
        while commits < 2 and len(frame := file.read(_FRAME.size)) == _FRAME.size:
            commits += frame[8:16] == head[16:24] and frame[4:8] != b"\0\0\0\0"
            position += frame_bytes
            file.seek(position)
    return commits
