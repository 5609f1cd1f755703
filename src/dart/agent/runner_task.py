"""What a task knows of itself and can tell: `import dart_task` in any module that a worker runs.

    task_id, attempt, job     of the running task (integers, text)
    traceparent               what it belongs to, for those who trace (W3C Trace Context); empty: nothing
    worker, host              names of this worker and of its host
    progress(fraction, text)  how far it is; seen in the task list and the event stream
    log(text)                 a line for the worker's log
    cancelled()               whether to stop; see there
    open_blob(reference)      a blob that the parameter names, as a file
    shared_memory()           memory that all slots of this agent share

The first four have a value while a task runs, and are read as `dart_task.task_id`, not with `from`.
Nothing has to be installed for it. Standard library only, Python 3.9 or later.
"""

from __future__ import annotations

import _thread
import io
import os
import time

TYPE_CHECKING = False  # importing `typing` would cost every runner memory
if TYPE_CHECKING:
    from typing import Any

__all__ = ["cancelled", "host", "log", "open_blob", "progress", "shared_memory", "worker"]
__all__ += ["attempt", "job", "task_id", "traceparent"]  # noqa: F822 - these are found by __getattr__

worker = ""
host = ""

_PROGRESS_SECONDS = 0.1  # reports of a runner are at least so far apart
_WHOLE_BYTES_MAX = 65536  # smaller answers are put together, so that they leave in one call


class Channel:
    """The socket to the agent: one message at a time, from whichever thread."""

    def __init__(self, answers: Any, wire: Any) -> None:
        self.process = os.getpid()
        self._lock = _thread.allocate_lock()
        self._sendall = answers.sendall
        self._socket = answers  # it would close with its last name
        self._pack = wire.ANSWER.pack
        self._progress = wire.PROGRESS

    def send(  # noqa: PLR0917 - called once a task, so names would be felt
        self,
        kind: int,
        reference: tuple[int, int, int],
        start_ms: int,
        number: float,
        success: int,
        code: int,
        payload: bytes,
    ) -> None:
        """Write one answer at once."""
        head = self._pack(kind, *reference, start_ms, number, success, code, len(payload))
        with self._lock:
            if len(payload) < _WHOLE_BYTES_MAX:
                self._sendall(head + payload)
            else:
                self._sendall(head)
                self._sendall(payload)

    def report(self, reference: tuple[int, int, int], fraction: float, text: bytes) -> None:
        """Write a report, unless its task has ended meanwhile."""
        head = self._pack(self._progress, *reference, 0, fraction, 1, 0, len(text))
        with self._lock:
            if _State.reference is reference:
                self._sendall(head + text)


class _State:
    """Of this runner: its task, that task's reports, and what was lent to it."""

    channel: Channel | None = None
    reference: tuple[int, int, int] | None = None
    job = b""
    traceparent = b""
    blobs: Any = None
    pending: tuple[tuple[int, int, int], float, bytes] | None = None
    reported = 0.0
    text_chars_max = 1000
    watching: Any = None
    stop_asked = False
    shared = -1
    shared_bytes = 0
    memory: Any = None


def bind(channel: Channel, **facts: Any) -> None:
    """Join this module to its runner: `worker`, `host`, `shared`, `shared_bytes`, `text_chars_max`."""
    globals().update(worker=facts["worker"], host=facts["host"])
    _State.channel = channel
    _State.shared = facts["shared"]
    _State.shared_bytes = facts["shared_bytes"]
    _State.text_chars_max = facts["text_chars_max"]


def begin(reference: tuple[int, int, int], job: bytes, blobs: Any = None, traceparent: bytes = b"") -> None:
    """A task begins: its id, incarnation and attempt number, its job's name, what came along, what it belongs to."""
    _State.job = job
    _State.traceparent = traceparent
    _State.blobs = blobs
    _State.reference = reference


def end() -> bool:
    """It ended; reports that were held back are void. True if it had been asked to stop."""
    _State.reference = _State.blobs = None
    if _State.watching is not None:
        import signal  # noqa: PLC0415 - the task has loaded it

        signal.signal(signal.SIGTERM, _State.watching)
        _State.watching = None
    return _State.stop_asked


def __getattr__(name: str) -> Any:
    if name not in {"task_id", "attempt", "job", "traceparent"}:
        raise AttributeError(f"dart_task has no {name!r}; it offers {', '.join(sorted(__all__))}.")
    reference = _State.reference
    if reference is None:
        raise AttributeError(f"dart_task.{name} has a value only while a task runs.")
    if name == "traceparent":
        return _State.traceparent.decode("ascii")
    if name == "job":
        return _State.job.decode("utf-8", "replace")
    return reference[0] if name == "task_id" else reference[2]


def progress(fraction: float, text: str = "") -> None:
    """Tell how far the running task is: 0.0 to 1.0, and a few words.

    As often as you like: at most ten a second are sent, and the last one always. From threads too; in child
    processes it does nothing.

    Raises:
        ValueError: `fraction` is not a number. Smaller or larger ones are cut to 0.0 and 1.0.
    """
    fraction = float(fraction)
    if fraction != fraction:  # noqa: PLR0124 - NaN
        raise ValueError("progress takes a fraction from 0.0 to 1.0, not NaN.")
    channel = _State.channel
    reference = _State.reference
    if channel is None or reference is None or os.getpid() != channel.process:
        return
    words = str(text)[: _State.text_chars_max].encode("utf-8", "backslashreplace")
    waiting = _State.pending is not None
    _State.pending = (reference, min(max(fraction, 0.0), 1.0), words)
    if waiting:
        return
    seconds = _State.reported + _PROGRESS_SECONDS - time.monotonic()
    if seconds <= 0:
        _report_pending()
    else:
        # A thread for a tenth of a second, and only where reports come faster than that.
        _thread.start_new_thread(_report_later, (seconds,))


def _report_later(seconds: float) -> None:
    time.sleep(seconds)
    try:
        _report_pending()
    except OSError:
        return  # the agent is gone, and soon this process


def _report_pending() -> None:
    pending, _State.pending = _State.pending, None
    _State.reported = time.monotonic()
    if pending is not None and _State.channel is not None:
        _State.channel.report(*pending)


def log(text: object) -> None:
    """Write one line to the worker's log, also where `sys.stdout` leads elsewhere."""
    data = (str(text) + "\n").encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(1, data) :]


def cancelled() -> bool:
    """Whether this task was cancelled or ran into its time limit.

    A task that never asks is ended at once. One that has asked, from the main thread, gets the grace time (about
    a second) to clean up after this turns true; then it is killed with all that it started.
    """
    if _State.watching is None and _State.reference is not None:
        import signal  # noqa: PLC0415 - most tasks never need it

        try:
            before = signal.signal(signal.SIGTERM, _stop)
        except ValueError:
            return _State.stop_asked  # not the main thread: no signal can be watched from here
        _State.watching = signal.SIG_DFL if before is None else before
    return _State.stop_asked


def _stop(_number: int, _frame: object) -> None:
    _State.stop_asked = True


class _Blob(io.RawIOBase):
    """A blob as a file: its own place in a descriptor that others share."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._at = 0

    def readable(self) -> bool:
        """As any file's."""
        return True

    def seekable(self) -> bool:
        """As any file's."""
        return True

    def fileno(self) -> int:
        """For `mmap`; its own place is another one."""
        return self._descriptor

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As any file's."""
        start = (0, self._at, os.fstat(self._descriptor).st_size)[whence]
        if start + offset < 0:
            raise ValueError(f"there is nothing before the begin of a blob: {start + offset}")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """As any file's."""
        count = os.preadv(self._descriptor, [buffer], self._at)
        self._at += count
        return count

    def close(self) -> None:
        """As any file's."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def open_blob(reference: Any) -> io.BufferedReader:
    """A blob that the parameter of the running task names, as a file to be read: nothing of it is in memory before.

    `fileno()` is good for `mmap`. It stays open after the task until it is closed.

    Args:
        reference: The `BlobReference` as it stands in the parameter.

    Raises:
        LookupError: The parameter of the running task does not name it.
    """
    blobs = _State.blobs
    if blobs is None:
        raise LookupError("The parameter of this task names no blob.")
    try:
        return io.BufferedReader(_Blob(blobs.descriptor(reference)), 65536)
    except ValueError as error:
        raise LookupError(str(error)) from None


def shared_memory() -> memoryview | None:
    """Memory that all slots of this agent share, writable; None where the agent was started without.

    Zero at the agent's start. Who writes where is for the tasks to agree on.
    """
    if _State.shared < 0:
        return None
    if _State.memory is None:
        import mmap  # noqa: PLC0415 - most tasks never need it

        _State.memory = mmap.mmap(_State.shared, _State.shared_bytes)
    return memoryview(_State.memory)
