"""Large values, named by their SHA-256: sent once, in pieces if the link is cut, and read whole or in part."""

import asyncio
import re
from typing import BinaryIO, Final

from aiohttp import hdrs, web

from dart.broker.gateway import Blobs
from dart.errors import ConflictError, InvalidRequestError, UnavailableError, UnknownBlobError
from dart.rest.auth import Scope
from dart.rest.blob_schemas import OneBlob
from dart.rest.call import Answer, Call, Route
from dart.rest.schemas import Members

BYTES: Final = "application/octet-stream"
_PIECE_BYTES: Final = 256 * 1024
_HASH: Final = re.compile("[0-9a-f]{64}")
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
UPLOADED: Final = "X-Dart-Uploaded"
"""In answers to HEAD for a blob that is not here: how many bytes of an interrupted upload are."""


async def put(call: Call) -> Answer:
    """`PUT /blob/{sha256}/`: takes a blob, or with `Content-Range` the rest of one."""
    blobs, sha256 = _blobs(call), _sha256(call)
    offset, total = _extent(call)
    size = blobs.size(sha256)
    if size is not None:
        while not call.body.complete:
            await call.body.read_piece()
            _taken(call)
        return call.answer(blob=_told(sha256, size))
    upload = blobs.begin(sha256, call.caller.id, offset=offset, total=total)
    try:
        while not call.body.complete:
            await call.body.read_piece()
            if len(call.body.bytes) >= _PIECE_BYTES:
                call.body.still_allowed()
                await asyncio.to_thread(upload.write, _taken(call))
        call.body.still_allowed()
        await asyncio.to_thread(upload.write, _taken(call))
        await asyncio.to_thread(upload.finish)
    finally:
        await asyncio.shield(asyncio.to_thread(upload.close))
    await call.gateway.audit.note("blob.put", sha256.hex(), f"done, {total} bytes")
    return call.answer(blob=_told(sha256, total))


async def head(call: Call) -> Answer:
    """`HEAD /blob/{sha256}/`: whether a blob is here, or how much of it."""
    blobs, sha256 = _blobs(call), _sha256(call)
    size = blobs.size(sha256)
    if size is None:
        return web.Response(status=404, headers={UPLOADED: str(blobs.uploaded(sha256, call.caller.id))})
    headers = {**_headers(sha256), hdrs.CONTENT_LENGTH: str(size)}
    return web.Response(headers=headers, content_type=BYTES)


async def get(call: Call) -> Answer:
    """`GET /blob/{sha256}/`: a blob, or with `Range` a part of it."""
    await call.members(Members)
    blobs, sha256 = _blobs(call), _sha256(call)
    size = blobs.size(sha256)
    file = await asyncio.to_thread(blobs.open, sha256)
    if size is None or file is None:
        raise UnknownBlobError(f"There is no blob {sha256.hex()}; send it with PUT first.")
    with file:
        if f'"{sha256.hex()}"' in call.request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(status=304, headers=_headers(sha256))
        return await _send(call, file, sha256, size)


async def _send(call: Call, file: BinaryIO, sha256: bytes, size: int) -> web.StreamResponse:
    start, end = _part(call.request.headers.get(hdrs.RANGE, ""), size)
    response = web.StreamResponse(status=200 if end - start == size else 206, headers=_headers(sha256))
    response.content_type = BYTES
    response.content_length = end - start
    if response.status == 206:
        response.headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{end - 1}/{size}"
    await response.prepare(call.request)
    file.seek(start)
    while start < end and (piece := await asyncio.to_thread(file.read, min(end - start, _PIECE_BYTES))):
        call.refuse_if_gone()
        async with asyncio.timeout(call.limits.request_seconds_max):
            await response.write(piece)
        call.gateway.measures.blob_bytes["to_clients"] += len(piece)
        start += len(piece)
    await response.write_eof()
    return response


def _taken(call: Call) -> bytearray:
    """What of the body is here; it is counted."""
    data = call.body.take()
    call.gateway.measures.blob_bytes["from_clients"] += len(data)
    return data


def _part(asked: str, size: int) -> tuple[int, int]:
    """What a `Range` means, as first byte and the one after the last; one that is not understood means all."""
    found = _RANGE.fullmatch(asked.strip())
    if found is None or not (found[1] or found[2]):
        return 0, size
    if not found[1]:
        return max(0, size - int(found[2])), size
    start = int(found[1])
    end = min(size, int(found[2]) + 1) if found[2] else size
    if start >= end:
        raise InvalidRequestError(f"The range {asked[:100]!r} lies outside of the {size} bytes of this blob.")
    return start, end


def _extent(call: Call) -> tuple[int, int]:
    """Where the body begins within the blob, and how many bytes the blob has."""
    length = call.request.content_length
    if length is None and call.body.complete:
        length = 0
    if length is None:
        raise InvalidRequestError("A blob needs `Content-Length`.", field="Content-Length")
    asked = call.request.headers.get(hdrs.CONTENT_RANGE)
    if asked is None:
        return 0, length
    found = _CONTENT_RANGE.fullmatch(asked.strip())
    if found is None or int(found[2]) - int(found[1]) + 1 != length or int(found[2]) >= int(found[3]):
        raise InvalidRequestError(
            f"`Content-Range` {asked[:100]!r} does not fit a body of {length} bytes; write `bytes FIRST-LAST/TOTAL`.",
            field="Content-Range",
        )
    return int(found[1]), int(found[3])


def _sha256(call: Call) -> bytes:
    text = call.part("sha256").lower()
    if not _HASH.fullmatch(text):
        raise UnknownBlobError(f"A blob is named by its SHA-256, 64 hexadecimal digits, not by {text[:100]!r}.")
    return bytes.fromhex(text)


def _blobs(call: Call) -> Blobs:
    if call.gateway.blobs is None:
        raise UnavailableError("This server keeps no blobs.")
    return call.gateway.blobs


def _headers(sha256: bytes) -> dict[str, str]:
    return {hdrs.ETAG: f'"{sha256.hex()}"', hdrs.ACCEPT_RANGES: "bytes"}


def _told(sha256: bytes, size: int) -> dict[str, str | int]:
    return {"sha256": sha256.hex(), "bytes": size}


ROUTES: Final = (
    Route(
        "PUT", "/blob/{sha256}/", put, Scope.SUBMIT,
        takes=Members, body=BYTES, answers=OneBlob, errors=(ConflictError,),
    ),
    Route("GET", "/blob/{sha256}/", get, Scope.READ, takes=Members, answers=BYTES),
    Route("HEAD", "/blob/{sha256}/", head, Scope.READ, takes=Members, answers=BYTES),
)  # fmt: skip
"""Part of the table of all calls."""
