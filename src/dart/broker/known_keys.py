"""Which idempotency keys the store may remember, told from memory: nearly all are new, and a read costs a thread."""

from collections.abc import Iterable

_BITS = 1 << 23
_PROBES = 3


class KnownKeys:
    """Says "no" only where it is sure; at a million keys three of a hundred new ones get a "maybe".

    Two Bloom filters of 1 MiB: when `keys_max` keys went into one, it becomes the older one and the former older one
    is dropped. The store itself remembers no more than the newest `keys_max`, so those are always in one of the two.

    Args:
        keys_max: How many keys the store remembers.
    """

    def __init__(self, keys_max: int) -> None:
        self._keys_max = keys_max
        self._newer, self._older = bytearray(_BITS // 8), b""
        self._count = 0

    def add(self, keys: Iterable[str]) -> None:
        """The store has these, or will."""
        for key in keys:
            places = _places(key)
            if _has(self._newer, places):
                continue
            if self._count >= self._keys_max:
                self._older, self._newer, self._count = bytes(self._newer), bytearray(_BITS // 8), 0
            self._count += 1
            for place in places:
                self._newer[place >> 3] |= 1 << (place & 7)

    def may_have(self, key: str) -> bool:
        """False: the store does not know it."""
        places = _places(key)
        return _has(self._newer, places) or (bool(self._older) and _has(self._older, places))


def _places(key: str) -> list[int]:
    # The hash of a text has a secret of this process in it: nobody can look for keys that collide.
    first, step = hash(key), hash((key,)) | 1
    return [(first + number * step) % _BITS for number in range(_PROBES)]


def _has(bits: bytes | bytearray, places: list[int]) -> bool:
    return all(bits[place >> 3] & 1 << (place & 7) for place in places)
