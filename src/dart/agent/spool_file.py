"""How results look on disk: records with length and check sum, read back as far as they are whole.

A segment begins with `MAGIC`. A record is the length of its content (4 bytes, big-endian), the CRC32 of the content
(4 bytes) and the content: a MessagePack array, either a result `[1, store, task, incarnation, number, worker, host,
start_ms, duration, success, error_code, payload]`, with `[[sha256, size], ...]` at its end where blobs are to be
fetched, or a mark that results are forgotten `[2, [[task, incarnation, number], ...]]`.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgpack

from dart.ids import Attempt, AttemptRef, StoreId, TaskId
from dart.wire.messages import Named, Result

MAGIC = b"DARTSPL1"
_HEAD = struct.Struct(">II")
_RESULT = 1
_FORGET = 2
_CONTENT_STARTS = (b"\x9c\x01", b"\x9d\x01", b"\x92\x02")
"""Arrays of 12, 13 and 2 elements with the kind of record: how every content begins."""


def pack_result(store_id: StoreId, result: Result) -> bytes:
    """A record that keeps a result."""
    ref = result.ref
    content = msgpack.packb(
        [
            _RESULT,
            store_id,
            ref.task_id,
            ref.attempt.incarnation,
            ref.attempt.number,
            result.worker,
            result.host,
            result.start_time_ms,
            result.duration_seconds,
            result.success,
            result.error_code,
            bytes(result.payload),
            *([result.blobs] if result.blobs else []),
        ],
        use_bin_type=True,
        unicode_errors="surrogatepass",
    )
    return _record(content)


def pack_forget(refs: Iterable[AttemptRef]) -> bytes:
    """A record that says that results are not needed any more."""
    triples = [[ref.task_id, ref.attempt.incarnation, ref.attempt.number] for ref in refs]
    return _record(msgpack.packb([_FORGET, triples]))


def _record(content: bytes) -> bytes:
    return _HEAD.pack(len(content), zlib.crc32(content)) + content


class Contents(NamedTuple):
    """What a segment held."""

    results: dict[AttemptRef, tuple[StoreId, Result]]
    forgotten: set[AttemptRef]
    whole_bytes: int
    """After the last whole record; what follows was cut off while it was written."""
    damaged_bytes: int
    """Between whole records: the disk's fault."""


def read_segment(data: bytes) -> Contents:
    """Read all whole records, also those behind a damaged place."""
    results: dict[AttemptRef, tuple[StoreId, Result]] = {}
    forgotten: set[AttemptRef] = set()
    position = len(MAGIC) if data.startswith(MAGIC) else 0
    whole_bytes = position
    damaged_bytes = 0
    while position < len(data):
        end = _end_of_record(data, position)
        if end is not None and _take(data[position + _HEAD.size : end], results, forgotten):
            damaged_bytes += position - whole_bytes
            position = whole_bytes = end
        else:
            position = _next_candidate(data, position + 1)
    if (whole_bytes or data.strip(b"\0")) and not data.startswith(MAGIC[: len(data)]):
        # No beginning that a crash would leave: part of the mark, or zeros.
        damaged_bytes = max(damaged_bytes, len(data) - whole_bytes, 1)
    return Contents(results, forgotten, whole_bytes, damaged_bytes)


def _end_of_record(data: bytes, position: int) -> int | None:
    start = position + _HEAD.size
    if start > len(data):
        return None
    length, check = _HEAD.unpack_from(data, position)
    end = start + int(length)
    if end > len(data) or zlib.crc32(memoryview(data)[start:end]) != check:
        return None
    return end


def _next_candidate(data: bytes, position: int) -> int:
    """Where the next record may begin, judged by how its content would; the end of the data if nowhere."""
    found = (data.find(start, position + _HEAD.size) for start in _CONTENT_STARTS)
    return min((place - _HEAD.size for place in found if place >= 0), default=len(data))


def _take(content: bytes, results: dict[AttemptRef, tuple[StoreId, Result]], forgotten: set[AttemptRef]) -> bool:
    try:
        record: list[Any] = msgpack.unpackb(content, raw=False, unicode_errors="surrogatepass")
        if record[0] == _FORGET:
            forgotten.update([_ref(*triple) for triple in record[1]])
        else:
            _, store_id, task_id, incarnation, number, *rest = record
            ref = _ref(task_id, incarnation, number)
            blobs = tuple(Named(*blob) for blob in rest[7]) if len(rest) > 7 else ()
            results[ref] = (StoreId(store_id), Result(*(ref, *rest[:7], blobs)))
    except Exception:  # noqa: BLE001 - a disk may hold anything; what cannot be read is moved aside
        return False
    return True


def _ref(task_id: int, incarnation: int, number: int) -> AttemptRef:
    return AttemptRef(TaskId(task_id), Attempt(incarnation, number))
