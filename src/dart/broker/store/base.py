"""The store's interface. Every implementation passes `tests/*/store_contract.py`.

Constraints:
    - `commit` MUST apply a group as a whole or not at all, and MUST NOT return before it is durable.
    - One thread commits; one other thread reads at the same time. Reads see whole groups only, each as of its call.
    - A store MUST NOT be open twice; the second opening MUST fail with `StoreError`.
    - Records that name what is not there (a job forgotten, a task finished) MUST be no error and bring nothing back;
      records that add what is there already MUST fail the group.
    - What cannot be read MUST raise `StoreError`; a store is never silently started empty.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

from dart.broker.core.access import AuditRow
from dart.broker.core.model import Recovered, TaskState
from dart.broker.core.records import Record, TaskFinished
from dart.ids import JobId, TaskId


class ResultQuery(NamedTuple):
    """Which results, oldest first."""

    job_id: JobId
    workers: tuple[str, ...] | None
    """Only of these workers; None: all."""
    after: int
    """Only with a greater `sequence`; 0: from the beginning."""
    amount: int
    """At most so many rows, at least 1."""
    bytes_max: int
    """No further row once payloads reach this; the first row comes whatever its size."""


class FinishedTask(NamedTuple):
    """A recorded outcome."""

    sequence: int
    """Grows with each recorded outcome, never reused: the cursor of long polls."""
    id: TaskId
    state: TaskState
    worker: str
    host: str
    location: str
    tag: str
    attempts: int
    start_time_ms: int
    duration_seconds: float
    error_code: int
    finished_at_ms: int
    payload: bytes
    """Empty where the call says that it leaves payloads out."""


def outcome_of(record: TaskFinished, sequence: int) -> FinishedTask:
    """What is told of a task whose outcome is this record; `sequence` 0: not recorded yet."""
    return FinishedTask(
        sequence=sequence,
        id=record.id,
        state=record.state,
        worker=record.worker,
        host=record.host,
        location=record.location,
        tag=record.tag,
        attempts=record.attempts,
        start_time_ms=record.start_time_ms,
        duration_seconds=record.duration_seconds,
        error_code=record.error_code,
        finished_at_ms=record.finished_at_ms,
        payload=record.payload,
    )


class Store(ABC):
    """Keeps what was promised.

    Attributes:
        untidy: Whether the last group left something of what was forgotten, which goes with the groups that follow,
            also with empty ones.
    """

    untidy = False

    @abstractmethod
    def recover(self, *, forget_jobs: bool = False) -> Recovered:
        """Raise the incarnation, void unfinished submissions, and tell all that is known.

        Called once after opening and again after a failed commit. With `forget_jobs` all jobs, tasks, outcomes and
        leases are deleted first, and the answers that told of them; the highest id, enrolments, keys, tokens and the
        audit stay.
        """

    @abstractmethod
    def look(self) -> Recovered:
        """What `recover` would tell, without changing anything: to read by while nothing can be written.

        Belongs to the reading thread. The incarnation is the present one.
        """

    @abstractmethod
    def backup(self, stop: threading.Event) -> BinaryIO:
        """A copy of everything as of one moment, as an open file without a name. Any thread; the others go on.

        Raises `UnavailableError` when `stop` is set meanwhile, `ConflictError` where there is nothing to keep,
        `StoreError` if it cannot be made.
        """

    @abstractmethod
    def commit(self, records: Sequence[Record]) -> None:
        """Make a group durable. Raises `StoreError` and changes nothing if it cannot."""

    def settle(self) -> None:  # noqa: B027 - most stores have nothing to settle
        """Do what a commit left for later; it was told of, and the next one waits only for this. Same thread."""

    @abstractmethod
    def parameters(self, ids: Sequence[TaskId]) -> dict[TaskId, bytes]:
        """Parameters of those of these tasks that are open."""

    @abstractmethod
    def results(self, query: ResultQuery) -> list[FinishedTask]:
        """Results (SUCCEEDED, FAILED, EXPIRED, LOST; never CANCELLED) with payloads. Cost: the rows given, no more."""

    @abstractmethod
    def named_blobs(self) -> set[bytes]:
        """SHA-256 of all blobs that open tasks, results or definitions of jobs may refer to."""

    @abstractmethod
    def latest_sequence(self) -> int:
        """A cursor: all outcomes recorded so far have at most this `sequence`, all later ones a greater one."""

    @abstractmethod
    def results_of(self, job_id: JobId, ids: Sequence[TaskId]) -> list[FinishedTask]:
        """Recorded outcomes of these tasks, CANCELLED included, with payloads, in the order of the ids."""

    @abstractmethod
    def finished_tasks(
        self, job_id: JobId, *, after: int, amount: int, states: frozenset[TaskState]
    ) -> list[FinishedTask]:
        """Finished tasks by id, those with an id above `after`, of these final states, without payloads."""

    @abstractmethod
    def answer(self, key: str, now_ms: int) -> tuple[bytes, int] | None:
        """Digest and answer remembered for this idempotency key, unless expired."""

    @abstractmethod
    def answered_keys(self, after: int, amount: int) -> list[tuple[int, str]]:
        """At most so many remembered idempotency keys by their running numbers, those above `after`."""

    @abstractmethod
    def audit(self, *, after: int, amount: int, newest_first: bool = False) -> list[AuditRow]:
        """At most so many entries, those beyond the cursor `after` in the order asked; 0: from the first in that order.

        Newest first, that is those with a smaller sequence.
        """

    @abstractmethod
    def probe(self) -> None:
        """Write something small durably; raises `StoreError` while writing fails, or soon would again."""

    @abstractmethod
    def room(self) -> int:
        """Bytes that can still be written. Any thread."""

    @abstractmethod
    def close(self) -> None:
        """Flush and release; harmless when repeated."""
