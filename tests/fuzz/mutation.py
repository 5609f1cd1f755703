"""Simple mutations of known inputs: what is done where no coverage can guide."""

import random

TELLING = (
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\xc1",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xcf" + b"\xff" * 8,
    b"\xcb\x7f\xf8" + bytes(6),
    b"\\ud800",
    b"1e999",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
    b"\n",
)
"""Ends of ranges, and what parsers like to trip over."""


class Mutations:
    """Endless inputs near the known ones, the same for the same seed."""

    def __init__(self, known: list[bytes], *, seed: int) -> None:
        self._known = known or [b""]
        self._chance = random.Random(seed)

    def next(self) -> bytes:
        chance = self._chance
        data = bytearray(chance.choice(self._known))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            at = chance.randrange(len(data) + 1)
            end = min(len(data), at + chance.choice((1, 1, 2, 4, 16)))
            what = chance.randrange(7)
            if what == 0 and data:
                data[at - 1] ^= 1 << chance.randrange(8)
            elif what == 1:
                data[at:end] = chance.choice(TELLING)
            elif what == 2:
                data[at:at] = chance.choice(TELLING)
            elif what == 3:
                del data[at:end]
            elif what == 4:
                other = chance.choice(self._known)
                start = chance.randrange(len(other) + 1)
                data[at:end] = other[start : start + chance.choice((1, 4, 16, 64))]
            elif what == 5:
                data[at:at] = data[at:end] * chance.choice((1, 2, 50))
            else:
                data[at:end] = chance.randbytes(end - at)
        return bytes(data[:8192])
