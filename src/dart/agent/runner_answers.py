"""The agent's side of a runner's sockets, pure: tasks to bytes, bytes to answers, output to lines."""

import math
from typing import NamedTuple

from dart.agent import runner_format as wire
from dart.ids import Attempt, AttemptRef, TaskId
from dart.wire.messages import Lease
from dart.wire.schema import TIME_MS_MAX

_BUFFER_BYTES = 64 * 1024
_TEXT_BYTES_MAX = 64 * 1024


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
    path, method, job = lease.module_path.encode(), lease.method.encode(), lease.job.encode()
    if max(len(path), len(method), len(job)) > 0xFFFF:
        return None
    size = len(lease.parameter)
    inline = size <= inline_bytes_max
    trace = lease.traceparent.encode("ascii")
    head = wire.TASK.pack(
        (0 if inline else wire.PASSED) | (wire.NAMED if named else 0) | (wire.TRACED if trace else 0),
        lease.ref.task_id,
        *lease.ref.attempt,
        len(path),
        len(method),
        len(job),
        len(blobs),
        size,
    )
    message = b"".join((head, path, method, job, blobs, trace, lease.parameter if inline else b""))
    return message if len(message) <= wire.TASK_BYTES_MAX else None


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
        while self._filled - at >= wire.ANSWER.size:
            head = wire.ANSWER.unpack_from(self._buffer, at)
            size = head[8]
            if not _can_be(head) or size > (self._payload_bytes_max if head[0] == wire.ENDED else self._text_bytes_max):
                raise BrokenStreamError
            start, end = at + wire.ANSWER.size, at + wire.ANSWER.size + size
            if end <= self._filled:
                answers.append(_answer(head, bytes(memoryview(self._buffer)[start:end])))
                at = end
            elif end - at <= _BUFFER_BYTES:
                break
            else:
                self._head, self._large = head, bytearray(size)
                self._large_filled = self._filled - start
                self._large[: self._large_filled] = self._buffer[start : self._filled]
                at = self._filled
        self._buffer[: self._filled - at] = self._buffer[at : self._filled]
        self._filled -= at
        return answers


def _can_be(head: tuple[int, ...]) -> bool:
    """Whether a runner writes such numbers. The broker takes no others, and one such result would hold up the rest."""
    kind, _, _, _, start_ms, number, _, code, _ = head
    return wire.READY <= kind <= wire.PROGRESS and (
        kind != wire.ENDED or (abs(start_ms) <= TIME_MS_MAX and 0 <= number < math.inf and code >= 0)
    )


def _answer(head: tuple[int, ...], payload: bytes) -> Answer:
    kind, task_id, incarnation, number, start_ms, value, success, code, _ = head
    ref = AttemptRef(TaskId(task_id), Attempt(incarnation, number))
    return Answer(kind, ref, start_ms, value, bool(success), code, payload)
