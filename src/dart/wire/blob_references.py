"""Which blobs an encoded value may refer to, found without decoding it.

Every reference has the same three bytes before its hash. Where they stand by chance, some hash is named that nobody
has: whoever asks for it is told so, and nothing comes of it.
"""

import re
from typing import Final

from dart.wire.messages import Buffer, Named

MARK: Final = b"\xc7\x28\x03"
"""What a reference to a blob begins with inside an encoded value: the head of an extension 3 of 40 bytes."""
HASH_BYTES: Final = 32
ENCODED: Final = 1 << 63
"""In the size of a reference: the blob is an encoded value, which stands in the reference's place."""
_REFERENCE: Final = re.compile(rb"\xc7\x28\x03(?=(.{32})(.{8}))", re.DOTALL)


def named_in(payload: bytes) -> set[bytes]:
    """Hashes that a payload may refer to."""
    found = set()
    at = payload.find(MARK)
    while at >= 0:
        found.add(bytes(payload[at + len(MARK) : at + len(MARK) + HASH_BYTES]))
        at = payload.find(MARK, at + 1)
    return found


def references_in(payload: Buffer, most: int) -> tuple[Named, ...]:
    """Blobs that a payload may refer to, each once, in order; no more than one beyond `most` are looked for."""
    if isinstance(payload, bytes) and MARK not in payload:
        return ()  # nearly all, and much faster than an expression
    found: dict[bytes, Named] = {}
    for match in _REFERENCE.finditer(payload):
        sha256 = bytes(match[1])
        found.setdefault(sha256, Named(sha256, int.from_bytes(match[2], "big") & ~ENCODED))
        if len(found) > most:
            break
    return tuple(found.values())
