"""Large values: sent to the server once and named by their hash, read back, both in pieces and resumed when cut."""

from __future__ import annotations

import hashlib
import io
import os
import random
import time
from collections.abc import Callable
from typing import Any, BinaryIO, Union

import urllib3

from dart.wire.values import BlobReference
from dart_client.connection import BACK_OFF_SECONDS, PIECE_BYTES, Connection, path
from dart_client.errors import (
    ConflictError,
    DartError,
    LimitError,
    MalformedError,
    ServerUnreachableError,
    UnavailableError,
    UntrustedServerError,
)

Progress = Callable[[int, int], None]
"""Called with the bytes that are done and all of them."""
Source = Union[bytes, bytearray, memoryview, str, "os.PathLike[str]"]
Sink = Union[BinaryIO, str, "os.PathLike[str]"]
UPLOADED = "X-Dart-Uploaded"
_OCTETS = "application/octet-stream"
_AGAIN = (ServerUnreachableError, UnavailableError, LimitError)


def put(connection: Connection, source: Source, progress: Progress | None) -> BlobReference:
    """See `Client.put_blob`."""
    with _opened(source) as file:
        reference = _reference_to(file)
        target = path("blob", reference.sha256.hex())
        told = _Told(file, reference.size, progress)
        patience = _Patience(connection)
        while True:
            try:
                here = _look(connection, target, reference)
                patience.moved_to(here)
                if here < 0:
                    break
                _send(connection, target, told, here)
                break
            except UntrustedServerError:
                raise
            except (*_AGAIN, ConflictError) as error:
                patience.wait_or_raise(error)
    if progress is not None:
        progress(reference.size, reference.size)
    return reference


def get(connection: Connection, reference: BlobReference, sink: Sink, progress: Progress | None) -> int:
    """See `Client.get_blob`."""
    if not isinstance(sink, (str, os.PathLike)):
        return _receive_all(connection, reference, sink, progress)
    part = f"{os.fspath(sink)}.part"
    try:
        with open(part, "wb") as file:  # noqa: PTH123 - any path-like
            size = _receive_all(connection, reference, file, progress)
        os.replace(part, sink)  # noqa: PTH105 - any path-like
    except BaseException:
        if os.path.exists(part):  # noqa: PTH110 - any path-like
            os.unlink(part)  # noqa: PTH108 - any path-like
        raise
    return size


def size(connection: Connection, sha256: bytes) -> int:
    """See `Client.blob_size`."""
    target = path("blob", sha256.hex())
    answer = connection.exchange("HEAD", target)
    told = answer.headers.get("Content-Length", "")
    if answer.status != 200 or not told.isdigit():
        # An answer to HEAD has no words; the same question with GET has.
        connection.exchange("GET", target, headers={"Range": "bytes=0-0"})
        raise MalformedError(f"The server answers {answer.status} to HEAD {target}; is it a DART server?")
    return int(told)


def _opened(source: Source) -> BinaryIO:
    if isinstance(source, (str, os.PathLike)):
        return open(source, "rb")  # noqa: PTH123 - any path-like
    return io.BytesIO(source)


def _reference_to(file: BinaryIO) -> BlobReference:
    digest, size = hashlib.sha256(), 0
    while True:
        piece = file.read(PIECE_BYTES)
        if not piece:
            return BlobReference(digest.digest(), size)
        digest.update(piece)
        size += len(piece)


class _Patience:
    """Tries again as long as something moves: gives up when nothing did for the connection's timeout."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._at = 0
        self._pause = BACK_OFF_SECONDS[0]
        self._until = time.monotonic() + connection.timeout

    def moved_to(self, at: int) -> None:
        """So many bytes are done."""
        if at > self._at:
            self._at = at
            self._pause = BACK_OFF_SECONDS[0]
            self._until = time.monotonic() + self._connection.timeout

    def wait_or_raise(self, error: DartError) -> None:
        """Pause before the next try, unless there is to be none."""
        wanted = error.details.get("retry_after")
        pause = float(wanted) if isinstance(wanted, (int, float)) else self._pause * random.uniform(0.5, 1.0)  # noqa: S311
        if time.monotonic() + pause >= self._until or self._connection.wait_closed(pause):
            raise error
        self._pause = min(2 * self._pause, BACK_OFF_SECONDS[1])


def _look(connection: Connection, target: str, reference: BlobReference) -> int:
    """How many bytes the server has; -1: all, under this name."""
    answer = connection.exchange("HEAD", target)
    if answer.status == 200:
        return -1
    uploaded = answer.headers.get(UPLOADED, "")
    if answer.status == 404 and uploaded.isdigit():
        # With all bytes but no end something was wrong with them.
        return int(uploaded) if int(uploaded) < reference.size else 0
    # An answer to HEAD has no words; the same question with GET has.
    connection.call("GET", target, retry=False)
    raise MalformedError(f"The server answers {answer.status} to HEAD {target}; is it a DART server that knows blobs?")


def _send(connection: Connection, target: str, told: _Told, here: int) -> None:
    told.seek(here)
    headers = {"Content-Type": _OCTETS, "Content-Length": str(told.size - here)}
    if here:
        headers["Content-Range"] = f"bytes {here}-{told.size - 1}/{told.size}"
    connection.exchange("PUT", target, body=told, headers=headers)


class _Told:
    """A file that tells how far it was read; as much of it as urllib3 uses."""

    def __init__(self, file: BinaryIO, size: int, progress: Progress | None) -> None:
        self._file = file
        self.size = size
        self._progress = progress

    def seek(self, at: int) -> None:
        """Go on from here."""
        self._file.seek(at)

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        piece = self._file.read(count)
        if self._progress is not None:
            self._progress(self._file.tell(), self.size)
        return piece


def _receive_all(connection: Connection, reference: BlobReference, sink: BinaryIO, progress: Progress | None) -> int:
    target = path("blob", reference.sha256.hex())
    digest = hashlib.sha256()
    patience = _Patience(connection)
    here = 0
    while here < reference.size:
        try:
            for piece in _pieces(connection, target, here, reference.size):
                sink.write(piece)
                digest.update(piece)
                here += len(piece)
                if here > reference.size:
                    break
                if progress is not None:
                    progress(here, reference.size)
            patience.moved_to(here)
        except UntrustedServerError:
            raise
        except _AGAIN as error:
            patience.moved_to(here)
            patience.wait_or_raise(error)
    if digest.digest() != reference.sha256:
        raise MalformedError(
            f"What came as blob {reference.sha256.hex()} has another hash; nothing of it can be used. Read it again."
        )
    return here


def _pieces(connection: Connection, target: str, here: int, size: int) -> Any:
    """The bytes of a blob from here on."""
    answer = connection.exchange("GET", target, headers={"Range": f"bytes={here}-{size - 1}"}, preload=False)
    try:
        if answer.status == 200 and here:
            raise MalformedError("The server sent all of a blob where a part was asked for; a proxy may be in between.")
        yield from answer.stream(PIECE_BYTES)
    except urllib3.exceptions.HTTPError as error:
        raise connection.unreachable(error) from error
    finally:
        answer.release_conn()
