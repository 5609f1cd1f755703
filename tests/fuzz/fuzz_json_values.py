"""Values as JSON: whatever an agent sent is shown as JSON text, whole and in pieces, and comes back as the same."""

import json

import msgspec

from dart.errors import DartError
from dart.rest import json_values
from dart.wire import values
from fuzz import vectors
from fuzz.fuzz_values import canonical

BYTES_MAX = 1 << 20


def seeds() -> list[bytes]:
    tagged = [json.dumps(json.loads(json_values.to_json(value).data)).encode() for value in vectors.values()[::4]]
    return [*(b"\x00" + value for value in vectors.values()), *(b"\x01" + text for text in tagged)]


def _check_shown(data: bytes) -> None:
    shown = json_values.to_json(data)
    decoded = json.loads(shown.data)
    if data and (data[0] in json_values._STR_HEADS or data[0] in json_values._BIN_HEADS):
        *pieces, is_base64 = json_values.pieces_of_text(data)
        whole = b"".join(pieces)
        if data[0] in json_values._BIN_HEADS or not is_base64:
            assert (json.loads(whole), is_base64) == (decoded, shown.encoding == "base64"), (whole, shown.data)
        return
    try:
        value = values.decode(data, opaque=True)
    except values.BadValue:
        assert decoded["__dart__"] == "damaged"
        return
    if isinstance(value, values.Pickled):
        return
    try:
        again = json_values.encode_parameter(decoded, may_have_tags=True, bytes_max=BYTES_MAX)
    except DartError:
        assert _holds_pickle(value) or len(data) > json_values.LARGE_BYTES, decoded
        return
    assert _holds_pickle(value) or canonical(values.decode(again, opaque=True)) == canonical(value), (value, decoded)


def _holds_pickle(value) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, values.Pickled) or any(map(_holds_pickle, items))


def _check_parameter(text: bytes) -> None:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    try:
        data = json_values.encode_parameter(value, may_have_tags=True, bytes_max=BYTES_MAX)
    except DartError as error:
        assert error.message
        return
    values.decode(data, opaque=True)


def check(data: bytes) -> None:
    if data:
        (_check_parameter if data[0] % 2 else _check_shown)(data[1:])
