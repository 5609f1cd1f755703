"""Large parts of parameters become blobs by themselves: sent once, whatever number of tasks has them."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Callable

from dart.wire import values
from dart.wire.values import BlobReference

Sent = dict[int, tuple[Any, BlobReference]]
"""Objects by their `id`, each kept beside what stands for it."""
INLINE_BYTES_MAX = 1 << 20
"""Larger bytes and arrays become blobs, unless the client was told otherwise."""
KNOWN_SECONDS = 60.0
"""How long a blob is taken to be at the server without asking: much less than it stays there."""
KNOWN_MAX = 1000
_SMALL = frozenset({type(None), bool, int, float, str})
_DEPTH_MAX = values.DEPTH_MAX


class LargeValues:
    """What one client has sent.

    Args:
        put: Sends bytes as a blob, if the server does not have it.
        inline_bytes_max: What is larger becomes a blob; None: nothing does.
    """

    def __init__(self, put: Callable[[bytes], BlobReference], inline_bytes_max: int | None) -> None:
        self._put = put
        self._inline_bytes_max = inline_bytes_max
        self._known: OrderedDict[bytes, float] = OrderedDict()
        """By hash, until when they count as sent."""
        self._lock = threading.Lock()

    def shelve(self, value: Any, sent: Sent | None = None) -> Any:
        """A value in which references stand for what is large; the value itself, if nothing is.

        Args:
            value: Any portable value; it is not changed.
            sent: Parts of earlier values by `id`, which are the same objects with the same content still.

        Raises:
            DartError: A blob cannot be sent.
        """
        if self._inline_bytes_max is None or type(value) in _SMALL:
            return value
        return self._shelve(value, {} if sent is None else sent, _DEPTH_MAX)

    def _shelve(self, value: Any, sent: Sent, room: int) -> Any:
        if isinstance(value, dict):
            changed = self._large_items(value.items(), sent, room)
            return {**value, **changed} if changed else value
        if isinstance(value, (list, tuple)):
            changed = self._large_items(enumerate(value), sent, room)
            return [changed.get(index, item) for index, item in enumerate(value)] if changed else value
        size = _size(value)
        if self._inline_bytes_max is None or size <= self._inline_bytes_max:
            return value
        known = sent.get(id(value))
        if known is None:
            try:
                data = values.encode(value, bytes_max=1 << 62)
            except values.NotPortable:
                return value  # which whoever encodes all of it explains, with the path to it
            # The value is kept with it: its id is its own as long as it lives.
            known = sent[id(value)] = (value, self._send(data))
        return known[1]

    def _large_items(self, items: Iterable[tuple[Any, Any]], sent: Sent, room: int) -> dict[Any, Any]:
        """What is to stand in the place of items that are large or have something large in them."""
        changed: dict[Any, Any] = {}
        if room <= 0:
            return changed  # a part of itself, perhaps; whoever encodes it says so
        for key, item in items:
            if type(item) not in _SMALL:
                shelved = self._shelve(item, sent, room - 1)
                if shelved is not item:
                    changed[key] = shelved
        return changed

    def _send(self, data: bytes) -> BlobReference:
        sha256 = hashlib.sha256(data).digest()
        reference = BlobReference(sha256, len(data), encoded=True)
        with self._lock:
            if self._known.get(sha256, 0.0) > time.monotonic():
                return reference
        self._put(data)
        with self._lock:
            self._known[sha256] = time.monotonic() + KNOWN_SECONDS
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return reference


def _size(value: Any) -> int:
    """Bytes of what may become a blob; 0: it is nothing of that kind."""
    if isinstance(value, (bytes, bytearray)):
        return len(value)
    if isinstance(value, values.Array):
        return len(value.data)
    size = getattr(value, "nbytes", 0)
    return size if isinstance(size, int) else 0
