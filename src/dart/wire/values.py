"""Portable values: Python objects <-> MessagePack, the same to the bit on every architecture.

Self-contained, because it also runs privately in the worker owner's Python (3.9 or later, nothing installed): it
imports the standard library and msgpack only, the latter under the private name `_dart_msgpack` where that is loaded.
`docs/protocol.md`, "Values", specifies the bytes.
"""

# long file: runners load it alone, from its very file.

from __future__ import annotations

import functools
import importlib
import math
import re
import struct
import sys
from datetime import datetime, timedelta, timezone
from operator import itemgetter

TYPE_CHECKING = False  # importing `typing` would cost every runner memory
if TYPE_CHECKING:
    from typing import Any, ClassVar, Union

    Buffer = Union[bytes, bytearray, memoryview]

_msgpack: Any = sys.modules.get("_dart_msgpack") or importlib.import_module("msgpack")

DEPTH_MAX = 100  # containers inside one another
BYTES_MAX = 256 * 1024 * 1024  # one encoded value
ELEMENTS_MAX = 1 << 24  # of one array or map: what is larger should be an n-d array or bytes
BIG_INTEGER_BYTES_MAX = 1536  # 3,700 decimal digits: Python refuses to print integers not much longer
DIMENSIONS_MAX = 32  # of an n-d array: what every numpy takes
EXTENT_BYTES_MAX = (1 << 31) - 1  # of an n-d array, lengths of 0 taken for 1: what numpy can make on 32-bit machines
_PLAIN_BYTES = range(256, 16 << 20)  # many entries at a time, and a copy that is not felt
_CONTAINERS = frozenset((*range(0x80, 0xA0), *range(0xDC, 0xE0)))  # first bytes of maps and lists
_LARGE_BYTES = 64 * 1024  # from here on, copies are worth avoiding

BIG_INTEGER = 1
ARRAY = 2
BLOB_REFERENCE = 3
PICKLE = 4

_INTEGERS = range(-(1 << 63), 1 << 64)
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_OPEN = frozenset({list, dict, _msgpack.Timestamp})
_KEYS = (str, bytes, int, float, type(None))
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DATETIME_SECONDS = range(-62_135_596_800, 253_402_300_800)
_DTYPE = re.compile(
    r"\|[biu]1|[<>](?:[iuf][248]|c8|c16|U[1-9][0-9]{0,8})|\|S[1-9][0-9]{0,8}"
    r"|[<>][mM]8(?:\[[0-9]{0,9}(?:Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)


class NotPortable(ValueError):  # noqa: N818 - a state of the value; the name is what a traceback should say
    """A value cannot be sent; the message begins with the path to the part that cannot."""


class BadValue(ValueError):  # noqa: N818 - as above
    """Bytes are not one portable value, or one that this side may not read."""


class PickleRefused(BadValue):
    """The value is or holds a pickle, which may not be read here."""


class BlobMissing(BadValue):
    """A blob that a value names is not here; `code` says why, for the outcome of a task."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Plain:
    """A small value that compares by its members."""

    __slots__: ClassVar[tuple[str, ...]] = ()

    def _members(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._members() == other._members()

    def __hash__(self) -> int:
        return hash((type(self), self._members()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r:.80}' for name in self.__slots__)})"


class Timestamp(_Plain):
    """An instant that `datetime` cannot hold: outside the years 1..9999, or finer than microseconds.

    `seconds` since 1970-01-01T00:00:00Z, and `nanoseconds` forwards from there.
    """

    __slots__ = ("nanoseconds", "seconds")

    def __init__(self, seconds: int, nanoseconds: int = 0) -> None:
        if not -(1 << 63) <= seconds < 1 << 63 or not 0 <= nanoseconds < 1_000_000_000:
            raise ValueError("A timestamp has seconds of -2^63..2^63-1 and nanoseconds of 0..999999999.")
        self.seconds = seconds
        self.nanoseconds = nanoseconds


class Array(_Plain):
    """An n-dimensional array where numpy is not installed; encodes to the same bytes as numpy's.

    `dtype` is numpy's notation with byte order (`<f8`, `>i2`, `|u1`), `data` the elements in C order and that byte
    order. What does not fit together is a ValueError.
    """

    __slots__ = ("data", "dtype", "shape")

    def __init__(self, dtype: str, shape: tuple[int, ...], data: bytes) -> None:
        if not _DTYPE.fullmatch(dtype):
            raise ValueError(f"dtype {dtype!r:.40} is not one that can be sent.")
        item_bytes = int(re.findall("[0-9]+", dtype)[0]) * (4 if dtype[1] == "U" else 1)
        if len(shape) > DIMENSIONS_MAX or not all(0 <= length < 1 << 32 for length in shape):
            raise ValueError(f"An array has at most {DIMENSIONS_MAX} dimensions of 0..2^32-1 elements, not {shape}.")
        if math.prod(length or 1 for length in shape) * item_bytes > EXTENT_BYTES_MAX:
            raise ValueError(f"An array of {dtype} and shape {shape} is too large to be made everywhere.")
        if math.prod(shape) * item_bytes != len(data):
            raise ValueError(f"An array of {dtype} and shape {shape} has not {len(data)} bytes.")
        self.dtype = dtype
        self.shape = shape
        self.data = data


class BlobReference(_Plain):
    """Names a large value by its SHA-256 (32 bytes) and its size in bytes.

    With `encoded` the blob is one portable value, which readers that have the blob put in the place of the reference.
    """

    __slots__ = ("encoded", "sha256", "size")

    def __init__(self, sha256: bytes, size: int, *, encoded: bool = False) -> None:
        if len(sha256) != 32 or not 0 <= size < 1 << 63:
            raise ValueError("A blob reference has a SHA-256 of 32 bytes and a size of 0..2^63-1.")
        self.sha256 = sha256
        self.size = size
        self.encoded = encoded


class Pickled(_Plain):
    """A pickle that is passed on unread, with what wrote it."""

    __slots__ = ("data", "implementation", "protocol", "version")

    def __init__(self, implementation: str, version: tuple[int, int], protocol: int, data: bytes) -> None:
        self.implementation = implementation
        self.version = version
        self.protocol = protocol
        self.data = data


def encode(
    value: Any,
    *,
    where: str = "value",
    depth_max: int = DEPTH_MAX,
    bytes_max: int = BYTES_MAX,
    pickle_allowed: bool = False,
) -> bytes:
    """One value as MessagePack.

    Tuples become arrays; bytearray, memoryview and other contiguous buffers become bytes; subclasses of str, int,
    float, list and dict become what they are derived from. With `pickle_allowed` a value that is not portable is
    pickled as a whole.

    Raises:
        NotPortable: Some part cannot be sent; the message names it, starting from `where`.
    """
    try:
        data = _pack(value, depth_max)
    except Exception as error:  # noqa: BLE001 - whatever a foreign object raises, it is not portable
        if not pickle_allowed:
            raise NotPortable(_explain(value, where, depth_max, depth_max) or f"{where}: {error}") from None
        data = _pack(_pickled(value, where), depth_max)
    if len(data) > bytes_max:
        raise NotPortable(f"{where}: {len(data)} bytes when encoded, at most {bytes_max} are allowed")
    return data


def _pack(value: Any, depth_max: int) -> bytes:
    if type(value) not in _SCALARS:
        if not _is_sound(value, depth_max):
            raise NotPortable("nested too deep, or a key that is no scalar")
        if hasattr(value, "dtype") and not isinstance(value, (str, bytes, float)):
            value = _to_portable(value)
    # The large ones by hand: msgpack would copy them several times while its buffer grows.
    if type(value) in (bytes, str) and len(value) >= _LARGE_BYTES:
        mark, data = (0xC6, value) if type(value) is bytes else (0xDB, value.encode())
        return b"".join((struct.pack(">BI", mark, len(data)), data))
    if type(value) is _msgpack.ExtType and len(value.data) >= _LARGE_BYTES:
        return b"".join((struct.pack(">BIb", 0xC9, len(value.data), value.code), value.data))
    packed: bytes = _msgpack.packb(value, default=_to_portable, use_bin_type=True)
    return packed


def _is_sound(value: Any, room: int) -> bool:
    """Whether containers nest at most `room` deep and all keys are scalars: msgpack would not object to either."""
    if isinstance(value, dict):
        keys = _TEXT.issuperset(map(type, value)) or all(map(_is_key, value))
        return room > 0 and keys and _are_sound(value.values(), room - 1)
    if isinstance(value, (list, tuple)):
        return room > 0 and _are_sound(value, room - 1)
    return True


def _are_sound(items: Any, room: int) -> bool:
    return _SCALARS.issuperset(map(type, items)) or all(_is_sound(item, room) for item in items)


def _is_key(key: Any) -> bool:
    return isinstance(key, _KEYS) and (not isinstance(key, int) or key in _INTEGERS)


def _to_portable(value: Any) -> Any:  # noqa: C901, PLR0911 - one branch a type
    """What msgpack is to write for a value that it does not know, or NotPortable with no path yet."""
    if isinstance(value, int):
        return _big_integer(value)
    if isinstance(value, datetime):
        if value.tzinfo is None or value.utcoffset() is None:
            raise NotPortable("a datetime without time zone; give it one, such as timezone.utc")
        since = value - _EPOCH
        return _msgpack.Timestamp(since.days * 86_400 + since.seconds, since.microseconds * 1000)
    if isinstance(value, Timestamp):
        return _msgpack.Timestamp(value.seconds, value.nanoseconds)
    if isinstance(value, Array):
        return _array(value.dtype, value.shape, value.data)
    if isinstance(value, BlobReference):
        return _msgpack.ExtType(BLOB_REFERENCE, value.sha256 + struct.pack(">Q", value.size | value.encoded << 63))
    if isinstance(value, Pickled):
        name = value.implementation.encode()
        head = struct.pack(f">B{len(name)}s3B", len(name), name, *value.version, value.protocol)
        return _msgpack.ExtType(PICKLE, head + value.data)
    numpy = _if_numpy(sys.modules.get("numpy"))
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return _from_numpy(numpy, value)
    try:
        view = memoryview(value)
    except TypeError:
        raise NotPortable(f"object of type {type(value).__name__}") from None
    if not view.c_contiguous:
        raise NotPortable("a buffer that is not contiguous; copy it with bytes()")
    return view.cast("B")


def _big_integer(value: int) -> Any:
    # One bit more than the magnitude of a positive number, for the sign.
    size = (value.bit_length() if value >= 0 else (~value).bit_length()) // 8 + 1
    if size > BIG_INTEGER_BYTES_MAX:
        raise NotPortable(f"an integer of {size} bytes; at most {BIG_INTEGER_BYTES_MAX} can be sent")
    return _msgpack.ExtType(BIG_INTEGER, value.to_bytes(size, "big", signed=True))


def _if_numpy(module: Any) -> Any:
    """The module, unless it is another one of that name, or has not been imported to its end: then None."""
    return module if all(isinstance(getattr(module, name, None), type) for name in ("ndarray", "generic")) else None


def _from_numpy(numpy: Any, value: Any) -> Any:
    if isinstance(value, numpy.ma.MaskedArray):
        raise NotPortable("a masked array; send its data and its mask")
    dtype = value.dtype
    if isinstance(value, numpy.generic) and dtype.kind in "biu":
        return value.item()
    if dtype.names is not None or not _DTYPE.fullmatch(dtype.str):
        raise NotPortable(f"an array of dtype {dtype}; numbers, fixed-size texts, dates and durations can be sent")
    if value.size == 0 and math.prod(length or 1 for length in value.shape) * dtype.itemsize > EXTENT_BYTES_MAX:
        raise NotPortable(f"an array of shape {value.shape}, which not every machine can make, though it is empty")
    return _array(dtype.str, value.shape, numpy.ascontiguousarray(value).reshape(-1).view("u1").data)


def _array(dtype: str, shape: tuple[int, ...], data: Buffer) -> Any:
    if len(shape) > DIMENSIONS_MAX or any(length >= 1 << 32 for length in shape):
        raise NotPortable(f"an array of shape {shape}; at most {DIMENSIONS_MAX} dimensions of 2^32-1 can be sent")
    head = struct.pack(f">B{len(dtype)}sB{len(shape)}I", len(dtype), dtype.encode(), len(shape), *shape)
    return _msgpack.ExtType(ARRAY, b"".join((head, data)))


def _pickled(value: Any, where: str) -> Pickled:
    try:
        data = importlib.import_module("pickle").dumps(value, protocol=4)  # not above: it costs memory, few allow it
    except Exception as error:  # noqa: BLE001 - reducers of foreign objects raise anything
        raise NotPortable(f"{where}: neither portable nor to be pickled: {error}") from None
    return Pickled(sys.implementation.name, (sys.version_info[0], sys.version_info[1]), 4, data)


def _explain(value: Any, path: str, room: int, depth_max: int) -> str:
    """Path and reason of the first part that cannot be sent; empty if there is none."""
    if not isinstance(value, (dict, list, tuple)):
        return _fault(value, path)
    if room <= 0:
        shown = path if len(path) <= 120 else f"{path[:60]} ... {path[-40:]}"
        return f"{shown}: nested deeper than {depth_max}, or a part of itself"
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        if not _is_key(key):
            return f"{path}: a key of type {type(key).__name__}; keys are text, bytes, None and 64-bit numbers"
        step = f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r:.60}]"
        reason = _fault(key, f"{path}: a key") or _explain(item, path + step, room - 1, depth_max)
        if reason:
            return reason
    return ""


def _fault(value: Any, path: str) -> str:
    try:
        _msgpack.packb(value, default=_to_portable, use_bin_type=True)
    except UnicodeEncodeError as error:
        return f"{path}: text with a lone surrogate at character {error.start}"
    except Exception as error:  # noqa: BLE001 - as in encode
        return f"{path}: {error}"
    return ""


def decode(
    data: Buffer,
    *,
    depth_max: int = DEPTH_MAX,
    pickle_allowed: bool = False,
    opaque: bool = False,
    blobs: Any = None,
) -> Any:
    """The one value that `data` is.

    Timestamps become aware datetimes in UTC where that is exact, else `Timestamp`. N-d arrays become numpy arrays of
    their own memory where numpy can be imported, else `Array`. With `opaque`, for who only passes values on, they
    are always `Array`, and pickles `Pickled`. `blobs` is called with each `BlobReference`; what it returns, stands in
    its place.

    Raises:
        BadValue: Anything else than one value within the bounds, or a pickle that is not allowed.
    """

    def extension(code: int, data: Buffer) -> Any:
        return _read_extension(code, data, pickle_allowed=pickle_allowed, opaque=opaque, blobs=blobs)

    most = min(len(data), ELEMENTS_MAX)
    try:
        if len(data) >= _LARGE_BYTES and data[0] == 0xC9:
            return _read_large(memoryview(data), extension)
        if len(data) in _PLAIN_BYTES and (plain := _read_plain(data, depth_max, most)) is not None:
            return plain
        value = _msgpack.unpackb(
            data,
            strict_map_key=False,
            object_pairs_hook=_read_map,
            ext_hook=extension,
            max_array_len=most,
            max_map_len=most,
        )
    except BadValue:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the decoder raises, the bytes are at fault
        raise BadValue(f"These bytes are no portable value: {str(error) or type(error).__name__}") from None
    # Nesting costs a byte a level, and a timestamp has the byte 0xff: most small values need no second look.
    if type(value) not in _SCALARS and (len(data) > depth_max or b"\xff" in bytes(data)):
        return _settle(value, depth_max)
    return value


_TEXT = frozenset((str,))
_FIRST = itemgetter(0)


def _read_plain(data: Buffer, depth_max: int, most: int) -> Any:
    """A map or list with text for keys and scalars in it, read at a go; None: it is to be looked at entry by entry.

    What is written again to the same bytes had no key twice.
    """
    if data[0] not in _CONTAINERS:
        return None
    try:
        value = _msgpack.unpackb(data, ext_hook=_no_extension, max_array_len=most, max_map_len=most)
        return value if _is_plain(value, depth_max) and _msgpack.packb(value) == data else None
    except Exception:  # noqa: BLE001 - whatever it was, it comes again where it is told
        return None


def _no_extension(_code: int, _data: Buffer) -> Any:
    raise BadValue


def _is_plain(value: Any, room: int) -> bool:
    if type(value) is dict:
        if not _TEXT.issuperset(map(type, value)):
            return False
        value = value.values()
    elif type(value) is not list:
        return type(value) in _SCALARS
    return room > 0 and (_SCALARS.issuperset(map(type, value)) or all(_is_plain(item, room - 1) for item in value))


def _read_large(view: memoryview, extension: Any) -> Any:
    """An extension that `_pack` wrote by hand, without the copy that msgpack makes."""
    if int.from_bytes(view[1:5], "big") != len(view) - 6:
        raise ValueError("the length does not fit")
    return extension(view[5] - (view[5] >> 7 << 8), view[6:])


def _read_map(pairs: Any) -> dict[Any, Any]:
    pairs = list(pairs)
    if not _TEXT.issuperset(map(type, map(_FIRST, pairs))):
        for key, _ in pairs:
            if type(key) is not str and not (isinstance(key, _KEYS) and _is_key(key)):
                raise BadValue(f"A map has a key of type {type(key).__name__}; keys are text, bytes, numbers, nil.")
    result = dict(pairs)
    if len(result) != len(pairs):
        raise BadValue("A map has a key twice (1, 1.0 and true count as one).")
    return result


def _settle(value: Any, room: int) -> Any:
    """Checks the depth and puts datetimes in the place of msgpack's timestamps, in what was just decoded."""
    if isinstance(value, _msgpack.Timestamp):
        if value.seconds not in _DATETIME_SECONDS or value.nanoseconds % 1000:
            return Timestamp(value.seconds, value.nanoseconds)
        # Not fromtimestamp(): time_t has 32 bits on some of the machines this runs on.
        return _EPOCH + timedelta(seconds=value.seconds, microseconds=value.nanoseconds // 1000)
    if not isinstance(value, (list, dict)):
        return value
    if room <= 0:
        raise BadValue("The value is nested too deep.")
    items: Any = value.values() if isinstance(value, dict) else value
    if not _OPEN.isdisjoint(map(type, items)):
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            if type(item) in _OPEN:
                value[key] = _settle(item, room - 1)
    return value


def _read_extension(code: int, data: Buffer, *, pickle_allowed: bool, opaque: bool, blobs: Any) -> Any:
    if code == BIG_INTEGER:
        integer = int.from_bytes(data[:BIG_INTEGER_BYTES_MAX], "big", signed=True)
        if integer in _INTEGERS or _big_integer(integer).data != data:
            raise BadValue("A big integer is too long or not in its shortest form.")
        return integer
    if code == ARRAY:
        return _read_array(data, opaque=opaque)
    if code == BLOB_REFERENCE:
        size = struct.unpack(">Q", data[32:])[0]
        reference = BlobReference(bytes(data[:32]), size & ~(1 << 63), encoded=bool(size >> 63))
        return reference if blobs is None else blobs(reference)
    if code == PICKLE:
        return _read_pickle(data, pickle_allowed=pickle_allowed, opaque=opaque)
    raise BadValue(f"Extension type {code} is not known.")


def _read_array(data: Buffer, *, opaque: bool) -> Any:
    dtype_end = 1 + data[0]
    dtype = str(data[1:dtype_end], "ascii")
    shape_end = dtype_end + 1 + 4 * data[dtype_end]
    shape = struct.unpack(f">{data[dtype_end]}I", data[dtype_end + 1 : shape_end])
    array = Array(dtype, shape, data[shape_end:])  # type: ignore[arg-type]  # a view for a moment
    numpy = None if opaque else _numpy()
    if numpy is None:
        array.data = bytes(array.data)
        return array
    # A copy: aligned, and the owner's code may write to it.
    return numpy.frombuffer(array.data, dtype=array.dtype).reshape(shape).copy()


@functools.lru_cache(maxsize=1)
def _numpy() -> Any:
    """The module, or None; imported when the first array comes, for it is slow to load."""
    try:
        return _if_numpy(importlib.import_module("numpy"))
    except Exception:  # noqa: BLE001 - a broken installation is no better than none
        return None


def _read_pickle(data: Buffer, *, pickle_allowed: bool, opaque: bool) -> Any:
    end = 1 + data[0]
    implementation = str(data[1:end], "ascii")
    major, minor, protocol = data[end : end + 3]
    if opaque:
        return Pickled(implementation, (major, minor), protocol, bytes(data[end + 3 :]))
    writer = f"a pickle (protocol {protocol}) of {implementation} {major}.{minor}"
    if not pickle_allowed:
        raise PickleRefused(f"This is {writer}; reading it would run its code, which is not allowed here.")
    try:
        return importlib.import_module("pickle").loads(data[end + 3 :])  # allowed by the owner of this machine
    except Exception as error:  # noqa: BLE001 - a pickle raises anything
        raise BadValue(f"This is {writer}, which cannot be read here: {error}") from None
