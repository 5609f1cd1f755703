"""Bodies with payloads: TASKS and RESULTS, where a microsecond a task counts, and pieces of blobs.

What many items of a batch have in common stands once, in a table, and items name its row.
"""

import math
import re
from typing import Any, TypeVar

from dart.ids import Attempt, AttemptRef
from dart.limits import Limits
from dart.wire.cold import CREDIT, INT32_MAX
from dart.wire.messages import Ask, Blob, BlobPiece, Lease, Named, Result, Results, Tasks
from dart.wire.payloads import Packer, Slicer
from dart.wire.schema import BYTES_32, ID_MAX, TIME_MS_MAX, Wrong, leading, listed, number, shown, text, whole

Piece = TypeVar("Piece", Blob, BlobPiece)

_tuple = tuple.__new__
_TRACEPARENT_CHARS_MAX = 255
TRACEPARENT = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""Of W3C Trace Context: version, trace, span, flags."""


def write_tasks(message: Tasks, packer: Packer, _limits: Limits) -> list[Any]:
    """`[[[job, module path, method, traceparent] ..], [[task, incarnation, number, row, timeout, frame, size] ..]]`.

    A row without a `traceparent` is written as before there was one.
    """
    rows: dict[tuple[str, ...], int] = {}
    items = []
    for lease in message.leases:
        (task_id, (incarnation, attempt)), job, module_path, method, timeout_seconds, parameter, traceparent = lease
        what = (job, module_path, method, traceparent) if traceparent else (job, module_path, method)
        row = rows.setdefault(what, len(rows))
        frame, size = packer.add(parameter)
        items.append((task_id, incarnation, attempt, row, timeout_seconds, frame, size))
    return [list(rows), items]


def read_tasks(body: Any, slicer: Slicer, limits: Limits) -> Tasks:
    """The opposite of `write_tasks`.

    Raises:
        Wrong: Something is not as specified.
    """
    table, items = leading(body, "TASKS", 2)
    rows = []
    for row in listed(table, "methods", most=limits.batch_items_max):
        job, module_path, method, *traced = leading(row, "methods", 4, appended=1)
        text(job, "job", least=1, most=limits.name_chars_max)
        text(module_path, "module_path", least=1, most=limits.module_path_chars_max)
        text(method, "method", least=1, most=limits.name_chars_max)
        traceparent = text(traced[0], "traceparent", most=_TRACEPARENT_CHARS_MAX) if traced else ""
        # One of another form is nobody's, and no harm.
        rows.append((job, module_path, method, traceparent if TRACEPARENT.fullmatch(traceparent) else ""))
    leases = []
    for item in listed(items, "leases", most=limits.batch_items_max):
        task_id, incarnation, attempt, row, timeout_seconds, frame, size = leading(item, "leases", 7)
        _check_reference(task_id, incarnation, attempt)
        _check_place(row, len(rows), frame, size)
        if type(timeout_seconds) is not float or not 0 <= timeout_seconds < math.inf:
            timeout_seconds = number(timeout_seconds, "timeout_seconds")
        ref = _tuple(AttemptRef, (task_id, _tuple(Attempt, (incarnation, attempt))))
        job, module_path, method, traceparent = rows[row]
        parameter = slicer.take(frame, size)
        leases.append(_tuple(Lease, (ref, job, module_path, method, timeout_seconds, parameter, traceparent)))
    return Tasks(tuple(leases))


def write_results(message: Results, packer: Packer, limits: Limits) -> list[Any]:
    """`[[[worker, host] ..], [result ..], credit or nil]`.

    A result: `[task, incarnation, number, row, start in ms, duration in s, success, error code, frame, size]`. One that
    names blobs has them at its end: `[[SHA-256, size] ..]`.
    """
    rows: dict[tuple[str, str], int] = {}
    items: list[tuple[Any, ...]] = []
    for ref, worker, host, start_time_ms, duration_seconds, success, error_code, payload, blobs in message.results:
        task_id, (incarnation, attempt) = ref
        row = rows.setdefault((worker, host), len(rows))
        frame, size = packer.add(payload)
        item = (task_id, incarnation, attempt, row, start_time_ms, duration_seconds, success, error_code, frame, size)
        items.append((*item, blobs) if blobs else item)
    return [list(rows), items, None if message.credit is None else CREDIT.write(message.credit, limits)]


def read_results(body: Any, slicer: Slicer, limits: Limits) -> Results:
    """The opposite of `write_results`.

    Raises:
        Wrong: Something is not as specified.
    """
    table, items, credit = leading(body, "RESULTS", 3)
    rows = []
    for row in listed(table, "origins", most=limits.batch_items_max):
        worker, host = leading(row, "origins", 2)
        rows.append(
            (text(worker, "worker", most=limits.name_chars_max), text(host, "host", most=limits.name_chars_max))
        )
    results = [
        _read_result(leading(item, "results", 11, appended=1), rows, slicer, limits)
        for item in listed(items, "results", most=limits.batch_items_max)
    ]
    return Results(tuple(results), None if credit is None else CREDIT.read(credit, "credit", limits))


def _read_result(item: list[Any], rows: list[tuple[str, str]], slicer: Slicer, limits: Limits) -> Result:
    task_id, incarnation, attempt, row, start_time_ms, duration_seconds, success, error_code, frame, size, *more = item
    _check_reference(task_id, incarnation, attempt)
    _check_place(row, len(rows), frame, size)
    if type(start_time_ms) is not int or not -TIME_MS_MAX <= start_time_ms <= TIME_MS_MAX:
        whole(start_time_ms, "start_time_ms", least=-TIME_MS_MAX, most=TIME_MS_MAX)
    if type(duration_seconds) is not float or not 0 <= duration_seconds < math.inf:
        duration_seconds = number(duration_seconds, "duration_seconds")
    if type(success) is not bool:
        raise Wrong(f"success must be true or false, not {shown(success)}")
    if type(error_code) is not int or not 0 <= error_code <= INT32_MAX:
        whole(error_code, "error_code", most=INT32_MAX)
    ref = _tuple(AttemptRef, (task_id, _tuple(Attempt, (incarnation, attempt))))
    worker, host = rows[row]
    payload = slicer.take(frame, size)
    blobs = _read_named(more[0], limits) if more else ()
    return _tuple(Result, (ref, worker, host, start_time_ms, duration_seconds, success, error_code, payload, blobs))


def _read_named(value: Any, limits: Limits) -> tuple[Named, ...]:
    named = []
    for item in listed(value, "blobs", most=limits.blobs_per_task_max):
        sha256, size = leading(item, "blobs", 2)
        named.append(Named(BYTES_32.read(sha256, "sha256", limits), whole(size, "size")))
    return tuple(named)


def _check_reference(task_id: Any, incarnation: Any, attempt: Any) -> None:
    """As `schema.reference`, for members that stand in a longer array."""
    if not (type(task_id) is type(incarnation) is type(attempt) is int) or not (
        1 <= task_id <= ID_MAX and 0 <= incarnation <= ID_MAX and 0 <= attempt <= ID_MAX
    ):
        raise Wrong("an attempt must be a task id from 1 on, an incarnation and a number")


def _check_place(row: Any, rows: int, frame: Any, size: Any) -> None:
    if not (type(row) is type(frame) is type(size) is int) or not (0 <= row < rows and frame >= 0 and size >= 0):
        raise Wrong("an item must name a row of its table, a payload frame and a size")


def write_piece(message: Blob | BlobPiece, packer: Packer, _limits: Limits) -> list[Any]:
    """`[SHA-256, offset, total, size]`, with the data as the one payload."""
    _, size = packer.add(message.data)
    return [message.sha256, message.offset, message.total, size]


def read_piece(message: type[Piece], body: Any, slicer: Slicer, limits: Limits) -> Piece:
    """The opposite of `write_piece`.

    Raises:
        Wrong: Something is not as specified.
    """
    sha256, offset, total, size = leading(body, "a piece of a blob", 4)
    return message(
        BYTES_32.read(sha256, "sha256", limits),
        whole(offset, "offset"),
        whole(total, "total"),
        slicer.take(0, whole(size, "size")),
    )


def write_ask(message: Ask, packer: Packer, _limits: Limits) -> list[Any]:
    """`[nonce, what, name, size]`, with the data as the one payload."""
    _, size = packer.add(message.data)
    return [message.nonce, message.what, message.name, size]


def read_ask(body: Any, slicer: Slicer, limits: Limits) -> Ask:
    """The opposite of `write_ask`.

    Raises:
        Wrong: Something is not as specified.
    """
    nonce, what, name, size = leading(body, "ASK", 4)
    return Ask(
        whole(nonce, "nonce", least=1),
        text(what, "what", least=1, most=limits.name_chars_max),
        text(name, "name", most=limits.name_chars_max),
        slicer.take(0, whole(size, "size")),
    )
