"""What the tasks of one runner read from the cache of blobs, and write into it: one blob at a time."""

import os
from collections.abc import Callable, Container

from dart.agent import runner_format as wire
from dart.agent.blob_cache import BlobCache
from dart.agent.made_blobs import Missing
from dart.agent.runner_answers import Answer, BrokenStreamError
from dart.errors import TaskErrorCode
from dart.ids import AttemptRef

_HASH_BYTES = 32


class RunnerBlobs:
    """Between a runner and the cache.

    Args:
        cache: None: there is none.
        reply: Tells the runner what became of its question: a descriptor, an error, or None.
    """

    def __init__(self, cache: BlobCache | None, reply: Callable[[int | Missing | None], None]) -> None:
        self._cache = cache
        self._reply = reply
        self._room = 0
        """Number of the file that its task writes; 0: none."""
        self._asked = False
        """A question is not answered yet; no runner asks another then."""
        self._closed = False

    def open(self, sha256: bytes) -> int:
        """A descriptor of a blob, to read; the caller closes it. Raises `Missing`."""
        if self._cache is None:
            raise Missing(TaskErrorCode.BLOB_MISSING, "this worker keeps no blobs")
        return self._cache.open(sha256)

    def take(self, answer: Answer, given: Container[AttemptRef]) -> None:
        """Carry out ROOM or MADE, for a task that it has.

        Raises:
            BrokenStreamError: No runner asks so.
        """
        payload = answer.payload
        if self._cache is None or self._asked or answer.ref not in given or len(payload) > _HASH_BYTES:
            raise BrokenStreamError
        self._asked = True
        if answer.kind == wire.ROOM and not self._room and len(payload) == wire.SIZE.size:
            (size,) = wire.SIZE.unpack(payload)
            self._room = self._cache.room(size, self._have_room)
        elif answer.kind == wire.MADE and self._room and len(payload) in {0, _HASH_BYTES}:
            room, self._room = self._room, 0
            self._cache.make(room, answer.ref, payload, self._answer)
        else:
            raise BrokenStreamError

    def _have_room(self, outcome: int | Missing) -> None:
        if isinstance(outcome, Missing):
            self._room = 0
        self._answer(outcome)

    def _answer(self, outcome: int | Missing | None) -> None:
        self._asked = False
        if not self._closed:
            self._reply(outcome)
        elif isinstance(outcome, int):
            os.close(outcome)

    def close(self) -> None:
        """The runner is gone: what its task did not finish is thrown away."""
        self._closed = True
        if self._room and self._cache is not None:
            self._cache.drop_room(self._room)
