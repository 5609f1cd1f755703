"""What a task knows of itself and can tell: `import dart_task` in any module that a worker runs.

    task_id, attempt, job     of the running task (integers, text)
    traceparent               what it belongs to, for those who trace (W3C Trace Context); empty: nothing
    worker, host              names of this worker and of its host
    progress(fraction, text)  how far it is; seen in the task list and the event stream
    log(text)                 a line for the worker's log
    cancelled()               whether to stop; see there
    open_blob(reference)      a blob that the parameter names, as a file
    put_blob(source)          a file, or bytes, as a blob for what the task returns
    shared_memory()           memory that all slots of this agent share

The first four have a value while a task runs, and are read as `dart_task.task_id`, not with `from`.
Nothing has to be installed for it. Standard library only, Python 3.9 or later.
"""

from __future__ import annotations

import _thread
import io
import os
import sys
import time

TYPE_CHECKING = False  # importing `typing` would cost every runner memory
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BlobError", "cancelled", "host", "log", "open_blob", "progress", "put_blob", "shared_memory", "worker"]
__all__ += ["attempt", "job", "task_id", "traceparent"]  # noqa: F822 - these are found by __getattr__

worker = ""
host = ""

_PROGRESS_SECONDS = 0.1  # reports of a runner are at least so far apart
_PIECE_BYTES = 1 << 20
_BLOB_UNAVAILABLE = 112  # as in `dart.errors.TaskErrorCode`
_WHOLE_BYTES_MAX = 65536  # smaller answers are put together, so that they leave in one call


class BlobError(OSError):
    """This worker cannot keep a blob; `code` is the `error_code` of a task that ends with it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def _cannot_write(error: OSError) -> BlobError:
    return BlobError(_BLOB_UNAVAILABLE, f"this worker cannot write it into its cache: {error.strerror}")


def _write(descriptor: int, piece: Any) -> None:
    view = memoryview(piece)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError as error:
        raise _cannot_write(error) from None


class Channel:
    """The socket to the agent: one message at a time, from whichever thread."""

    def __init__(self, answers: Any, wire: Any) -> None:
        self.process = os.getpid()
        self._lock = _thread.allocate_lock()
        self._sendall = answers.sendall
        self._socket = answers  # it would close with its last name
        self._pack = wire.ANSWER.pack
        self._progress = wire.PROGRESS
        self._wire = wire
        self._asking = _thread.allocate_lock()

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

    def write_blob(self, reference: tuple[int, int, int], size: int, pieces: Any) -> bytes:
        """Have the agent keep a blob of this size for a task; its SHA-256.

        Raises:
            BlobError: The agent cannot keep it.
        """
        import hashlib  # noqa: PLC0415 - most tasks never need it

        digest = hashlib.sha256()
        with self._asking:
            descriptor = self._ask(self._wire.ROOM, reference, self._wire.SIZE.pack(size))
            made = b""
            try:
                for piece in pieces:
                    digest.update(piece)
                    _write(descriptor, piece)
                try:
                    os.fsync(descriptor)
                except OSError as error:
                    raise _cannot_write(error) from None
                made = digest.digest()
            finally:
                os.close(descriptor)
                if not made:
                    self._give_up(reference)
            self._ask(self._wire.MADE, reference, made)
        return made

    def _give_up(self, reference: tuple[int, int, int]) -> None:
        try:
            self._ask(self._wire.MADE, reference, b"")
        except BlobError:
            return  # which says no more than that

    def _ask(self, kind: int, reference: tuple[int, int, int], payload: bytes) -> int:
        """Ask the agent's cache, and wait; the descriptor that comes back, or -1."""
        wire = self._wire
        self.send(kind, reference, 0, 0.0, 1, 0, payload)
        head, ancillary = b"", []
        while len(head) < wire.REPLY.size:
            data, more, _, _ = self._socket.recvmsg(wire.REPLY.size - len(head), wire.DESCRIPTORS_BYTES)
            if not data:
                os._exit(0)  # the agent is gone, and so is whoever this is for
            head += data
            ancillary += more
        code, size = wire.REPLY.unpack(head)
        text = b""
        while len(text) < size:
            text += self._socket.recv(size - len(text))
        if code:
            raise BlobError(code, text.decode("utf-8", "replace"))
        return next((int.from_bytes(data[:4], sys.byteorder) for _, _, data in ancillary), -1)

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
    values: Any = None
    pending: tuple[tuple[int, int, int], float, bytes] | None = None
    reported = 0.0
    text_chars_max = 1000
    watching: Any = None
    stop_asked = False
    shared = -1
    shared_bytes = 0
    memory: Any = None


def bind(channel: Channel, **facts: Any) -> None:
    """Join this module to its runner: `worker`, `host`, `shared`, `shared_bytes`, `text_chars_max`, `values`."""
    globals().update(worker=facts["worker"], host=facts["host"])
    _State.channel = channel
    _State.shared = facts["shared"]
    _State.shared_bytes = facts["shared_bytes"]
    _State.text_chars_max = facts["text_chars_max"]
    _State.values = facts["values"]


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


def put_blob(source: Any) -> Any:
    """Keep a large value for what the running task returns: nothing of a file is in memory.

    The server fetches it from this worker before the task's result counts. It is kept if the reference stands somewhere
    in what the method returns, and thrown away otherwise.

    Args:
        source: The path of a file, or bytes and what is like them.

    Returns:
        A `BlobReference`.

    Raises:
        BlobError: This worker's cache or disk has no room. A task that lets it through ends with its code.
        OSError: The file cannot be read.
        RuntimeError: No task runs in this process.
    """
    channel, reference = _State.channel, _State.reference
    if channel is None or reference is None or os.getpid() != channel.process:
        raise RuntimeError("A blob is put by a running task, in the process that runs it.")
    if not isinstance(source, (str, os.PathLike)):
        return put_pieces([source])
    with open(source, "rb", buffering=0) as file:  # noqa: PTH123 - any path-like
        size = os.fstat(file.fileno()).st_size
        sha256 = channel.write_blob(reference, size, iter(lambda: file.read(_PIECE_BYTES), b""))
    return _State.values.BlobReference(sha256, size)


def put_pieces(buffers: Any, *, encoded: bool = False) -> Any:
    """A blob of these bytes, one after the other; `encoded`: they are a value. For the runner."""
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    size = sum(map(len, views))
    pieces = (view[at : at + _PIECE_BYTES] for view in views for at in range(0, len(view), _PIECE_BYTES))
    sha256 = _State.channel.write_blob(_State.reference, size, pieces)  # type: ignore[union-attr, arg-type]
    return _State.values.BlobReference(sha256, size, encoded=encoded)


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
