"""Portable values as JSON and back."""

import base64
import json
import math
import struct
from datetime import UTC, datetime

import pytest

from dart.errors import InvalidRequestError, ValueNotPortableError
from dart.rest import json_values
from dart.wire import values

NAN = struct.unpack(">d", bytes.fromhex("7ff8000000000001"))[0]


def shown(value):
    """As a client sees it."""
    return json.loads(json_values.to_json(values.encode(value)).data)


def back(value, **options):
    data = json_values.encode_parameter(value, may_have_tags=True, **{"bytes_max": 1 << 20, **options})
    return values.decode(data, opaque=True)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -5, 2**64 - 1, 2**70, 1.5, -0.0, "", "\U0001f600", [], {}, [1, [2, {"a": [None]}]], {"a": 1.5}],
)
def test_what_json_has_is_itself(value):
    """Both ways."""
    assert shown(value) == value
    assert back(value) == value


def test_large_texts_are_encoded_as_any_text():
    """By another way, to the same bytes."""
    for text in ("x" * 300_000, "\u00e9" * 300_000):
        assert json_values.encode_parameter(text, may_have_tags=False, bytes_max=1 << 20) == values.encode(text)


def test_bytes_are_text_where_they_can_be():
    """Old modules return base64 text as bytes; it comes back untouched."""
    text = json_values.to_json(values.encode(b"gASV\n"))
    assert (json.loads(text.data), text.encoding) == ("gASV\n", "")
    raw = json_values.to_json(values.encode(b"\xff\x00"))
    assert (json.loads(raw.data), raw.encoding) == ("/wA=", "base64")


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ([b"\xff"], None),
        (math.inf, "float"),
        (-math.inf, "float"),
        ({1: "a", b"b": [math.inf]}, "map"),
        ({"__dart__": "x"}, "map"),
        (values.Array("<f8", (1, 2), bytes(16)), "array"),
        (values.Array("|u1", (), b"\x07"), "array"),
        (values.Timestamp(-(1 << 40), 5), "timestamp"),
        (values.BlobReference(bytes(32), 7), "blob"),
        (values.BlobReference(bytes(32), 7, encoded=True), "blob"),
    ],
)
def test_what_json_lacks_is_tagged_and_read_back(value, tag):
    """Nothing is lost."""
    assert tag is None or shown(value)["__dart__"] == tag
    assert back(shown(value)) == value


def test_not_a_number_keeps_its_bits():
    """The common one is plain."""
    assert shown(math.nan) == {"__dart__": "float", "value": "nan"}
    for value in (math.nan, NAN):
        assert struct.pack(">d", back(shown(value))) == struct.pack(">d", value)


def test_datetimes_are_timestamps():
    """In seconds and nanoseconds, whatever the year."""
    instant = datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC)
    assert shown(instant) == {"__dart__": "timestamp", "seconds": -1, "nanoseconds": 500_000_000}
    assert back([shown(instant)]) == [instant]


def test_pickles_are_shown_and_not_taken():
    """They are made where they are allowed."""
    tagged = shown(values.Pickled("cpython", (3, 11), 4, b"x"))
    assert tagged == {"__dart__": "pickle", "writer": "cpython 3.11", "protocol": 4, "base64": "eA=="}
    with pytest.raises(InvalidRequestError):
        back(tagged)


@pytest.mark.parametrize(
    "tagged",
    [
        {"__dart__": 5}, {"__dart__": []}, {"__dart__": "odd"}, {"__dart__": "bytes"},
        {"__dart__": "bytes", "base64": "?"}, {"__dart__": "bytes", "base64": 5},
        {"__dart__": "float", "value": "x"}, {"__dart__": "float", "bits": "00"},
        {"__dart__": "map", "items": [[1]]}, {"__dart__": "map", "items": [[[], 1]]}, {"__dart__": "map", "items": 5},
        {"__dart__": "array", "dtype": "O", "shape": [], "base64": ""},
        {"__dart__": "array", "dtype": "|u1", "shape": ["x"], "base64": ""},
        {"__dart__": "array", "dtype": "|u1", "shape": [2], "base64": "AA=="},
        {"__dart__": "array", "dtype": 5, "shape": [2], "base64": "AA=="},
        {"__dart__": "timestamp", "seconds": "x"}, {"__dart__": "timestamp", "seconds": 1.5},
        {"__dart__": "timestamp", "seconds": 0, "nanoseconds": 10**9},
        {"__dart__": "blob", "sha256": "00", "bytes": 5}, {"__dart__": "blob", "sha256": "00" * 32, "bytes": "x"},
        {"__dart__": "blob", "sha256": "00" * 32, "bytes": 5, "encoded": 1},
    ],
)  # fmt: skip
def test_tagged_objects_that_mean_nothing_are_refused(tagged):
    """With the member's name, wherever they stand."""
    with pytest.raises((InvalidRequestError, ValueNotPortableError)):
        back([tagged])


def test_values_that_cannot_be_sent_name_the_place():
    """Too deep, too large, lone surrogates."""
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ValueNotPortableError, match="deep"):
        back(deep)
    for _ in range(3000):
        deep = [deep]
    with pytest.raises(ValueNotPortableError, match="deep"):
        back(deep)
    with pytest.raises(ValueNotPortableError, match="at most 5"):
        back("x" * 10, bytes_max=5)
    with pytest.raises(ValueNotPortableError, match="at most 5"):
        back("x" * 300_000, bytes_max=5)
    with pytest.raises(ValueNotPortableError, match=r"parameter\.a"):
        back({"a": "\ud800"})


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x92\x01", b"\xd4\x7f\x00"])
def test_bytes_that_are_no_value_are_shown_as_they_are(data):
    """A damaged result is no reason to fail the whole list."""
    shown = json_values.to_json(data)
    assert (json.loads(shown.data)["__dart__"], shown.encoding) == ("damaged", "damaged")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x92\x01",
        b"\x01\x02",
        b"\xc4\x01ab",
        b"\xc4\x05a",
        b"\xa2\xff\xfe",
        b"\xd4\x7f\x00",
        b"\x91" * 5000 + b"\x01",
        values.encode([{"a": values.Pickled("cpython", (3, 11), 4, b"x")}]),
    ],
)
def test_what_no_client_can_read_is_put_into_no_list(data):
    """Not as it is: it would be read as the results of others, or hide them."""
    shown = json_values.to_messagepack(data)
    told = values.decode(shown.data)
    assert shown.encoding == "damaged"
    assert (told["__dart__"], base64.b64decode(told["base64"])) == ("damaged", data)


@pytest.mark.parametrize("value", [None, 1, 2**70, 1.5, "ü", b"x" * 100_000, [1, {"a": [2]}], {1: b"\xc1"}])
def test_what_clients_can_read_stays_as_it_is(value):
    """To the byte."""
    assert json_values.to_messagepack(values.encode(value)) == json_values.Shown(values.encode(value))


def test_text_that_is_not_utf_8_is_shown_with_replacements():
    """An agent's fault; the codec has not looked into the value."""
    assert json.loads(json_values.to_json(b"\xa1\xff").data) == "\ufffd"


@pytest.mark.parametrize(
    "value",
    [
        "x" * 300_000,
        '\u00e9\U0001f600"\\' * 60_000,
        b"\xff" * 300_000,
        "\u00e9".encode() * 150_000,
        b"\xc3" * 1 + b"a" * 300_000,
        b"a" * 300_000 + b"\xc3",
    ],
)
def test_large_texts_and_bytes_come_in_pieces_that_join(value):
    """The same JSON as at a go."""
    data = values.encode(value)
    assert json_values.is_large_text(data)
    *pieces, is_base64 = json_values.pieces_of_text(data)
    whole = json_values.to_json(data)
    assert len(pieces) > 3
    assert (b"".join(pieces), is_base64) == (whole.data, whole.encoding == "base64")


def test_small_ones_and_containers_do_not():
    """They are encoded at a go."""
    assert not json_values.is_large_text(values.encode("x"))
    assert not json_values.is_large_text(values.encode(["x" * 300_000]))


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (values.encode({f"word {number}": number for number in range(100)}), True),
        (values.encode({"text": "x" * 300, "bytes": b"x", "float": 0.5, "flag": True, "nothing": None}), True),
        (b"\x82\xa1a\xda\x01\x00" + b"x" * 256 + b"\xa1a\x01", False),  # a key twice
        (values.encode({"text": "x" * 300}) + b"\xc0", False),  # more than one value
        (b"\x81\xa1a\xda\x01\x00" + b"\xff" * 256, False),  # no UTF-8
        (b"\x81\x91\x01\xda\x01\x00" + b"x" * 256, False),  # a list as a key
        (values.encode({1: "x" * 300, "a": [1, 2]}), True),
        (values.encode({"a": "x" * 300, "array": values.Array("|u1", (2,), b"ab")}), True),
        (values.encode(["x" * 300]), True),
    ],
)
def test_large_values_are_looked_at_as_small_ones_are(data, shown):
    """Whatever a quick look says of a map, only what all clients can read is passed on as it is."""
    assert (json_values.to_messagepack(data).data == data) is shown
