"""Large JSON texts as portable values, a piece at a time: in one go, a model of an old program would hold the loop."""

import asyncio
import re
import struct
from typing import Final

import msgspec

from dart.errors import ValueNotPortableError
from dart.rest.bodies import decode

PIECE_BYTES: Final = 1 << 20
_HEAD: Final = struct.Struct(">BI")
_STR32: Final = 0xDB
_text = msgspec.json.Decoder(str)
_BEGUN: Final = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
"""An escape that goes on in the next piece."""
_FIRST_HALF: Final = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
"""Of a pair of escapes; it means nothing without the second."""


async def portable_text(data: memoryview, bytes_max: int, *, piece_bytes: int = PIECE_BYTES) -> bytes:
    """A JSON text with its quotes, of at least 512 KiB, as a portable value.

    Raises:
        MalformedError: An escape that is none, or no UTF-8.
        ValueNotPortableError: Larger than allowed.
    """
    # 64 KiB and more of UTF-8 remain, whatever is escaped: this head is the shortest.
    value = bytearray(_HEAD.size)
    position, end = 1, data.nbytes - 1
    while position < end:
        cut = min(position + piece_bytes, end)
        if cut < end:
            cut -= _overhang(bytes(data[position:cut]), data[cut])
        text: str = decode(b'"%b"' % bytes(data[position:cut]), _text, messagepack=False)
        value += text.encode()
        if len(value) - _HEAD.size > bytes_max:
            raise ValueNotPortableError(
                f"parameter: more than {bytes_max} bytes when encoded, which are allowed.", field="parameter"
            )
        position = cut
        await asyncio.sleep(0)
    _HEAD.pack_into(value, 0, _STR32, len(value) - _HEAD.size)
    return bytes(value)


def _overhang(piece: bytes, following: int) -> int:
    """How many bytes at the end of a piece belong to what goes on in the next one."""
    taken = len(piece)
    while following & 0xC0 == 0x80 and len(piece) - taken < 3:
        # Within a character, which has at most three such bytes; the decoder complains of more.
        taken -= 1
        following = piece[taken]
    for unfinished in (_BEGUN, _FIRST_HALF):
        found = unfinished.search(piece[:taken], max(0, taken - 6))
        if found and _is_escape(piece, found.start()):
            taken = found.start()
    return len(piece) - taken


def _is_escape(piece: bytes, place: int) -> bool:
    """Whether the backslash here, the last of a row of them, begins an escape rather than ending one."""
    before = piece[: place + 1]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 1
