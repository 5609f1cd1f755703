"""The key in a body's first bytes: what a parser finds, wherever the body is cut, or nothing."""

import json

import msgpack

from dart.rest.key_scan import Scan, key_in_json, key_in_messagepack


def seeds() -> list[bytes]:
    bodies = [
        {},
        {"key": "abc"},
        {"a": [{"key": "no"}], "key": "yes"},
        {"key": {"key": 1}},
        {"x": '\\"', "key": "\u20ac"},
    ]
    return [
        b"\x05" + b'{"key": "a", "key": "b"}',
        b"\x00" + b'{"\\u006bey": "a"}',
        *(b"\x09" + json.dumps(body).encode() for body in bodies),
        *(b"\x83" + msgpack.packb(body) for body in bodies),
    ]


class _Object:
    """What a parser finds under the name `key`, in its order."""

    def __init__(self, pairs) -> None:
        self.keys = [value if isinstance(value, str) else Scan.ABSENT for name, value in pairs if name == "key"]


def check(data: bytes) -> None:
    if not data:
        return
    kind, body = data[0], data[1:]
    is_packed = kind >= 128
    scan = key_in_messagepack if is_packed else key_in_json
    found = scan(body)
    assert isinstance(found, str | Scan)
    cut = scan(body[: len(body) * (kind & 127) // 128])
    assert cut in (found, Scan.MORE), (cut, found)
    try:
        if is_packed:
            parsed = msgpack.unpackb(body, object_pairs_hook=_Object, strict_map_key=False)
        else:
            parsed = json.loads(body.decode(), object_pairs_hook=_Object)
    except Exception:  # noqa: BLE001 - whatever two parsers raise
        # No body at all: it is refused later, whoever's key it has.
        return
    keys = parsed.keys if isinstance(parsed, _Object) else []
    if b"\\u" in body and not is_packed:
        # A name written with escapes is not looked for.
        assert found in (*keys, Scan.ABSENT), (found, keys)
    else:
        assert found == (keys or [Scan.ABSENT])[0], (found, keys)
