"""What becomes a blob by itself, and what does not."""

import hashlib

import numpy as np
import pytest

from dart.wire import values
from dart.wire.values import BlobReference
from dart_client import large_values
from dart_client.large_values import LargeValues

LARGE = b"x" * 101


@pytest.fixture
def put():
    """Blobs that were sent."""
    return []


@pytest.fixture
def large(put):
    def send(data):
        put.append(data)
        return BlobReference(hashlib.sha256(data).digest(), len(data))

    return LargeValues(send, 100)


def reference(value):
    data = values.encode(value)
    return BlobReference(hashlib.sha256(data).digest(), len(data), encoded=True)


@pytest.mark.parametrize(
    "value",
    [LARGE, bytearray(LARGE), memoryview(LARGE), np.arange(26, dtype="<f4"), values.Array("|u1", (101,), LARGE)],
    ids=lambda value: type(value).__name__,
)
def test_bytes_and_arrays_that_are_large_become_blobs(large, put, value):
    """Wherever they stand; the blob is the value, encoded. What was given is not changed."""
    given = {"a": [1, {"b": value}], "c": (value, "text")}
    assert large.shelve(given) == {"a": [1, {"b": reference(value)}], "c": [reference(value), "text"]}
    assert given["a"][1]["b"] is value
    assert put == [values.encode(value)]
    assert large.shelve(value) == reference(value)
    assert len(put) == 1


@pytest.mark.parametrize("value", [b"x" * 100, "x" * 1000, [1, 2, {"a": None}], list(range(1000)), 5, None, object()])
def test_all_else_stays_as_it_is(large, put, value):
    """The very object; texts too, and what cannot be sent at all."""
    assert large.shelve(value) is value
    assert LargeValues(put.append, None).shelve(LARGE) is LARGE
    assert not put


def test_what_cannot_be_sent_is_left_to_who_explains_it(large, put):
    """An array of objects, and a list that is a part of itself."""
    for value in (np.array([object()] * 100), np.zeros(200, dtype="V1")):
        assert large.shelve([value])[0] is value
    endless: list[object] = []
    endless.append(endless)
    assert large.shelve(endless) is endless
    assert not put


def test_the_same_object_is_encoded_once(large, put, monkeypatch):
    """Where the caller says that it does not change; else it is looked at again."""
    encoded = []
    encode = values.encode
    monkeypatch.setattr(values, "encode", lambda value, **options: encoded.append(1) or encode(value, **options))
    array = np.zeros(200, dtype="u1")
    parts: large_values.Sent = {}
    assert [large.shelve({"n": n, "model": array}, parts) for n in range(3)][2]["n"] == 2
    assert len(encoded) == 1
    array[0] = 1
    assert large.shelve(array) != parts[id(array)][1]
    assert len(put) == 2


def test_after_a_while_the_server_is_asked_again(large, put, monkeypatch):
    """It keeps blobs for longer, but not for ever; few are remembered."""
    large.shelve(LARGE)
    monkeypatch.setattr(large_values, "KNOWN_SECONDS", -1.0)
    monkeypatch.setattr(large_values, "KNOWN_MAX", 1)
    for _ in range(2):
        large.shelve(LARGE + b"y")
    assert len(put) == 3
    large.shelve(LARGE)
    assert len(put) == 4
