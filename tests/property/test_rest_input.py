"""Whatever bytes come, REST answers with an error of ours or understands them; values survive JSON."""

import asyncio
import json

import msgpack
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dart.errors import DartError, InvalidRequestError
from dart.limits import Limits
from dart.rest import json_values, large_texts, schemas
from dart.rest.bodies import decode, decode_members
from dart.rest.key_scan import Scan, key_in_json, key_in_messagepack
from dart.rest.patterns import Patterns
from dart.wire import values

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 80), 1 << 80), st.floats(allow_nan=False), st.text(), st.binary()
)
KEYS = st.one_of(st.text(), st.integers(-5, 5).map(lambda number: number * 10), st.binary())
PORTABLE = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
ENTRIES = {
    False: (msgspec.json.Decoder(schemas.OpaqueTask), msgspec.json.Decoder(schemas.Submission)),
    True: (msgspec.msgpack.Decoder(schemas.OpaqueTask), msgspec.msgpack.Decoder(schemas.Submission)),
}


def damaged(body: bytes, cut: int, flips: list[tuple[int, int]]) -> bytes:
    """Cut short and with some bytes changed."""
    changed = bytearray(body[: cut % (len(body) + 1)] if cut else body)
    for place, value in flips:
        if changed:
            changed[place % len(changed)] = value
    return bytes(changed)


DAMAGE = st.tuples(st.integers(0, 1000), st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 255)), max_size=3))


@given(members=st.dictionaries(st.text(), JSON_VALUES, max_size=5), damage=DAMAGE, packed=st.booleans())
def test_damaged_bodies_are_refused_or_understood(members, damage, packed):
    """Nothing but a `DartError` comes out of the decoders."""
    body = damaged(values.encode(members) if packed else json.dumps(members).encode(), *damage)
    for decoder in (None, *ENTRIES[packed]):
        try:
            if decoder is None:
                decode_members(body, messagepack=packed)
            else:
                decode(body, decoder, messagepack=packed)
        except DartError:
            continue


@given(members=st.dictionaries(st.text(), JSON_VALUES, max_size=5), key=st.text(max_size=20), cut=st.integers(0, 500))
@example(members={}, key='\\"\u2028', cut=0)
def test_the_scan_finds_what_a_parser_finds(members, key, cut):
    """Wherever the body is cut it finds the key, wants more, or knows that there is none; never another text."""
    members = {**members, "key": key}
    for body, scan in (
        (json.dumps(members).encode(), key_in_json),
        (json.dumps(members, ensure_ascii=False, indent=1).encode(), key_in_json),
        (values.encode(members), key_in_messagepack),
    ):
        assert scan(body) == key
        assert scan(body[:cut]) in (key, Scan.MORE)


@given(st.binary(max_size=300))
def test_the_scan_survives_any_bytes(body):
    """It finds text or nothing."""
    for scan in (key_in_json, key_in_messagepack):
        assert isinstance(scan(body), str | Scan)


@given(PORTABLE)
def test_values_survive_json(value):
    """Out as JSON, in as a parameter: the same encoded bytes. Bytes on their own are the one exception."""
    data = values.encode([value])
    shown = json.loads(json_values.to_json(data).data)
    assert json_values.encode_parameter(shown, may_have_tags=True, bytes_max=1 << 20) == data


@given(st.binary(max_size=100))
def test_any_payload_can_be_shown(data):
    """Even what no agent of ours would send."""
    json.loads(json_values.to_json(data).data)


@given(
    st.text(alphabet="ab.*+?|()[]{}\\d^$,1:=!<>-w", max_size=30), st.lists(st.text("ab-1w", max_size=10), max_size=5)
)
def test_any_pattern_matches_or_is_refused(pattern, names):
    """Nothing else happens, and what matches is among the names."""
    try:
        found = Patterns(Limits()).match(pattern, names, scope=1)
    except InvalidRequestError:
        return
    assert set(found) <= set(names)


@pytest.mark.parametrize("packed", [False, True])
@given(entry=st.dictionaries(st.sampled_from(schemas.NewTask.__struct_fields__), JSON_VALUES, max_size=4))
def test_entries_with_any_values_are_refused_with_their_place(entry, packed):
    """Wrong types name the member."""
    body = msgpack.packb(entry, default=str) if packed else json.dumps(entry).encode()
    message = "location_and_parameters[7]"
    try:
        decode(body, ENTRIES[packed][0], messagepack=packed, where="location_and_parameters[7]")
    except InvalidRequestError as error:
        message = error.message
    except DartError:
        pass
    assert "location_and_parameters[7]" in message


GOOD_PIECES = ["a", "\u00e4", "\u20ac", "\U0001f600", r"\\", r"\"", r"\n", r"\u00e4", r"\ud83d\ude00", r"\/", r"\\u12"]
BAD_PIECES = ["", r"\ud83d", r"\ude00", r"\u12", r"\x", "\x01"]


@given(
    pieces=st.lists(st.sampled_from(GOOD_PIECES), max_size=40),
    bad=st.sampled_from(BAD_PIECES),
    place=st.integers(0, 40),
    piece_bytes=st.integers(13, 40),
)
@example(pieces=[r"\\"] * 20, bad="", place=0, piece_bytes=14)
def test_a_large_text_in_pieces_is_the_same_text(pieces, bad, place, piece_bytes):
    """Wherever it is cut: within characters, escapes, pairs of escapes; what is no text is refused either way."""
    body = ('"' + "".join([*pieces[:place], bad, *pieces[place:]]) + '"').encode()
    try:
        text = decode(body, msgspec.json.Decoder(str), messagepack=False)
    except DartError:
        text = None
    try:
        value = asyncio.run(large_texts.portable_text(memoryview(body), 1 << 20, piece_bytes=piece_bytes))
    except DartError:
        assert text is None
    else:
        assert values.decode(value) == text
