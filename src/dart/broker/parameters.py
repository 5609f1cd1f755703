"""Parameters of queued tasks: a few in memory, bounded in bytes; the rest waits in the store.

Ids follow one another, so the entries of 64 neighbours share a page: 16 bytes each beside the parameter itself, where
an entry of a dictionary and what it would refer to take 200.
"""

from collections.abc import Iterator, Sequence

from dart.broker.core.records import (
    JobForgotten,
    Record,
    SubmissionClosed,
    SubmissionOpened,
    TaskFinished,
    TasksAdded,
)
from dart.ids import JobId, TaskId

PAGE_TASKS = 64
PAGE_BYTES = 400
"""What a page costs beside its entries."""
ENTRY_BYTES = 64
"""What an entry costs beside the bytes of its parameter."""


class _Page:
    """Tasks whose ids agree but for the last six bits."""

    __slots__ = ("jobs", "left", "parameters")

    def __init__(self) -> None:
        self.parameters: list[bytes | None] = [None] * PAGE_TASKS
        self.jobs: list[JobId | None] = [None] * PAGE_TASKS
        self.left = 0


class ParameterCache:
    """Remembers parameters from their submission until their first lease.

    When it is full nothing more comes in: what waits longest is leased first, so it is the best to keep.
    """

    def __init__(self, *, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._pages: dict[int, _Page] = {}
        self._submissions: dict[TaskId, TaskId] = {}
        """First and last id of those whose last slice has not come."""
        self.bytes = 0

    def __len__(self) -> int:
        return sum(page.left for page in self._pages.values())

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
            self._drop_all([task_id for task_id, job_id in self._entries() if job_id in forgotten])

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
        self._pages.clear()
        self._submissions.clear()
        self.bytes = 0

    def _close(self, record: SubmissionClosed) -> None:
        last_id = self._submissions.pop(record.first_id, record.first_id)
        if not record.complete:
            self._drop_all([task_id for task_id, _ in self._entries() if record.first_id <= task_id <= last_id])

    def _entries(self) -> Iterator[tuple[int, JobId]]:
        for number, page in self._pages.items():
            for place, job_id in enumerate(page.jobs):
                if job_id is not None:
                    yield number * PAGE_TASKS + place, job_id

    def _add(self, record: TasksAdded) -> None:
        pages, job_id = self._pages, record.job_id
        for task_id, (_policy, _tag, parameter) in enumerate(record.rows, record.first_id):
            number, place = divmod(task_id, PAGE_TASKS)
            page = pages.get(number)
            size = len(parameter) + ENTRY_BYTES + (0 if page else PAGE_BYTES)
            if self.bytes + size > self._bytes_max:
                return
            if page is None:
                page = pages[number] = _Page()
            page.parameters[place] = parameter
            page.jobs[place] = job_id
            page.left += 1
            self.bytes += size

    def _drop_all(self, ids: Sequence[int]) -> None:
        for task_id in ids:
            self._drop(task_id)

    def _drop(self, task_id: int) -> bytes | None:
        number, place = divmod(task_id, PAGE_TASKS)
        page = self._pages.get(number)
        if page is None:
            return None
        parameter = page.parameters[place]
        if parameter is None:
            return None
        page.parameters[place] = page.jobs[place] = None
        page.left -= 1
        self.bytes -= len(parameter) + ENTRY_BYTES
        if not page.left:
            del self._pages[number]
            self.bytes -= PAGE_BYTES
        return parameter
