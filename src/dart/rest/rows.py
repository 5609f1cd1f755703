"""Results as the contract has them, in its order of members, JSON or MessagePack."""

import asyncio
from collections.abc import Sequence

import msgspec

from dart.broker.core.model import TaskState
from dart.broker.gateway import FinishedTask
from dart.rest.json_values import is_bytes, to_json, to_messagepack

_LOOKED_AT_BYTES = 64 * 1024
"""From here on looking at values would hold the loop for milliseconds."""


class Row(msgspec.Struct, omit_defaults=True):
    """One result; exactly one of `success` and `error` is there."""

    id: str
    job: str
    host: str
    worker: str
    location: str
    start_time: int
    duration: float
    success: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    encoding: str = ""
    """`base64` where `success` is bytes that are no text, `damaged` where it stands for what is no value."""
    error_code: int = 0
    """Where it did not simply raise."""
    tag: str = ""


async def rows_of(job: str, tasks: Sequence[FinishedTask], *, messagepack: bool) -> list[Row]:
    """These outcomes of a job. For MessagePack the values are put in as they are, once looked at."""
    if messagepack and sum(len(task.payload) for task in tasks if not is_bytes(task.payload)) >= _LOOKED_AT_BYTES:
        return await asyncio.to_thread(_rows, job, tasks, messagepack=True)
    return _rows(job, tasks, messagepack=messagepack)


def _rows(job: str, tasks: Sequence[FinishedTask], *, messagepack: bool) -> list[Row]:
    return [row_of(job, task, messagepack=messagepack) for task in tasks]


def row_of(job: str, task: FinishedTask, *, messagepack: bool) -> Row:
    """One outcome."""
    shown = to_messagepack(task.payload or b"\xc0") if messagepack else to_json(task.payload)
    return row_with(job, task, msgspec.Raw(shown.data), shown.encoding)


def row_with(job: str, task: FinishedTask, value: msgspec.Raw, encoding: str = "") -> Row:
    """One outcome around a value that is encoded already."""
    succeeded = task.state is TaskState.SUCCEEDED
    return Row(
        str(task.id),
        job,
        task.host,
        task.worker,
        task.location,
        task.start_time_ms,
        float(task.duration_seconds),
        value if succeeded else msgspec.UNSET,
        msgspec.UNSET if succeeded else value,
        encoding,
        task.error_code,
        task.tag,
    )
