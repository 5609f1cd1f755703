"""The agent's side of a runner's sockets, pure: tasks to bytes, bytes to answers, output to lines."""

import math
from functools import lru_cache
from typing import NamedTuple

from dart.agent import runner_format as wire
from dart.ids import Attempt, AttemptRef, TaskId
from dart.wire.messages import Lease
from dart.wire.schema import TIME_MS_MAX

_BUFFER_BYTES = 64 * 1024
_TEXT_BYTES_MAX = 64 * 1024
_NAMES_KEPT = 64
_tuple = tuple.__new__


class Answer(NamedTuple):
    """One message of a runner."""

    kind: int
    ref: AttemptRef
    start_time_ms: int
    number: float
    """Seconds of an ended task; the fraction of a progress report."""
    success: bool
    error_code: int
    payload: bytes


class BrokenStreamError(Exception):
    """A runner wrote what no runner writes: the task has got at its descriptors."""


def task_message(lease: Lease, inline_bytes_max: int, *, named: bool = False, blobs: bytes = b"") -> bytes | None:
    """The message for a runner, with the parameter in it if that is small; None if even the names are too long.

    `named`: the owner's policy allows just this method. `blobs`: what is said of those that the parameter names.
    """
    (task_id, (incarnation, number)), job, module_path, method, _, parameter, traceparent = lease
    names, *lengths = _names(module_path, method, job)
    if max(lengths) > 0xFFFF:
        return None
    size = len(parameter)
    inline = size <= inline_bytes_max
    flags = (0 if inline else wire.PASSED) | (wire.NAMED if named else 0) | (wire.TRACED if traceparent else 0)
    head = wire.TASK.pack(flags, task_id, incarnation, number, *lengths, len(blobs), size)
    message = b"".join((head, names, blobs, traceparent.encode("ascii"), parameter if inline else b""))
    return message if len(message) <= wire.TASK_BYTES_MAX else None


@lru_cache(maxsize=_NAMES_KEPT)
def _names(*names: str) -> tuple[bytes, int, int, int]:
    """Module path, method and job as they stand in a message, and their lengths: the same for a whole job."""
    path, method, job = (name.encode() for name in names)
    return path + method + job, len(path), len(method), len(job)


def task_reference(message: bytes) -> AttemptRef:
    """Whose message this is."""
    _, task_id, incarnation, number, *_ = wire.TASK.unpack_from(message)
    return AttemptRef(TaskId(task_id), Attempt(incarnation, number))


class AnswerReader:
    """Cuts the stream of a runner into answers; large payloads are received in place.

    Args:
        payload_bytes_max: A runner that announces more is broken.
        text_bytes_max: The same of what is no result.
    """

    def __init__(self, payload_bytes_max: int, *, text_bytes_max: int = _TEXT_BYTES_MAX) -> None:
        self._payload_bytes_max = payload_bytes_max
        self._text_bytes_max = text_bytes_max
        self._buffer = bytearray(_BUFFER_BYTES)
        self._filled = 0
        self._head: tuple[int, ...] = ()
        self._large = bytearray()
        self._large_filled = 0

    def room(self) -> memoryview:
        """Where the next bytes go."""
        if self._head:
            return memoryview(self._large)[self._large_filled :]
        return memoryview(self._buffer)[self._filled :]

    def received(self, count: int) -> list[Answer]:
        """So many bytes were put into the room; the answers that are complete now.

        Raises:
            BrokenStreamError: This is not what runners write.
        """
        if self._head:
            self._large_filled += count
            if self._large_filled < len(self._large):
                return []
            answer = _answer(self._head, bytes(self._large))
            self._head, self._large = (), bytearray()
            return [answer]
        self._filled += count
        return self._cut()

    def _cut(self) -> list[Answer]:
        answers = []
        at = 0
        filled, head_bytes, unpack = self._filled, wire.ANSWER.size, wire.ANSWER.unpack_from
        received = bytes(memoryview(self._buffer)[:filled])
        while filled - at >= head_bytes:
            head = unpack(received, at)
            size = head[8]
            if not _can_be(head) or size > (self._payload_bytes_max if head[0] == wire.ENDED else self._text_bytes_max):
                raise BrokenStreamError
            start = at + head_bytes
            end = start + size
            if end <= filled:
                answers.append(_answer(head, received[start:end]))
                at = end
            elif end - at <= _BUFFER_BYTES:
                break
            else:
                self._head, self._large = head, bytearray(size)
                self._large_filled = filled - start
                self._large[: self._large_filled] = received[start:]
                at = filled
        self._buffer[: filled - at] = received[at:]
        self._filled -= at
        return answers


def _can_be(head: tuple[int, ...]) -> bool:
    """Whether a runner writes such numbers. The broker takes no others, and one such result would hold up the rest."""
    kind, _, _, _, start_ms, number, _, code, _ = head
    return wire.READY <= kind <= wire.MADE and (
        kind != wire.ENDED or (abs(start_ms) <= TIME_MS_MAX and 0 <= number < math.inf and code >= 0)
    )


def _answer(head: tuple[int, ...], payload: bytes) -> Answer:
    kind, task_id, incarnation, number, start_ms, value, success, code, _ = head
    ref = _tuple(AttemptRef, (task_id, _tuple(Attempt, (incarnation, number))))
    return _tuple(Answer, (kind, ref, start_ms, value, success != 0, code, payload))
