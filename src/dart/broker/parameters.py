"""Parameters of queued tasks: a few in memory, bounded in bytes; the rest waits in the store."""

from collections.abc import Sequence

from dart.broker.core.records import (
    JobForgotten,
    Record,
    SubmissionClosed,
    SubmissionOpened,
    TaskFinished,
    TasksAdded,
)
from dart.ids import JobId, TaskId

ENTRY_BYTES = 200
"""What an entry costs beside its parameter."""


class ParameterCache:
    """Remembers parameters from their submission until their first lease.

    When it is full nothing more comes in: what waits longest is leased first, so it is the best to keep.
    """

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._entries: dict[TaskId, tuple[JobId, bytes]] = {}
        self._submissions: dict[TaskId, TaskId] = {}
        """First and last id of those whose last slice has not come."""
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def watch(self, records: Sequence[Record]) -> None:
        """Take in what a turn adds, drop what it ends."""
        forgotten: set[JobId] = set()
        for record in records:
            if isinstance(record, TasksAdded):
                self._add(record)
            elif isinstance(record, TaskFinished):
                self._drop(record.id)
            elif isinstance(record, SubmissionOpened):
                self._submissions[record.first_id] = record.last_id
            elif isinstance(record, SubmissionClosed):
                self._close(record)
            elif isinstance(record, JobForgotten):
                forgotten.add(record.id)
        if forgotten:
            for task_id in [task_id for task_id, (job_id, _) in self._entries.items() if job_id in forgotten]:
                self._drop(task_id)

    def take(self, ids: Sequence[TaskId]) -> dict[TaskId, bytes]:
        """Those of these that are here; they are here no longer."""
        found = {}
        for task_id in ids:
            parameter = self._drop(task_id)
            if parameter is not None:
                found[task_id] = parameter
        return found

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
        self._submissions.clear()
        self.bytes = 0

    def _close(self, record: SubmissionClosed) -> None:
        last_id = self._submissions.pop(record.first_id, record.first_id)
        if not record.complete:
            for task_id in [task_id for task_id in self._entries if record.first_id <= task_id <= last_id]:
                self._drop(task_id)

    def _add(self, record: TasksAdded) -> None:
        for task_id, (_policy, _tag, parameter) in enumerate(record.rows, record.first_id):
            size = len(parameter) + ENTRY_BYTES
            if self.bytes + size > self._bytes_max:
                return
            self._entries[TaskId(task_id)] = (record.job_id, parameter)
            self.bytes += size

    def _drop(self, task_id: TaskId) -> bytes | None:
        entry = self._entries.pop(task_id, None)
        if entry is None:
            return None
        self.bytes -= len(entry[1]) + ENTRY_BYTES
        return entry[1]
