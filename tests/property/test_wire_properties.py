"""Whatever bytes come, whatever values go: the codec and the values for arbitrary input."""

import datetime as dt
import math
import struct

import msgpack
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dart.ids import Attempt, AttemptRef
from dart.limits import Limits
from dart.wire import messages, values
from dart.wire.batches import TRACEPARENT
from dart.wire.codec import MESSAGE_TYPES, decode_from_agent, decode_from_broker, encode

LIMITS = Limits()
IDS = st.integers(1, 2**63 - 1)
COUNTS = st.integers(0, 2**63 - 1)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=255)
TEXTS = st.text(max_size=300)
SECONDS = st.floats(0, allow_infinity=False, allow_nan=False)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
YEARS = (dt.datetime(2, 1, 1), dt.datetime(9998, 12, 31))  # noqa: DTZ001 - the strategy adds the time zones
REFS = st.builds(AttemptRef, IDS, st.builds(Attempt, COUNTS, COUNTS))
PAYLOADS = st.binary(max_size=50) | st.binary(min_size=1, max_size=3).map(lambda seed: seed * 30_000)
HEX = st.binary(min_size=16, max_size=16).map(bytes.hex)
MANY = st.lists(REFS, max_size=5).map(tuple)
CREDITS = st.builds(messages.Credit, COUNTS, COUNTS, COUNTS)
TRACES = st.just("") | st.from_regex(TRACEPARENT, fullmatch=True)
LEASES = st.builds(messages.Lease, REFS, NAMES, NAMES, NAMES, SECONDS, PAYLOADS, TRACES)
TIMES = st.integers(-(2**53), 2**53)
BYTES_32 = st.binary(min_size=32, max_size=32)
RESULTS = st.builds(
    messages.Result,
    REFS,
    NAMES,
    NAMES,
    TIMES,
    SECONDS,
    st.booleans(),
    st.integers(0, 2**31 - 1),
    PAYLOADS,
    st.lists(st.builds(messages.Named, BYTES_32, COUNTS), max_size=3).map(tuple),
)
FACTS = st.dictionaries(NAMES, TEXTS, max_size=3)
FRACTIONS = st.floats(0, 1)
MESSAGES = {
    messages.Hello: st.builds(
        messages.Hello,
        st.lists(st.integers(1, 255), min_size=1, max_size=3).map(tuple),
        NAMES,
        st.integers(1, 4096),
        st.lists(NAMES, max_size=3).map(tuple),
        NAMES,
        HEX,
        HEX | st.just(""),
        MANY,
        MANY,
        FACTS,
        st.booleans(),
    ),
    messages.Credit: CREDITS,
    messages.Released: st.builds(messages.Released, MANY),
    messages.Started: st.builds(
        messages.Started, st.lists(st.builds(messages.Start, REFS, TIMES), max_size=3).map(tuple)
    ),
    messages.Progress: st.builds(
        messages.Progress, st.lists(st.builds(messages.ProgressReport, REFS, FRACTIONS, TEXTS), max_size=3).map(tuple)
    ),
    messages.Log: st.builds(messages.Log, st.lists(st.tuples(REFS, TEXTS), max_size=3).map(tuple)),
    messages.Results: st.builds(messages.Results, st.lists(RESULTS, max_size=5).map(tuple), st.none() | CREDITS),
    messages.BlobGet: st.builds(messages.BlobGet, BYTES_32, COUNTS, IDS, st.none() | REFS),
    messages.BlobPiece: st.builds(messages.BlobPiece, BYTES_32, COUNTS, COUNTS, PAYLOADS),
    messages.BlobAsk: st.builds(messages.BlobAsk, BYTES_32, COUNTS, IDS),
    messages.Told: st.builds(messages.Told, IDS, TEXTS, FACTS),
    messages.Ask: st.builds(messages.Ask, IDS, NAMES, NAMES | st.just(""), PAYLOADS),
    messages.Welcome: st.builds(
        messages.Welcome,
        st.integers(1, 255),
        IDS,
        HEX,
        COUNTS,
        SECONDS,
        SECONDS,
        SECONDS,
        COUNTS,
        COUNTS,
        IDS,
        COUNTS,
        TEXTS,
        *[MANY] * 5,
        st.none() | st.builds(messages.NextServer, st.integers(1, 65_535), BYTES_32),
        COUNTS,
    ),
    messages.Tasks: st.builds(messages.Tasks, st.lists(LEASES, max_size=5).map(tuple)),
    messages.Recall: st.builds(messages.Recall, MANY),
    messages.Ack: st.builds(messages.Ack, MANY),
    messages.Cancel: st.builds(messages.Cancel, MANY),
    messages.Blob: st.builds(messages.Blob, BYTES_32, COUNTS, COUNTS, PAYLOADS),
    messages.Heartbeat: st.builds(messages.Heartbeat, COUNTS, st.booleans(), FRACTIONS, st.booleans(), COUNTS, COUNTS),
    messages.Drain: st.builds(messages.Drain, TEXTS),
    messages.Bye: st.builds(messages.Bye, TEXTS),
    messages.Error: st.builds(messages.Error, st.integers(1, 2**31 - 1), TEXTS),
}
FRAMES = st.builds(messages.Frame, IDS, st.one_of(*MESSAGES.values()))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text()
    | st.binary(max_size=40)
    | st.datetimes(*YEARS, timezones=st.timezones())
    | st.builds(values.BlobReference, BYTES_32, COUNTS, encoded=st.booleans())
    | st.builds(
        values.Timestamp, st.integers(-(2**63), 2**63 - 1), st.integers(1, 999_999_999).filter(lambda n: n % 1000)
    )
)
KEYS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(max_size=9)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))
DTYPES = hnp.scalar_dtypes().filter(lambda dtype: values._DTYPE.fullmatch(dtype.str)) | hnp.unicode_string_dtypes()


def decoders(message):
    """The directions in which a message goes."""
    if type(message) in messages.AgentMessage.__args__:
        yield decode_from_agent
    if type(message) in messages.BrokerMessage.__args__:
        yield decode_from_broker


def same(a, b):
    """Equality to the bit, NaNs and zeros with a sign included."""
    if isinstance(a, dt.datetime) and isinstance(b, dt.datetime):
        return a - EPOCH == b - EPOCH  # not a == b, which is False for all times that the end of summer repeats
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack(">d", a) == struct.pack(">d", b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same([list(pair) for pair in a.items()], [list(pair) for pair in b.items()])
    return a == b


def test_every_message_is_generated():
    """No message is left out below."""
    assert set(MESSAGES) == set(MESSAGE_TYPES.values())


@settings(deadline=None)
@given(FRAMES)
def test_messages_round_trip(frame):
    """What is sent is what is received, from bytes and from views, in each direction it goes."""
    sent = encode(frame, limits=LIMITS)
    for decode in decoders(frame.message):
        assert decode(sent, LIMITS) == frame
        assert decode([memoryview(bytes(part)) for part in sent], LIMITS) == frame


@settings(deadline=None)
@given(FRAMES, st.data())
def test_damaged_messages(frame, data):
    """A message with any byte changed, cut or added is a Frame or Malformed, never an exception."""
    sent = [bytes(part) for part in encode(frame, limits=LIMITS)]
    index = data.draw(st.integers(0, len(sent) - 1))
    at = data.draw(st.integers(0, max(0, min(len(sent[index]), 400) - 1)))
    damaged = data.draw(
        st.sampled_from(
            [
                sent[index][:at] + data.draw(st.binary(min_size=1, max_size=2)) + sent[index][at + 1 :],
                sent[index][:at],
                sent[index] + b"\xc0",
            ]
        )
    )
    for decode in (decode_from_agent, decode_from_broker):
        found = decode([*sent[:index], damaged, *sent[index + 1 :]], LIMITS)
        assert isinstance(found, (messages.Frame, messages.Malformed))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=3))
def test_arbitrary_frames(parts):
    """Any bytes at all become a Frame or Malformed."""
    for decode in (decode_from_agent, decode_from_broker):
        assert isinstance(decode(parts, LIMITS), (messages.Frame, messages.Malformed))


@settings(deadline=None)
@given(
    st.sampled_from(sorted(MESSAGE_TYPES)),
    st.recursive(KEYS, st.lists, max_leaves=30),
    st.lists(st.binary(), max_size=2),
)
def test_arbitrary_bodies(number, body, payloads):
    """Well-formed MessagePack of any shape is no danger either, and what is taken can be sent again."""
    parts = [msgpack.packb([1, number, 1, body]), *payloads]
    for decode in (decode_from_agent, decode_from_broker):
        found = decode(parts, LIMITS)
        if isinstance(found, messages.Frame):
            assert decode(encode(found, limits=LIMITS), LIMITS) == found
        else:
            assert found.text


@settings(deadline=None)
@given(VALUES)
def test_values_round_trip(value):
    """Every portable value comes back to the bit, and encodes to the same bytes again."""
    sent = values.encode(value)
    found = values.decode(sent)
    assert same(found, value)
    assert values.encode(found) == sent


@settings(deadline=None)
@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, min_side=0, max_dims=4, max_side=4)))
def test_arrays_round_trip(array):
    """Every array that can be sent comes back with dtype, shape and bytes, with numpy and without."""
    sent = values.encode([array])
    (found,) = values.decode(sent)
    assert (found.dtype.str, found.shape, found.tobytes()) == (array.dtype.str, array.shape, array.tobytes())
    assert values.encode(values.decode(sent, opaque=True)) == sent


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_values_or_refused(data):
    """Decoding raises BadValue or gives a value that can be sent."""
    try:
        found = values.decode(data)
    except values.BadValue:
        return
    sent = values.encode(found)
    assert values.encode(values.decode(sent)) == sent


@settings(deadline=None)
@given(st.integers(1, 4), st.binary(max_size=60))
def test_arbitrary_extensions_are_values_or_refused(code, content):
    """The contents of our extension types are checked as strictly."""
    data = msgpack.packb(msgpack.ExtType(code, content))
    try:
        found = values.decode(data, opaque=True)
    except values.BadValue:
        return
    assert values.encode(found) == data


@settings(deadline=None)
@given(VALUES, st.integers(0, 3))
def test_unsendable_parts_are_found(value, depth):
    """Wherever the one part that cannot be sent is, the message leads to it."""
    path = "parameter"
    culprit = object()
    for level in range(depth):
        culprit = [value, culprit] if level % 2 else {"a": value, "b": culprit}
    for level in reversed(range(depth)):
        path += "[1]" if level % 2 else ".b"
    try:
        values.encode(culprit, where="parameter")
    except values.NotPortable as error:
        assert str(error) == f"{path}: object of type object"  # noqa: PT017 - nothing else may be raised
    else:
        raise AssertionError("it was sent")


def test_floats_of_all_kinds_keep_their_bits():
    """The generator above is not the only witness: NaN payloads, zeros, subnormal numbers, infinities."""
    for bits in (0x7FF8000000000001, 0xFFF8123456789ABC, 0x8000000000000000, 1, 0x7FF0000000000000):
        value = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
        found = values.decode(values.encode({"a": [value]}))["a"][0]
        assert struct.pack(">d", found) == bits.to_bytes(8, "big")
        assert math.isfinite(found) is math.isfinite(value)
