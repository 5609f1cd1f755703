"""The member `key` in the first bytes of a body, found without parsing the body."""

import re
from enum import Enum

import msgpack
import msgspec

_TOKEN = re.compile(
    rb'[ \t\r\n]*(?:"(?P<text>[^"\\]*(?:\\.[^"\\]*)*)"|(?P<mark>[{}\[\],:])|(?P<word>[^ \t\r\n"{}\[\],:]+))', re.DOTALL
)


class Scan(Enum):
    """What a scan says when it has no key."""

    MORE = "more"
    """The bytes end before it can be told."""
    ABSENT = "absent"
    """There is none: another shape, or the body ends without it."""


def key_in_json(start: bytes | bytearray) -> str | Scan:  # noqa: C901 - one branch a kind of token
    """The text of the top-level member `key` of a JSON object that begins so."""
    depth = 0
    position = 0
    expects_name = wanted = False
    while token := _TOKEN.match(start, position):
        position = token.end()
        mark, text = token["mark"], token["text"]
        if depth == 0:
            if mark != b"{":
                return Scan.ABSENT
            depth, expects_name = 1, True
        elif mark in (b"{", b"["):
            if wanted:
                return Scan.ABSENT
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return Scan.ABSENT
        elif depth > 1 or mark == b":":
            continue
        elif mark == b",":
            expects_name, wanted = True, False
        elif expects_name:
            expects_name, wanted = False, text == b"key"
        elif wanted:
            return _json_text(text)
    return Scan.MORE


def _json_text(text: bytes | None) -> str | Scan:
    if text is None:
        return Scan.ABSENT
    try:
        return msgspec.json.decode(b'"' + text + b'"', type=str)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Scan.ABSENT


def key_in_messagepack(start: bytes | bytearray) -> str | Scan:
    """The same for a MessagePack map."""
    reader = msgpack.Unpacker(strict_map_key=False)
    reader.feed(start)
    try:
        for _ in range(reader.read_map_header()):
            if reader.unpack() == "key":
                key = reader.unpack()
                return key if isinstance(key, str) else Scan.ABSENT
            reader.skip()
    except msgpack.OutOfData:
        return Scan.MORE
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return Scan.ABSENT
    return Scan.ABSENT
