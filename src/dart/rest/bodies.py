"""Bodies of requests: read in pieces under limits of size, time and memory, and decoded with readable complaints."""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import msgspec
from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError

from dart.errors import (
    LimitError,
    MalformedError,
    TooLargeError,
    UnsupportedMediaTypeError,
)
from dart.limits import Limits
from dart.rest.schemas import M, invalid

JSON: Final = "application/json"
MESSAGEPACK: Final = "application/msgpack"
EVENT_STREAM: Final = "text/event-stream"
_MESSAGEPACK_TYPES = frozenset({MESSAGEPACK, "application/x-msgpack", "application/vnd.msgpack"})
# Clients that say nothing, and what curl and other libraries say of any text or bytes: all of them carry JSON.
_JSON_TYPES = frozenset(
    {"", JSON, "text/json", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream"}
)

SMALL_BYTES: Final = 64 * 1024
_names_json = msgspec.json.Decoder(dict[str, msgspec.Raw])
_names_messagepack = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_json = msgspec.json.Decoder(dict[str, Any])
_messagepack = msgspec.msgpack.Decoder(dict[str, Any])


class Budget:
    """Bytes of bodies held in memory, over all requests."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.held_bytes = 0

    def take(self, count: int) -> None:
        """Hold more, or `LimitError`."""
        if self.held_bytes + count > self._bytes_max:
            raise LimitError(
                f"Requests with {self.held_bytes} bytes are being read (limit bodies_in_flight_bytes_max);"
                " try again in a moment.",
                retry_after=1,
            )
        self.held_bytes += count

    def release(self, count: int) -> None:
        """Hold less."""
        self.held_bytes -= count


class Body:
    """One request's body, read as far as it was asked for. `release` it when the request is done."""

    def __init__(self, request: web.Request, *, bytes_max: int, limits: Limits, budget: Budget) -> None:
        self._content = request.content
        self._announced = request.content_length
        self._bytes_max = bytes_max
        self._piece_seconds = limits.request_seconds_max
        self._bytes_per_second = limits.slow_bytes_per_second_min
        self._began = asyncio.get_running_loop().time()
        self._transfer = request.headers.get("Transfer-Encoding", "chunked").strip().lower()
        self._budget = budget
        self._encoding = request.headers.get("Content-Encoding", "identity").lower()
        self._type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.bytes = bytearray()
        self._taken = 0
        self._is_absent = self.complete = not request.can_read_body
        self.still_allowed: Callable[[], None] = lambda: None
        """Raises if the caller would not be let in any more: a body may take hours to come."""

    @property
    def is_messagepack(self) -> bool:
        """Whether it says that it is MessagePack."""
        return self._type in _MESSAGEPACK_TYPES

    def check_head(self) -> None:
        """Refuse what its headers give away: too large, or of a type that is not understood."""
        if self._announced is not None and self._announced > self._bytes_max:
            raise self._too_large(self._announced)
        if self._is_absent:
            return
        if self._encoding != "identity":
            raise UnsupportedMediaTypeError(
                f"Content-Encoding {self._encoding!r:.60} is not understood; send it plain."
            )
        if self._transfer != "chunked":
            raise UnsupportedMediaTypeError(
                f"Transfer-Encoding {self._transfer!r:.60} is not understood; send it plain."
            )
        if not self.is_messagepack and self._type not in _JSON_TYPES and not self._type.endswith("+json"):
            raise UnsupportedMediaTypeError(
                f"Content-Type {self._type!r:.100} is not understood; send {JSON} or {MESSAGEPACK}."
            )

    async def read_piece(self) -> None:
        """Add what came next; sets `complete` at the end."""
        try:
            if self._content.is_eof():
                # All of it is here, as of any small body: nothing to wait for.
                piece = self._content.read_nowait()
                self.complete = True
            else:
                # A byte now and then would hold the place for ever.
                late = self._began + self._piece_seconds + (self._taken + len(self.bytes)) / self._bytes_per_second
                left = min(self._piece_seconds, late - asyncio.get_running_loop().time())
                async with asyncio.timeout(left):
                    piece = await self._content.readany()
        except TimeoutError:
            raise MalformedError(
                f"Nothing of the body came for {self._piece_seconds:g} s (limit request_seconds_max), or less than"
                f" {self._bytes_per_second} bytes a second (limit slow_bytes_per_second_min)."
            ) from None
        except (HttpProcessingError, ClientError, web.RequestPayloadError):
            raise MalformedError("The body ended before it was complete, or its framing is broken.") from None
        if not piece:
            self.complete = self._content.at_eof()
            return
        if self._taken + len(self.bytes) + len(piece) > self._bytes_max:
            raise self._too_large(None)
        self._budget.take(len(piece))
        self.bytes += piece

    async def read(self) -> bytearray:
        """All of it."""
        self.check_head()
        has_to_come = not self.complete
        while not self.complete:
            await self.read_piece()
        if has_to_come:
            self.still_allowed()
        return self.bytes

    def take(self) -> bytearray:
        """What came since this was last asked; it belongs to the caller now, and no more to the budget."""
        taken = self.bytes
        self._taken += len(taken)
        self.release()
        return taken

    def release(self) -> None:
        """Give its memory back to the budget."""
        self._budget.release(len(self.bytes))
        self.bytes = bytearray()

    def _too_large(self, announced: int | None) -> TooLargeError:
        size = f"has {announced} bytes" if announced is not None else "is too large"
        return TooLargeError(f"The body {size}; this call takes at most {self._bytes_max}. Send less at a time.")


def decode_members(body: bytes | bytearray, *, messagepack: bool) -> dict[str, Any]:
    """The members of a body of whatever types; none for an empty one."""
    if not body:
        return {}
    decoder = _messagepack if messagepack else _json
    return decode(body, decoder, messagepack=messagepack)  # type: ignore[no-any-return]


def decode_as(body: bytes | bytearray, kind: type[M], *, messagepack: bool, is_strict: bool) -> tuple[M, list[str]]:
    """A body as this type, and names of members that the type does not have.

    Nothing is made of what the type does not have, so that junk costs no more than its bytes. Its names are told of
    small bodies only, for the same reason; `is_strict` refuses them in bodies of any size.
    """
    made: M = decode(
        body or (b"\x80" if messagepack else b"{}"), _decoder(kind, messagepack, is_strict), messagepack=messagepack
    )
    if is_strict or not 0 < len(body) < SMALL_BYTES:
        return made, []
    found = decode(body, _names_messagepack if messagepack else _names_json, messagepack=messagepack)
    return made, [name for name in found if name not in kind.__struct_fields__]


@cache
def _decoder(kind: type[M], messagepack: bool, is_strict: bool) -> Any:  # noqa: FBT001 - as a key of the cache
    taken: Any = kind
    if is_strict:
        taken = msgspec.defstruct(kind.__name__, [], bases=(kind,), forbid_unknown_fields=True, kw_only=True)
    return (msgspec.msgpack if messagepack else msgspec.json).Decoder(taken)


def decode(body: Any, decoder: Any, *, messagepack: bool, where: str = "") -> Any:
    """Decode, or say what is wrong.

    Raises:
        MalformedError: It is no JSON or MessagePack, or nested too deep.
        InvalidRequestError: It is, and has a wrong type somewhere.
    """
    name = "MessagePack" if messagepack else "JSON"
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise invalid(error, where=where) from None
    except msgspec.DecodeError as error:
        raise MalformedError(f"The body is no {name}: {str(error)[:200]}.") from None
    except UnicodeDecodeError:
        raise MalformedError(f"The body is no {name}: text that is not UTF-8.") from None
    except RecursionError:
        raise MalformedError(f"The body's {name} is nested too deep.") from None
