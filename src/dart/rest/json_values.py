"""Portable values as JSON and back; what JSON lacks is an object with the member `__dart__` (docs/rest.md)."""

import base64
import binascii
import codecs
import math
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from dart.errors import InvalidRequestError, ValueNotPortableError
from dart.wire import values

TAG: Final = "__dart__"
LARGE_BYTES: Final = 256 * 1024
"""From here on a text or bytes value is written in pieces, so that the loop goes on between them."""
_PIECE: Final = 3 * 64 * 1024
# By first byte: how many bytes stand before the content of a str or bin.
_STR_HEADS: Final = {0xD9: 2, 0xDA: 3, 0xDB: 5} | dict.fromkeys(range(0xA0, 0xC0), 1)
_BIN_HEADS: Final = {0xC4: 2, 0xC5: 3, 0xC6: 5}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN: Final = frozenset({str, int, bool, type(None)})
_QUIET_NAN: Final = struct.pack(">d", math.nan)

_encode = msgspec.json.Encoder().encode
_one_value = msgspec.msgpack.Decoder(msgspec.Raw).decode
"""Looks at the framing alone, which for bytes takes no time."""
_plain_map = msgspec.msgpack.Decoder(dict[str, str | bool | int | float | None]).decode
_pack = msgspec.msgpack.Encoder().encode
_PLAIN_BYTES_MIN: Final = 256
BASE64: Final = "base64"
DAMAGED: Final = "damaged"


class Shown(msgspec.Struct):
    """A value as clients get it: its JSON text, or its MessagePack."""

    data: bytes
    encoding: str = ""
    """`base64`: bytes that are no text, in JSON; `damaged`: no value, but what is told of it."""


def to_json(data: bytes) -> Shown:
    """The JSON text of an encoded value: bytes that are valid UTF-8 as text, other bytes as base64."""
    head = data[0] if data else 0
    if head in _BIN_HEADS:
        content = data[_BIN_HEADS[head] :]
        try:
            return Shown(_encode(content.decode("utf-8")))
        except UnicodeDecodeError:
            return Shown(b'"%b"' % base64.b64encode(content), BASE64)
    if head in _STR_HEADS:
        return Shown(_encode(data[_STR_HEADS[head] :].decode("utf-8", "replace")))
    try:
        value = values.decode(data, opaque=True)
    except values.BadValue as error:
        return Shown(_encode(damaged(data, str(error))), DAMAGED)
    return Shown(_encode(_tagged(value)))


def damaged(data: bytes, reason: str) -> dict[str, str]:
    """What stands for bytes that are no value: agents' bytes were never opened before, and may be anything."""
    return {TAG: "damaged", "reason": reason, "base64": base64.b64encode(data).decode()}


def to_messagepack(data: bytes) -> Shown:
    """The same for MessagePack: the value as it is, if all clients can read it and it ends where it ends.

    It is put between other results unopened: bytes that are more, or less, than one value would be read as those of
    other workers, and one that no client can read would hide all others.
    """
    try:
        if is_bytes(data):
            _one_value(data)
        elif _is_plain(data):
            return Shown(data)
        elif _holds_pickle(values.decode(data, opaque=True)):
            return Shown(values.encode(damaged(data, "It holds a pickle; ask for JSON to see it.")), DAMAGED)
    except (values.BadValue, msgspec.DecodeError) as error:
        return Shown(values.encode(damaged(data, str(error))), DAMAGED)
    return Shown(data)


def _is_plain(data: bytes) -> bool:
    """Whether this is a map of texts and scalars and nothing else, looked at a go.

    What is written again to the same bytes has no key twice and ends where it ends.
    """
    try:
        return len(data) >= _PLAIN_BYTES_MIN and _pack(_plain_map(data)) == data
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def is_bytes(data: bytes) -> bool:
    """Whether this begins as one bytes value, of which only the framing is looked at."""
    return bool(data) and data[0] in _BIN_HEADS


def _holds_pickle(value: Any) -> bool:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, values.Pickled):
            return True
        items = value.values() if type(value) is dict else value if type(value) is list else ()
        # Most values have thousands of plain items and few others: those alone are looked at one by one.
        if not _OPEN.isdisjoint(map(type, items)):
            waiting += [item for item in items if type(item) in _OPEN]
    return False


_OPEN = frozenset((dict, list, values.Pickled))


def is_large_text(data: bytes) -> bool:
    """Whether this is one large str or bin, for `pieces_of_text`."""
    return len(data) >= LARGE_BYTES and (data[0] in _STR_HEADS or data[0] in _BIN_HEADS)


def pieces_of_text(data: bytes) -> Iterator[bytes | bool]:
    """The JSON text of a large str or bin in pieces, and last whether it is base64."""
    content = memoryview(data)[(_STR_HEADS.get(data[0]) or _BIN_HEADS[data[0]]) :]
    is_text = True
    check = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(content), _PIECE):
        try:
            check.decode(content[start : start + _PIECE])
        except UnicodeDecodeError:
            is_text = False
            break
        yield b""
    else:
        is_text = not check.getstate()[0]
    yield b'"'
    text = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(content), _PIECE):
        piece = content[start : start + _PIECE]
        yield _encode(text.decode(piece))[1:-1] if is_text else base64.b64encode(piece)
    yield b'"'
    yield not is_text


def _tagged(value: Any) -> Any:  # noqa: PLR0911 - one a kind of value
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(value) else _tagged_float(value)
    if kind is list:
        return value if _PLAIN.issuperset(map(type, value)) else [_tagged(item) for item in value]
    if kind is dict:
        if TAG not in value and all(type(name) is str for name in value):
            return {name: _tagged(item) for name, item in value.items()}
        return {TAG: "map", "items": [[_tagged(name), _tagged(item)] for name, item in value.items()]}
    if kind is bytes:
        return {TAG: "bytes", "base64": base64.b64encode(value).decode()}
    return _tagged_extension(value)


def _tagged_float(value: float) -> dict[str, str]:
    shown = {TAG: "float", "value": str(value)}
    bits = struct.pack(">d", value)
    return shown if not math.isnan(value) or bits == _QUIET_NAN else {**shown, "bits": bits.hex()}


def _tagged_extension(value: Any) -> dict[str, Any]:
    if isinstance(value, datetime):
        since = value - _EPOCH
        whole = since.days * 86_400 + since.seconds
        return {TAG: "timestamp", "seconds": whole, "nanoseconds": since.microseconds * 1000}
    if isinstance(value, values.Timestamp):
        return {TAG: "timestamp", "seconds": value.seconds, "nanoseconds": value.nanoseconds}
    if isinstance(value, values.Array):
        data = base64.b64encode(value.data).decode()
        return {TAG: "array", "dtype": value.dtype, "shape": list(value.shape), "base64": data}
    if isinstance(value, values.BlobReference):
        encoded = {"encoded": True} if value.encoded else {}
        return {TAG: "blob", "sha256": value.sha256.hex(), "bytes": value.size, **encoded}
    writer = f"{value.implementation} {value.version[0]}.{value.version[1]}"
    data = base64.b64encode(value.data).decode()
    return {TAG: "pickle", "writer": writer, "protocol": value.protocol, "base64": data}


def encode_parameter(value: Any, *, may_have_tags: bool, bytes_max: int) -> bytes:
    """A decoded JSON value as a portable value; tagged objects become what they stand for.

    Raises:
        InvalidRequestError: A tagged object that cannot be read.
        ValueNotPortableError: Too large or nested too deep; the message has the path.
    """
    if may_have_tags:
        try:
            value = _untagged(value)
        except RecursionError:
            raise ValueNotPortableError("parameter: nested too deep.") from None
    try:
        if type(value) is str and len(value) >= LARGE_BYTES:
            return _large_text(value, bytes_max)
        return values.encode(value, where="parameter", bytes_max=bytes_max)
    except values.NotPortable as error:
        raise ValueNotPortableError(f"{error}.") from None


def _large_text(value: str, bytes_max: int) -> bytes:
    """The same as `values.encode`, with one copy: msgpack's buffer grows through many."""
    content = value.encode()
    if len(content) > bytes_max:
        raise values.NotPortable(f"parameter: {len(content)} bytes when encoded, at most {bytes_max} are allowed")
    return b"".join((b"\xdb", struct.pack(">I", len(content)), content))


def _untagged(value: Any) -> Any:
    if type(value) is list:
        return [_untagged(item) for item in value]
    if type(value) is not dict:
        return value
    if TAG not in value:
        return {name: _untagged(item) for name, item in value.items()}
    try:
        return _READERS[value[TAG]](value)
    except (KeyError, TypeError, ValueError, struct.error, binascii.Error) as error:
        raise InvalidRequestError(
            f"Member `parameter` has an object with `{TAG}` that cannot be read ({error!r:.200});"
            ' any object can be sent as {"' + TAG + '": "map", "items": [[name, value], ..]}.',
            field="parameter",
        ) from None


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _read_float(value: dict[str, Any]) -> float:
    if "bits" in value:
        (found,) = struct.unpack(">d", bytes.fromhex(value["bits"]))
        return float(found)
    return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[value["value"]]


def _read_map(value: dict[str, Any]) -> dict[Any, Any]:
    return {_untagged(name): _untagged(item) for name, item in value["items"]}


def _read_array(value: dict[str, Any]) -> values.Array:
    return values.Array(value["dtype"], tuple(value["shape"]), _bytes(value["base64"]))


def _read_timestamp(value: dict[str, Any]) -> values.Timestamp:
    return values.Timestamp(value["seconds"], value.get("nanoseconds", 0))


def _read_blob(value: dict[str, Any]) -> values.BlobReference:
    encoded = value.get("encoded", False)
    if not isinstance(encoded, bool):
        raise ValueError("`encoded` is true or false")  # noqa: TRY004 - one error for all that is wrong in a tag
    return values.BlobReference(bytes.fromhex(value["sha256"]), value["bytes"], encoded=encoded)


_READERS: Final[dict[str, Any]] = {
    "bytes": lambda value: _bytes(value["base64"]),
    "float": _read_float,
    "map": _read_map,
    "array": _read_array,
    "timestamp": _read_timestamp,
    "blob": _read_blob,
}
"""By tag; pickles are not among them: they are made where they are allowed, not sent in through JSON."""
