"""Portable values: one or `BadValue`; what is read is written again; compiled and pure MessagePack agree."""

import importlib.util
import math
import sys
import types
from datetime import datetime

import msgpack
from msgpack import fallback

from dart.wire import values
from fuzz import vectors


def _pure_values() -> types.ModuleType:
    """`values` once more, over the pure-Python MessagePack that runners use."""
    pure = types.ModuleType("_dart_msgpack")
    pure.Timestamp, pure.ExtType = msgpack.Timestamp, msgpack.ExtType
    pure.packb = lambda value, **options: fallback.Packer(**options).pack(value)
    pure.unpackb = _unpackb
    spec = importlib.util.spec_from_file_location("fuzz_pure_values", values.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_dart_msgpack"] = pure
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["_dart_msgpack"]
    return module


def _unpackb(data, **options):
    # As msgpack's own for the fallback.
    unpacker = fallback.Unpacker(None, max_buffer_size=len(data), **options)
    unpacker.feed(data)
    try:
        value = unpacker._unpack()
    except fallback.OutOfData:
        raise ValueError("incomplete input") from None
    except RecursionError as error:
        raise msgpack.StackError from error
    if unpacker._got_extradata():
        raise msgpack.ExtraData(value, unpacker._get_extradata())
    return value


PURE = _pure_values()
SHOWN = ("Timestamp", "Array", "BlobReference", "Pickled")


def seeds() -> list[bytes]:
    return vectors.values()


def _read(module, data: bytes):
    try:
        return module.decode(data, opaque=True)
    except module.BadValue as error:
        assert str(error)
        return error


def canonical(value) -> object:
    """A value of either module for comparison, NaN and -0.0 and true and 1 told apart."""
    kind = type(value).__name__
    if isinstance(value, float):
        return kind, "nan" if math.isnan(value) else value.hex()
    if isinstance(value, list):
        return kind, tuple(map(canonical, value))
    if isinstance(value, dict):
        return kind, tuple((canonical(key), canonical(item)) for key, item in value.items())
    if kind in SHOWN:
        return kind, tuple(canonical(getattr(value, name)) for name in value.__slots__)
    if isinstance(value, datetime):
        return kind, value.isoformat()
    return kind, bytes(value) if isinstance(value, memoryview) else value


def check(data: bytes) -> None:
    value = _read(values, data)
    pure = _read(PURE, data)
    refused = isinstance(value, values.BadValue)
    assert refused == isinstance(pure, PURE.BadValue), (value, pure)
    try:
        values.decode(data)  # with numpy where it is
    except values.BadValue as error:
        assert refused or "pickle" in str(error)
    else:
        assert not refused
    if refused:
        return
    assert canonical(value) == canonical(pure)
    packed = values.encode(value)
    assert packed == PURE.encode(pure)
    assert canonical(values.decode(packed, opaque=True)) == canonical(value)
