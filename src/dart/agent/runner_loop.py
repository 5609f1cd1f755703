"""The loop of a runner: take one task, run it, answer, again; standard library only, Python 3.9 or later.

Everything it uses is handed in, since nothing of DART can be imported here.
"""

from __future__ import annotations

import fcntl
import io
import os
import sys
from time import monotonic, time

TYPE_CHECKING = False  # importing `typing` would cost every runner memory
if TYPE_CHECKING:
    from typing import Any

RAISED = 0
IMPORT_FAILED = 102
REFUSED = 103
NOT_PORTABLE = 104
TOO_LARGE = 105
POLICY_REFUSED = 106
OUT_OF_MEMORY = 107
BLOB_MISSING = 109
BLOB_UNAVAILABLE = 112
"""As in `dart.errors.TaskErrorCode`; a test compares them."""

_ANY_SIZE = 1 << 62
_LARGE_BYTES = 1 << 20
"""Larger parts of a result that is too large become blobs."""
_BIN_BYTES_MAX = 1 << 32
_SMALL = frozenset({type(None), bool, int, float, str})
_NONE_UNREAD = b"\0\0\0\0"


class Output(io.FileIO):
    """The file under standard output or error; it knows whether anything was written since it was last asked."""

    written = False

    def write(self, data: Any, /) -> int:
        """As any file does."""
        Output.written = True
        return super().write(data)


def open_output() -> None:
    """Standard output and error whose lines appear as they are printed, and which take any text there is."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        buffer = io.BufferedWriter(Output(descriptor, "w", closefd=False))
        stream = io.TextIOWrapper(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


class Loop:
    """One runner's work.

    Args:
        tasks: SOCK_SEQPACKET socket: one message, one task. It is read one message at a time, so what is still in it
            has certainly not begun, and the agent can take it back.
        channel: Where answers go.
        parts: `wire`, `values`, `modules`, `task`, limits, `mark`, `unread` (number of the ioctl FIONREAD) and
            `allow_cpu` (called before each task; None: nothing to do).
    """

    def __init__(self, *, tasks: Any, channel: Any, **parts: Any) -> None:
        self._recvmsg = tasks.recvmsg
        self._tasks = tasks  # it would close with its last name
        self._channel = channel
        self._wire = parts["wire"]
        self._values = parts["values"]
        self._modules = parts["modules"]
        self._task = parts["task"]
        self._value_bytes_max = parts["value_bytes_max"]
        self._value_depth_max = parts["value_depth_max"]
        self._pickle_allowed = parts["pickle_allowed"]
        self._error_chars_max = parts["error_chars_max"]
        self._mark = parts["mark"]
        self._unread = parts["unread"]
        self._allow_cpu = parts["allow_cpu"]
        self._stdout = sys.stdout
        self._stderr = sys.stderr

    def run(self) -> None:
        """Serve until the agent closes the socket, or a task that was asked to stop has ended."""
        # `platform` knows this too, and costs half a megabyte.
        name = {"cpython": "CPython", "pypy": "PyPy"}.get(sys.implementation.name, sys.implementation.name)
        facts = f"python={sys.version.split()[0]}\nimplementation={name}"
        self._channel.send(self._wire.READY, (0, 0, 0), 0, 0.0, 1, 0, facts.encode())
        receive, bytes_max = self._recvmsg, self._wire.TASK_BYTES_MAX
        while True:
            try:
                message, ancillary, _, _ = receive(bytes_max, self._wire.DESCRIPTORS_BYTES)
            except KeyboardInterrupt:
                continue  # somebody's signal, while nothing runs here
            if not message or self._one(message, ancillary):
                return

    def _one(self, message: bytes, ancillary: list[tuple[int, int, bytes]]) -> bool:
        """Run one task and answer; true if the runner is to end."""
        wire = self._wire
        flags, task_id, incarnation, number, path_end, method_bytes, job_bytes, blob_bytes, parameter_bytes = (
            wire.TASK.unpack_from(message)
        )
        at = wire.TASK.size
        path_end += at
        method_end = path_end + method_bytes
        job_end = method_end + job_bytes
        reference = (task_id, incarnation, number)
        blobs_end = job_end + blob_bytes
        trace_end = blobs_end + (wire.TRACEPARENT_BYTES if flags & wire.TRACED else 0)
        descriptors = _descriptors(ancillary)
        passed = descriptors.pop(0) if flags & wire.PASSED else -1
        blobs = _Blobs(wire, self._values, message[job_end:blobs_end], descriptors) if blob_bytes else None
        self._task.begin(reference, message[method_end:job_end], blobs, message[blobs_end:trace_end])
        if self._allow_cpu is not None:
            self._allow_cpu()
        start, clock = time(), monotonic()
        try:
            path, method = message[at:path_end].decode(), message[path_end:method_end].decode()
            function = self._modules.find(path, method, named=bool(flags & wire.NAMED))
        except self._modules.fault as fault:
            success, code, payload = 0, fault.code, self._text(str(fault))
        except BaseException as error:  # noqa: BLE001 - also SystemExit is an outcome of the task
            success, code, payload = 0, _code(error, IMPORT_FAILED), self._text(_traceback(error))
        else:
            parameter = message[trace_end:] if passed < 0 else _mapped(passed, parameter_bytes)
            del message
            start, clock = time(), monotonic()
            success, code, payload = self._call(function, parameter, blobs)
            del parameter
        seconds = monotonic() - clock
        if os.getpid() != self._channel.process:
            os._exit(0)  # a child process that the task made and let return: the answer is not its own to give
        stop = self._task.end()
        for descriptor in (passed, *descriptors):
            _close(descriptor)
        self._flush(reference)
        self._channel.send(wire.ENDED, reference, int(start * 1000), seconds, success, code, payload)
        # Who once ran out of memory still holds it, or has it in pieces: the next task gets a fresh process.
        return bool(stop) or code == OUT_OF_MEMORY

    def _call(self, function: Any, parameter: Any, blobs: Any) -> tuple[int, int, bytes]:
        """Decode, call; success, error code and payload."""
        values = self._values
        bounds = {"depth_max": self._value_depth_max, "pickle_allowed": self._pickle_allowed}
        try:
            value = values.decode(parameter, blobs=None if blobs is None else blobs.reader(bounds), **bounds)
        except values.BlobMissing as error:
            return 0, error.code, self._text(str(error))
        except MemoryError:
            return 0, OUT_OF_MEMORY, self._text("The parameter cannot be read: not enough memory")
        except values.PickleRefused as error:
            return 0, POLICY_REFUSED, self._text(f"The policy of this worker's owner refuses the parameter: {error}")
        except values.BadValue as error:
            return 0, REFUSED, self._text(f"The parameter cannot be read: {error}")
        try:
            value = function(value)
        except BaseException as error:  # noqa: BLE001 - also SystemExit is an outcome of the task
            return 0, _code(error, RAISED), self._text(_traceback(error))
        return self._encoded(value)

    def _encoded(self, value: Any) -> tuple[int, int, bytes]:
        values = self._values
        try:
            value = _Shelf(values, self._task.put_pieces, self._value_bytes_max).shelved(value)
            payload = values.encode(value, where="result", depth_max=self._value_depth_max, bytes_max=_ANY_SIZE)
        except values.NotPortable as error:
            return 0, NOT_PORTABLE, self._text(f"The method returned what cannot be sent: {error}")
        except BaseException as error:  # noqa: BLE001 - the value's own methods may raise anything
            text = "The method returned what cannot be sent:\n" + _traceback(error)
            return 0, _code(error, NOT_PORTABLE), self._text(text)
        if len(payload) > self._value_bytes_max:
            size = f"{len(payload)} bytes; the limit value_bytes_max is {self._value_bytes_max}"
            return 0, TOO_LARGE, self._text(f"The method returned {size}.")
        return 1, 0, payload

    def _text(self, text: str) -> bytes:
        if len(text) > self._error_chars_max:
            half = self._error_chars_max // 2
            text = f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
        encoded: bytes = self._values.encode(text.encode("utf-8", "backslashreplace").decode())
        return encoded

    def _flush(self, reference: tuple[int, int, int]) -> None:
        """Send out what was printed before its result, and mark where the task's output ends."""
        try:
            self._stdout.flush()
            self._stderr.flush()
            library = sys.modules.get("ctypes")
            if library is not None:
                library.CDLL(None).fflush(None)  # what C code printed
            # What children wrote shows only if the agent has not read it yet.
            if Output.written or fcntl.ioctl(1, self._unread, _NONE_UNREAD) != _NONE_UNREAD:
                Output.written = False
                os.write(1, self._mark + self._wire.MARK.pack(*reference))
        except (AttributeError, OSError, ValueError):
            return  # the task closed its own standard output


class _Shelf:
    """Puts blobs in the place of what is large in a result that is too large as a whole."""

    def __init__(self, values: Any, put: Any, bytes_max: int) -> None:
        self._values = values
        self._put = put
        self._bytes_max = bytes_max

    def shelved(self, value: Any) -> Any:
        """The value, or one in which references stand for its large parts."""
        if type(value) in _SMALL or self._size(value, self._values.DEPTH_MAX) <= self._bytes_max:
            return value
        return self._shelve(value, self._values.DEPTH_MAX)

    def _size(self, value: Any, room: int) -> int:
        """Bytes of the large parts."""
        if isinstance(value, dict):
            return sum(self._size(item, room - 1) for item in value.values()) if room else 0
        if isinstance(value, (list, tuple)):
            return sum(self._size(item, room - 1) for item in value) if room else 0
        size = 0 if type(value) in _SMALL else _bytes_of(value)
        return size if size > _LARGE_BYTES else 0

    def _shelve(self, value: Any, room: int) -> Any:
        if isinstance(value, dict) and room:
            return {key: self._shelve(item, room - 1) for key, item in value.items()}
        if isinstance(value, (list, tuple)) and room:
            return [self._shelve(item, room - 1) for item in value]
        if type(value) in _SMALL or _bytes_of(value) <= _LARGE_BYTES:
            return value
        if isinstance(value, (bytes, bytearray)):
            head = b"\xc6" + len(value).to_bytes(4, "big")  # as it is encoded, but not copied
            return self._put([head, value], encoded=True)
        return self._put([self._values.encode(value, where="result", bytes_max=_ANY_SIZE)], encoded=True)


def _bytes_of(value: Any) -> int:
    """Of bytes and arrays; 0: it is neither."""
    if isinstance(value, (bytes, bytearray)):
        return len(value) if len(value) < _BIN_BYTES_MAX else 0
    size = getattr(value, "nbytes", 0)
    return size if isinstance(size, int) else 0


class _Blobs:
    """The blobs that came with a task: `told` in the message, and their descriptors."""

    def __init__(self, wire: Any, values: Any, told: bytes, descriptors: list[int]) -> None:
        self._values = values
        self._here: dict[bytes, int] = {}
        self._lacking: dict[bytes, tuple[int, str]] = {}
        left = iter(descriptors)
        at = 0
        while at < len(told):
            sha256, code, size = wire.BLOB.unpack_from(told, at)
            at += wire.BLOB.size + size
            if code:
                self._lacking[sha256] = (code, told[at - size : at].decode("utf-8", "replace"))
            else:
                self._here[sha256] = next(left)

    def descriptor(self, reference: Any) -> int:
        """Of a blob that is here, of the size that its reference says; raises `BlobMissing` otherwise."""
        name = f"The blob {reference.sha256.hex()}, which the parameter names, is not here: "
        descriptor = self._here.get(reference.sha256)
        if descriptor is None:
            code, reason = self._lacking.get(reference.sha256, (BLOB_MISSING, "it was not looked for"))
            raise self._values.BlobMissing(code, name + reason)
        size = os.fstat(descriptor).st_size
        if size != reference.size:
            raise self._values.BlobMissing(BLOB_MISSING, f"{name}it has {size} bytes, and not {reference.size}")
        return descriptor

    def reader(self, bounds: dict[str, Any]) -> Any:
        """For `values.decode`: the value of an encoded blob; of others the reference, if they are here."""

        def read(reference: Any) -> Any:
            descriptor = self.descriptor(reference)
            if not reference.encoded:
                return reference
            view = _mapped(descriptor, reference.size) if reference.size else b""
            return self._values.decode(view, blobs=self._refuse, **bounds)

        return read

    def _refuse(self, reference: Any) -> Any:
        text = f"A blob that the parameter names refers to another one, {reference.sha256.hex()}; only parameters may."
        raise self._values.BlobMissing(BLOB_MISSING, text)


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    return [number for _, _, data in ancillary for number in memoryview(data[: len(data) // 4 * 4]).cast("i")]


def _mapped(descriptor: int, size: int) -> Any:
    import mmap  # noqa: PLC0415 - small tasks never need it

    return memoryview(mmap.mmap(descriptor, size, prot=mmap.PROT_READ))


def _close(descriptor: int) -> None:
    if descriptor >= 0:
        try:
            os.close(descriptor)
        except OSError:
            return  # the task has closed it


def _code(error: BaseException, otherwise: int) -> int:
    if isinstance(error, MemoryError):
        return OUT_OF_MEMORY
    # A `dart_task.BlobError` brings its own; its module has another name here.
    return BLOB_UNAVAILABLE if type(error).__name__ == "BlobError" else otherwise


def _traceback(error: BaseException) -> str:
    """The traceback from the owner's first frame on."""
    try:
        import traceback  # noqa: PLC0415 - most tasks never need it

        frame = error.__traceback__
        while frame is not None and frame.tb_frame.f_code.co_filename.startswith(_OURS):
            frame = frame.tb_next
        return "".join(traceback.format_exception(type(error), error, frame)).rstrip("\n")
    except BaseException as second:  # noqa: BLE001 - memory or stack is short, or the exception is odd
        return f"{type(error).__name__} (no traceback: {type(second).__name__})"


_OURS = ("<frozen importlib", __file__, os.path.join(os.path.dirname(__file__), "runner_modules.py"))
