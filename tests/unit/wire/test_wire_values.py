"""Portable values: what becomes what, what is refused, and what the refusal says."""

import array
import collections
import datetime as dt
import enum
import pickle
import struct
import subprocess
import sys
import types

import msgpack
import numpy as np
import pytest

from dart.limits import Limits
from dart.wire import values
from dart.wire.values import (
    Array,
    BadValue,
    BlobMissing,
    BlobReference,
    NotPortable,
    Pickled,
    Timestamp,
    decode,
    encode,
)

UTC = dt.UTC
# Some machines have no floats longer than 8 bytes, and numpy 1 no more dimensions than can be sent.
LONG_DOUBLE = [
    ([np.longdouble(1)], f"parameter[0]: an array of dtype {np.dtype(np.longdouble)}; numbers,")
    for _ in range(np.dtype(np.longdouble).itemsize > 8)
]
TOO_LONG_FOR_SOME = [
    (np.empty((1 << 16, 1 << 16, 0)), "parameter: an array of shape (65536, 65536, 0), which not every machine")
    for _ in range(sys.maxsize > 1 << 32)
]
TOO_MANY_DIMENSIONS = [
    (np.lib.stride_tricks.as_strided(np.zeros(1), (1,) * 33, (0,) * 33), "parameter: an array of shape (1, 1,")
    for _ in range(np.__version__ >= "2")
]


class Foo:
    """Nothing that could be sent."""


class Color(enum.IntEnum):
    RED = 3


class Label(str):
    __slots__ = ()


Point = collections.namedtuple("Point", "x y")  # noqa: PYI024 - owners write it so


def again(value):
    return decode(encode(value))


def test_limits_are_the_same():
    """The constants that the runner uses are those that server and agent name."""
    expected = Limits()
    assert expected.value_depth_max == values.DEPTH_MAX
    assert expected.value_bytes_max == values.BYTES_MAX


@pytest.mark.parametrize(
    ("value", "becomes"),
    [
        ((1, (2, [3])), [1, [2, [3]]]),
        (Point(1, 2), [1, 2]),
        (collections.OrderedDict(a=1), {"a": 1}),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        (array.array("h", [1, -1]), struct.pack("hh", 1, -1)),
        (memoryview(array.array("h", [1, -1])), struct.pack("hh", 1, -1)),
        (Color.RED, 3),
        (Label("a"), "a"),
        ({Label("k"): Color.RED}, {"k": 3}),
        (np.bool_(True), True),
        (np.int8(-5), -5),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.float64(0.5), 0.5),
        (np.str_("a"), "a"),
        (np.bytes_(b"a"), b"a"),
        ([np.int64(1), np.float64(2.0)], [1, 2.0]),
    ],
)
def test_becomes(value, becomes):
    """Values of kindred types come back as the plain type."""
    found = again(value)
    assert found == becomes
    assert type(found) is type(becomes)


@pytest.mark.parametrize(
    "moment",
    [
        dt.datetime(1, 1, 1, tzinfo=UTC),
        dt.datetime.max.replace(tzinfo=UTC),
        dt.datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        dt.datetime(2200, 2, 28, 12, tzinfo=dt.timezone(dt.timedelta(hours=-5))),
    ],
)
def test_datetime(moment):
    """An aware datetime comes back as the same instant in UTC, also beyond 32 bits of seconds."""
    found = again([moment])[0]
    assert found == moment
    assert found.tzinfo is UTC


def test_timestamp_that_python_cannot_hold():
    """Nanoseconds and far years stay a Timestamp; the same instant in reach becomes a datetime."""
    assert again(Timestamp(5, 1)) == Timestamp(5, 1)
    assert again({"a": [Timestamp(2**63 - 1)]}) == {"a": [Timestamp(2**63 - 1)]}
    assert again(Timestamp(0, 1000)) == dt.datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "given",
    [
        np.arange(6.0).reshape(2, 3),
        np.array(1.5, ">f2"),
        np.zeros((0, 3), "<i2"),
        np.array([True, False]),
        np.array(["a", "\U0001f600c"]),
        np.array([b"x", b"yz"]),
        np.array(["2020-01-01", "NaT"], "M8[25s]"),
        np.array([1, -1], "m8[ns]"),
        np.array([1, 2 - 1j], ">c8"),
        np.arange(24, dtype=">u4").reshape(2, 3, 4).T,
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.frombuffer(b"\x7f\xf8\x00\x00\x00\x00\x12\x34", ">f8"),
        np.arange(30_000.0),
    ],
)
def test_numpy_array(given):
    """An array comes back with the same dtype, byte order, shape and bytes, in memory of its own."""
    for found in (again(given), again({"a": [given]})["a"][0]):
        assert (found.dtype.str, found.shape, found.tobytes()) == (given.dtype.str, given.shape, given.tobytes())
        assert found.flags.writeable
        assert found.flags.aligned


@pytest.mark.parametrize("scalar", [np.float32(1.5), np.complex64(1j), np.datetime64("2020"), np.timedelta64(3, "s")])
def test_numpy_scalar_without_plain_form(scalar):
    """It becomes an array of no dimension."""
    found = again(scalar)
    assert (found.dtype, found.shape, found.tobytes()) == (scalar.dtype, (), scalar.tobytes())


def test_array_without_numpy(monkeypatch):
    """Where numpy cannot be imported an Array comes, and goes back as the same bytes."""
    sent = encode([np.arange(3, dtype=">i2")])
    monkeypatch.setitem(sys.modules, "numpy", None)
    values._numpy.cache_clear()
    try:
        found = decode(sent)
        assert found == [Array(">i2", (3,), b"\x00\x00\x00\x01\x00\x02")]
        assert encode(found) == sent
    finally:
        values._numpy.cache_clear()


def test_large_array_is_the_same_at_the_top_and_inside():
    """The way that spares copies writes the same bytes as msgpack."""
    large = np.arange(20_000.0)
    as_array = Array("<f8", (20_000,), large.astype("<f8").tobytes())
    assert encode([large]) == b"\x91" + encode(large)
    assert encode(as_array) == encode(large.astype("<f8"))
    assert encode([b"x" * 70_000]) == b"\x91" + encode(b"x" * 70_000)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"layers": [1, 2, 3, {"weights": Foo()}]}, "parameter.layers[3].weights: object of type Foo"),
        (Foo(), "parameter: object of type Foo"),
        ({"a b": [{1, 2}]}, "parameter['a b'][0]: object of type set"),
        ({3: 1j}, "parameter[3]: object of type complex"),
        ({(1, 2): 3}, "parameter: a key of type tuple; keys are text, bytes, None and 64-bit numbers"),
        ([{2**64: 1}], "parameter[0]: a key of type int; keys are text, bytes, None and 64-bit numbers"),
        ("a\ud800", "parameter: text with a lone surrogate at character 1"),
        ({"x": ["\udcff"]}, "parameter.x[0]: text with a lone surrogate at character 0"),
        ({"\ud800": 1}, "parameter: a key: text with a lone surrogate at character 0"),
        (
            dt.datetime(2020, 1, 1),  # noqa: DTZ001 - that is what is refused
            "parameter: a datetime without time zone; give it one, such as timezone.utc",
        ),
        (dt.date(2020, 1, 1), "parameter: object of type date"),
        ([1 << 12_288], "parameter[0]: an integer of 1537 bytes; at most 1536 can be sent"),
        (np.array([None]), "parameter: an array of dtype object; numbers, fixed-size texts, dates and durations"),
        (np.zeros(1, "<i4,>f4"), "parameter: an array of dtype [('f0', '<i4'), ('f1', '>f4')]; numbers,"),
        *LONG_DOUBLE,
        (np.ma.array([1], mask=[True]), "parameter: a masked array; send its data and its mask"),
        (memoryview(b"abcd")[::2], "parameter: memoryview: underlying buffer is not C-contiguous"),
        *TOO_MANY_DIMENSIONS,
        *TOO_LONG_FOR_SOME,
    ],
)
def test_refused_with_its_path(value, message):
    """What cannot be sent is refused at the sender, with the path to it and the reason."""
    with pytest.raises(NotPortable) as caught:
        encode(value, where="parameter")
    assert str(caught.value).startswith(message)


def test_buffer_that_is_not_contiguous():
    """A foreign object with such a buffer is refused, for its bytes are not what its owner sees."""
    with pytest.raises(NotPortable, match="not contiguous"):
        values._to_portable(memoryview(b"abcd")[::2])


def test_depth():
    """100 levels are sent and read; one more is refused on both sides, for arrays and maps."""
    fits = [[]]
    for _ in range(98):
        fits = [fits]
    assert again(fits) == fits
    with pytest.raises(NotPortable, match="nested deeper than 100"):
        encode([fits])
    with pytest.raises(BadValue, match="nested too deep"):
        decode(b"\x91" + encode(fits))
    assert decode(encode({"a": {"b": [1]}}, depth_max=3), depth_max=3) == {"a": {"b": [1]}}
    with pytest.raises(NotPortable, match=r"^value\.a\.b: nested deeper than 2"):
        encode({"a": {"b": [1]}}, depth_max=2)
    with pytest.raises(BadValue, match="nested too deep"):
        decode(encode({"a": {"b": [1]}}), depth_max=2)


def test_part_of_itself():
    """A value that contains itself is refused and not followed for ever; the path is shortened."""
    loop = {"name": []}
    loop["name"].append(loop)
    with pytest.raises(NotPortable, match=r"^value\.name\[0\]\.name.* \.\.\. .*a part of itself$") as caught:
        encode(loop)
    assert len(str(caught.value)) < 200


def test_bytes_max():
    """The limit is on the encoded value, exactly."""
    assert len(encode(b"x" * 10, bytes_max=12)) == 12
    with pytest.raises(NotPortable, match="12 bytes when encoded, at most 11 are allowed"):
        encode(b"x" * 10, bytes_max=11)


def test_pickle_where_allowed():
    """A value that is not portable is pickled as a whole; it is read only where that is allowed."""
    value = {"set": {1, 2}}
    with pytest.raises(NotPortable):
        encode(value)
    sent = encode(value, pickle_allowed=True)
    assert decode(sent, pickle_allowed=True) == value
    with pytest.raises(BadValue, match=r"a pickle \(protocol 4\) of cpython 3\.\d+; .* not allowed here"):
        decode(sent)
    passed_on = decode(sent, opaque=True)
    assert isinstance(passed_on, Pickled)
    assert passed_on.version == sys.version_info[:2]
    assert encode(passed_on) == sent
    assert encode({"a": 1}, pickle_allowed=True) == encode({"a": 1})


def test_pickle_that_fails():
    """What can neither be sent nor pickled says so; a pickle that cannot be read is a bad value."""
    with pytest.raises(NotPortable, match=r"^result: neither portable nor to be pickled"):
        encode(lambda: None, where="result", pickle_allowed=True)
    broken = encode(Pickled("pypy", (3, 11), 4, pickle.dumps(Foo())[:-1]))
    with pytest.raises(BadValue, match=r"of pypy 3\.11, which cannot be read here"):
        decode(broken, pickle_allowed=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Timestamp(2**63),
        lambda: Timestamp(0, 10**9),
        lambda: Timestamp(0, -1),
        lambda: BlobReference(b"x" * 31, 0),
        lambda: BlobReference(b"x" * 32, -1),
        lambda: Array("f8", (), b"x" * 8),
        lambda: Array("<f8", (2,), b"x" * 8),
        lambda: Array("|u1", (1,) * 33, b"x"),
        lambda: Array("|u1", (0, -1), b""),
        lambda: Array("|u1", (0, 1 << 32), b""),
    ],
)
def test_values_that_cannot_be_made(make):
    """The classes for what Python lacks refuse what the wire could not carry."""
    with pytest.raises(ValueError):  # noqa: PT011 - each has a text of its own
        make()


def test_plain_values_compare():
    """They are equal by their members, are hashable and show themselves, shortly."""
    assert Timestamp(1, 2) == Timestamp(1, 2) != Timestamp(1, 3)
    assert Timestamp(1, 2) != (2, 1)
    assert len({BlobReference(b"x" * 32, 1), BlobReference(b"x" * 32, 1)}) == 1
    assert repr(Timestamp(1, 2)) == "Timestamp(nanoseconds=2, seconds=1)"
    assert len(repr(Array("|u1", (1000,), bytes(1000)))) < 150


def test_large_extensions_are_read_without_a_copy():
    """The same values, and the same refusals, as of small ones."""
    large = Array("|u1", (70_000,), bytes(70_000))
    data = encode(large)
    assert decode(data, opaque=True) == decode(memoryview(data), opaque=True) == large
    assert type(decode(memoryview(data), opaque=True).data) is bytes
    for wrong in (data + b"x", data[:-1], data[:5] + b"\x63" + data[6:], data[:5] + b"\xff" + data[6:]):
        with pytest.raises(BadValue):
            decode(wrong)


def test_blobs_may_be_put_in_the_place_of_references():
    """Whoever has them says what stands there; without one the references stay, and know whether they are encoded."""
    plain, encoded = BlobReference(b"x" * 32, 5), BlobReference(b"x" * 32, 5, encoded=True)
    sent = encode([plain, {"a": encoded}])
    assert decode(sent) == [plain, {"a": encoded}]
    assert plain != encoded
    assert decode(sent, blobs=lambda found: found.encoded) == [False, {"a": True}]

    def refuse(_):
        raise BlobMissing(109, "it is not here")

    with pytest.raises(BlobMissing, match="not here") as refused:
        decode(sent, blobs=refuse)
    assert refused.value.code == 109


def test_memoryview_is_read():
    """What arrives as a view of a frame is read like bytes."""
    sent = encode([dt.datetime(2026, 1, 1, tzinfo=UTC), "a"])
    assert decode(memoryview(sent)) == decode(sent)


def test_value_that_changes_while_it_is_sent(monkeypatch):
    """Where no culprit is found any more, the first error is told."""
    monkeypatch.setattr(values, "_explain", lambda *_: "")
    with pytest.raises(NotPortable, match=r"^value: object of type Foo$"):
        encode(Foo())


def test_path_leads_past_what_is_sound():
    """A path leads past the sound parts of a map to the one that is not."""
    with pytest.raises(NotPortable, match=r"^value\[1\]\.b: object of type Foo$"):
        encode([{"a": 1, 2: [1, 2]}, {"a": {}, "b": Foo()}])
    assert values._explain([1, {"a": [2]}], "value", 9, 9) == ""


def test_bytes_without_end_are_no_allocation():
    """A few bytes that announce a billion elements are refused at once, at every level."""
    for head in (b"\xdd\x3f\xff\xff\xff", b"\xdf\x3f\xff\xff\xff"):
        with pytest.raises(BadValue):
            decode(head * 200 + b"\xc0")


@pytest.mark.parametrize("text", ["x" * 65_536, "ä" * 70_000, "\U0001f600" * 65_536])
def test_large_text_has_the_bytes_that_msgpack_writes(text):
    """The header is put before the text by hand, for msgpack's buffer grows by copies."""
    assert encode(text) == msgpack.packb(text)
    assert again(text) == text


def test_large_text_with_a_lone_surrogate():
    """It is refused like any other, with the place."""
    with pytest.raises(NotPortable, match=r"^value: text with a lone surrogate at character 70000"):
        encode("x" * 70_000 + "\ud800")


@pytest.mark.parametrize("made", [{}, {"ndarray": None}, {"ndarray": list}])
def test_a_module_of_the_owner_that_is_called_numpy(monkeypatch, made):
    """It is not taken for numpy: buffers go as bytes, and arrays come as `Array`."""
    sent = encode(Array("|u1", (2,), b"ab"))
    fake = types.ModuleType("numpy")
    vars(fake).update(made)
    monkeypatch.setitem(sys.modules, "numpy", fake)
    values._numpy.cache_clear()
    try:
        assert again(bytearray(b"ab")) == b"ab"
        assert decode(sent) == Array("|u1", (2,), b"ab")
    finally:
        values._numpy.cache_clear()


def test_a_runner_is_spared_what_it_seldom_needs():
    """Neither `typing` nor `pickle` is loaded with the module: they would cost every runner a megabyte."""
    code = (
        "import sys, importlib.util as u; import msgpack; before = set(sys.modules);"
        f"spec = u.spec_from_file_location('v', {values.__file__!r}); module = u.module_from_spec(spec);"
        "spec.loader.exec_module(module); print(sorted({'typing', 'pickle'} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
