"""Long maps and lists, which are read at a go where they are plain."""

import datetime as dt

import pytest

from dart.wire import values

UTC = dt.UTC
LONG = "x" * 300


@pytest.mark.parametrize(
    "value",
    [
        {f"word {number}": number for number in range(1000)},
        {"a": [{"b": LONG}, [1, 2.5, None, True, b"x"]], "c": {}},
        [[LONG], {}, []],
        {LONG: {1: "a number as a key", b"bytes": 2}},
        [{1: LONG}, 2],
        {b"bytes as a key": LONG},
        {"since": dt.datetime(2026, 1, 1, tzinfo=UTC), "text": LONG},
        {"large": 1 << 80, "text": LONG},
    ],
)
def test_many_entries_come_back_as_few_do(value):
    """Long maps and lists are read at a go where they are plain; what comes out is the same."""
    assert values.decode(values.encode(value)) == value


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x82\xa1a\xda\x01\x00" + b"x" * 256 + b"\xa1a\x01", "a key twice"),
        (b"\x91\x82\xa1a\xda\x01\x00" + b"x" * 256 + b"\xa1a\x01", "a key twice"),
        (b"\x81\x90\xda\x01\x00" + b"x" * 256, "unhashable|key"),
        (b"\x81\xa1a\xda\x01\x00" + b"\xff" * 256, "utf-8"),
        (b"\x91" * 101 + b"\xda\x01\x00" + b"x" * 256, "nested too deep"),
        (b"\x81\xa1a" * 101 + b"\xda\x01\x00" + b"x" * 256, "nested too deep"),
        (b"\x91\xda\x01\x00" + b"x" * 256 + b"\xc0", "extra data"),
    ],
)
def test_many_entries_are_refused_as_few_are(data, text):
    """The quick look lets nothing pass that the slow one refuses."""
    with pytest.raises(values.BadValue, match=f"(?i){text}"):
        values.decode(data)
