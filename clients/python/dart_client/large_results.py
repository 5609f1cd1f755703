"""Parts of results that came as blobs, since they are large: fetched when somebody reads the value, not before."""

from __future__ import annotations

import mmap
import tempfile
from typing import Any

from dart.wire import values
from dart.wire.values import BlobReference
from dart_client import blobs
from dart_client.connection import Connection, Encoded

_SMALL = frozenset({type(None), bool, int, float, str, bytes})


def whole(connection: Connection, value: Any) -> Any:
    """The value with its large parts in their places; itself, if it has none. Blobs that tasks put stay references.

    Raises:
        UnknownBlobError: The server does not have one any more.
    """
    return _whole(connection, value, values.DEPTH_MAX) if Encoded.seen else value


def _whole(connection: Connection, value: Any, room: int) -> Any:
    if type(value) in _SMALL:
        return value
    if isinstance(value, dict) and room:
        return {key: _whole(connection, item, room - 1) for key, item in value.items()}
    if isinstance(value, list) and room:
        return [_whole(connection, item, room - 1) for item in value]
    return _fetched(connection, value) if isinstance(value, BlobReference) and value.encoded else value


def _fetched(connection: Connection, reference: BlobReference) -> Any:
    """By way of a file without a name, so that no more than the value itself is in memory."""
    with tempfile.TemporaryFile() as file:
        blobs.get(connection, reference, file, None)
        file.flush()
        with mmap.mmap(file.fileno(), reference.size, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
            return values.decode(view)
