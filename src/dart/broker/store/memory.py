"""The store in memory: forgets at the end of the process. For tests, trials and `--store memory`.

The plain model of what a store means; the SQLite store is tested against it.
"""

import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from functools import singledispatchmethod
from typing import BinaryIO, NamedTuple

from dart.broker.core import records as r
from dart.broker.core.model import (
    Enrolment,
    JobConfig,
    JobStatus,
    Recovered,
    RecoveredJob,
    RecoveredLease,
    RecoveredTask,
    TaskPolicy,
    TaskState,
)
from dart.broker.store.base import FinishedTask, ResultQuery, Store
from dart.broker.store.memory_table import Table, Undo
from dart.errors import ConflictError, StoreError
from dart.ids import AgentId, JobId, LeaseId, StoreId, TaskId
from dart.limits import Limits


class _Job(NamedTuple):
    name: str
    config: JobConfig
    status: JobStatus
    defined_at_ms: int
    stopped_at_ms: int = 0


class _Task(NamedTuple):
    job_id: JobId
    policy: TaskPolicy
    tag: str
    parameter: bytes
    errors: int = 0
    losses: int = 0


class _Answer(NamedTuple):
    sequence: int
    digest: bytes
    answer: int
    expires_at_ms: int


class MemoryStore(Store):
    """See `Store`. Any thread may call.

    Attributes:
        fail_next: For tests: the next commit fails as if the disk were full.
        failing: For tests: everything that writes fails so until this is False again.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.fail_next = False
        self.failing = False
        self._limits = limits or Limits()
        self._store_id = StoreId(uuid.uuid4().hex)
        self._lock = threading.Lock()
        self._undo: Undo = []
        self._numbers: Table[str, int] = Table(self._undo)
        self._numbers.update(incarnation=0, highest_id=0, highest_sequence=0, highest_request=0)
        self._jobs: Table[JobId, _Job] = Table(self._undo)
        self._job_ids: Table[str, JobId] = Table(self._undo)
        self._tasks: Table[TaskId, _Task] = Table(self._undo)
        self._submissions: Table[TaskId, TaskId] = Table(self._undo)
        self._tallies: Table[JobId, Table[tuple[str, TaskState], int]] = Table(self._undo)
        self._outcomes: Table[JobId, Table[int, FinishedTask]] = Table(self._undo)
        self._outcome_sequences: Table[tuple[JobId, TaskId], int] = Table(self._undo)
        self._leases: Table[LeaseId, RecoveredLease] = Table(self._undo)
        self._enrolments: Table[AgentId, Enrolment] = Table(self._undo)
        self._answers: Table[str, _Answer] = Table(self._undo)
        self._answer_keys: Table[int, str] = Table(self._undo)

    def recover(self, *, forget_jobs: bool = False) -> Recovered:
        """See `Store.recover`."""
        with self._lock:
            self._refuse_if_failing()
            if forget_jobs:
                self._forget_jobs()
            for first_id, last_id in self._submissions.items():
                self._void(first_id, last_id)
            self._submissions.clear()
            self._numbers["incarnation"] += 1
        return self.look()

    def look(self) -> Recovered:
        """See `Store.look`."""
        with self._lock:
            unfinished = [range(first, last + 1) for first, last in self._submissions.items()]
            return Recovered(
                store_id=self._store_id,
                incarnation=self._numbers["incarnation"],
                highest_id=self._numbers["highest_id"],
                jobs=tuple(
                    RecoveredJob(job_id, *job[:4], dict(self._tallies[job_id]), job.stopped_at_ms)
                    for job_id, job in sorted(self._jobs.items())
                ),
                tasks=tuple(
                    RecoveredTask(
                        id=task_id,
                        job_id=task.job_id,
                        policy=task.policy,
                        tag=task.tag,
                        parameter_bytes=len(task.parameter),
                        errors=task.errors,
                        losses=task.losses,
                    )
                    for task_id, task in sorted(self._tasks.items())
                    if not any(task_id in ids for ids in unfinished)
                ),
                leases=tuple(lease for _, lease in sorted(self._leases.items())),
                enrolments=tuple(enrolment for _, enrolment in sorted(self._enrolments.items())),
            )

    def backup(self, stop: threading.Event) -> BinaryIO:  # noqa: ARG002 - never begun, so never stopped
        """See `Store.backup`."""
        raise ConflictError(
            "This server keeps everything in memory (--store memory): there is nothing to back up. Start it with "
            "--store sqlite."
        )

    def commit(self, records: Sequence[r.Record]) -> None:
        """See `Store.commit`."""
        with self._lock:
            self._undo.clear()
            try:
                for record in records:
                    self._apply(record)
                self._refuse_if_failing()
            except BaseException:
                while self._undo:
                    self._undo.pop()()
                for outcomes in self._outcomes.values():
                    outcomes.restore_order()
                raise

    def room(self) -> int:
        """See `Store.room`."""
        return sys.maxsize

    def probe(self) -> None:
        """See `Store.probe`."""
        self._refuse_if_failing()

    def parameters(self, ids: Sequence[TaskId]) -> dict[TaskId, bytes]:
        """See `Store.parameters`."""
        with self._lock:
            return {task_id: self._tasks[task_id].parameter for task_id in ids if task_id in self._tasks}

    def results(self, query: ResultQuery) -> list[FinishedTask]:
        """See `Store.results`; here the cost grows with all that came after `after`."""
        with self._lock:
            taken: list[FinishedTask] = []
            payload_bytes = 0
            for outcome in self._recorded_after(query.job_id, query.after):
                if outcome.state == TaskState.CANCELLED:
                    continue
                if query.workers is not None and outcome.worker not in query.workers:
                    continue
                taken.append(outcome)
                payload_bytes += len(outcome.payload)
                if len(taken) >= query.amount or payload_bytes >= query.bytes_max:
                    break
            return taken

    def latest_sequence(self) -> int:
        """See `Store.latest_sequence`."""
        with self._lock:
            return self._numbers["highest_sequence"]

    def results_of(self, job_id: JobId, ids: Sequence[TaskId]) -> list[FinishedTask]:
        """See `Store.results_of`."""
        with self._lock:
            keys = [(job_id, task_id) for task_id in ids]
            return [
                self._outcomes[job_id][self._outcome_sequences[key]] for key in keys if key in self._outcome_sequences
            ]

    def finished_tasks(
        self, job_id: JobId, *, after: int, amount: int, states: frozenset[TaskState]
    ) -> list[FinishedTask]:
        """See `Store.finished_tasks`; here the cost grows with all outcomes of the job."""
        with self._lock:
            matching = [
                outcome._replace(payload=b"")
                for outcome in self._outcomes.get(job_id, {}).values()
                if outcome.id > after and outcome.state in states
            ]
            return sorted(matching, key=lambda outcome: outcome.id)[:amount]

    def answer(self, key: str, now_ms: int) -> tuple[bytes, int] | None:
        """See `Store.answer`."""
        with self._lock:
            found = self._answers.get(key)
            return None if found is None or found.expires_at_ms <= now_ms else (found.digest, found.answer)

    def close(self) -> None:
        """See `Store.close`; what it holds stays readable, since tests look at it afterwards."""

    def _refuse_if_failing(self) -> None:
        if self.fail_next or self.failing:
            self.fail_next = False
            raise StoreError("The store in memory cannot write: a failure was planted. Take it away.")

    def _raise_highest_id(self, last_id: int) -> None:
        self._numbers.put("highest_id", max(self._numbers["highest_id"], last_id))

    def _next(self, number: str) -> int:
        self._numbers.put(number, self._numbers[number] + 1)
        return self._numbers[number]

    def _recorded_after(self, job_id: JobId, sequence: int) -> Iterator[FinishedTask]:
        """Oldest first; sought from the newest, since whoever polls has seen the older ones."""
        outcomes: dict[int, FinishedTask] = self._outcomes.get(job_id, {})
        newer = []
        for key in reversed(outcomes):
            if key <= sequence:
                break
            newer.append(key)
        return (outcomes[key] for key in reversed(newer))

    def _forget_jobs(self) -> None:
        for table in (
            self._jobs,
            self._job_ids,
            self._tasks,
            self._submissions,
            self._tallies,
            self._outcomes,
            self._outcome_sequences,
            self._leases,
            self._answers,
            self._answer_keys,
        ):
            table.clear()

    def _void(self, first_id: TaskId, last_id: TaskId) -> None:
        for task_id in [task_id for task_id in self._tasks if first_id <= task_id <= last_id]:
            self._tasks.drop(task_id)

    @singledispatchmethod
    def _apply(self, record: r.Record) -> None:
        raise TypeError(f"No record: {record!r}")

    @_apply.register
    def _(self, record: r.JobAdded) -> None:
        self._jobs.add(record.id, _Job(record.name, record.config, JobStatus.RUNNING, record.defined_at_ms))
        self._job_ids.add(record.name, record.id)
        self._tallies.add(record.id, Table(self._undo))
        self._outcomes.add(record.id, Table(self._undo))
        self._raise_highest_id(record.id)

    @_apply.register
    def _(self, record: r.JobStatusSet) -> None:
        if record.id in self._jobs:
            job = self._jobs[record.id]._replace(status=record.status, stopped_at_ms=record.at_ms)
            self._jobs.put(record.id, job)

    @_apply.register
    def _(self, record: r.JobForgotten) -> None:
        if record.id not in self._jobs:
            return
        for task_id in [task_id for task_id, task in self._tasks.items() if task.job_id == record.id]:
            self._tasks.drop(task_id)
        for outcome in self._outcomes[record.id].values():
            self._outcome_sequences.drop((record.id, outcome.id))
        self._job_ids.drop(self._jobs[record.id].name)
        for table in (self._jobs, self._tallies, self._outcomes):
            table.drop(record.id)

    @_apply.register
    def _(self, record: r.TasksAdded) -> None:
        self._raise_highest_id(record.first_id + len(record.rows) - 1)
        if record.job_id in self._jobs:
            for task_id, row in enumerate(record.rows, record.first_id):
                self._tasks.add(TaskId(task_id), _Task(record.job_id, *row))

    @_apply.register
    def _(self, record: r.SubmissionOpened) -> None:
        self._submissions.add(record.first_id, record.last_id)
        self._raise_highest_id(record.last_id)

    @_apply.register
    def _(self, record: r.SubmissionClosed) -> None:
        if record.first_id in self._submissions:
            if not record.complete:
                self._void(record.first_id, self._submissions[record.first_id])
            self._submissions.drop(record.first_id)

    @_apply.register
    def _(self, record: r.TaskFinished) -> None:
        task = self._tasks.get(record.id)
        if task is None or task.job_id != record.job_id:
            return
        self._tasks.drop(record.id)
        tally = self._tallies[record.job_id]
        tally.put((record.worker, record.state), tally.get((record.worker, record.state), 0) + 1)
        sequence = self._next("highest_sequence")
        self._outcome_sequences.add((record.job_id, record.id), sequence)
        outcome = FinishedTask(
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
        self._outcomes[record.job_id].add(sequence, outcome)

    @_apply.register
    def _(self, record: r.AttemptsCounted) -> None:
        if record.id in self._tasks:
            task = self._tasks[record.id]._replace(errors=record.errors, losses=record.losses)
            self._tasks.put(record.id, task)

    @_apply.register
    def _(self, record: r.ResultForgotten) -> None:
        self._forget(record.job_id, record.id)

    @_apply.register
    def _(self, record: r.ResultsBounded) -> None:
        outcomes: dict[int, FinishedTask] = self._outcomes.get(record.job_id, {})
        results = [outcome for outcome in outcomes.values() if outcome.state != TaskState.CANCELLED]
        amount, payload_bytes = len(results), sum(len(outcome.payload) for outcome in results)
        gone = [
            outcome
            for outcome in outcomes.values()
            if outcome.state == TaskState.CANCELLED and outcome.finished_at_ms < record.before_ms
        ]
        for outcome in results:
            many = record.results and amount > record.results
            large = record.payload_bytes and payload_bytes > record.payload_bytes
            if not (many or large or outcome.finished_at_ms < record.before_ms):
                break
            gone.append(outcome)
            amount -= 1
            payload_bytes -= len(outcome.payload)
        for outcome in gone:
            self._forget(record.job_id, outcome.id)

    def _forget(self, job_id: JobId, task_id: TaskId) -> None:
        sequence = self._outcome_sequences.get((job_id, task_id))
        if sequence is not None:
            self._outcome_sequences.drop((job_id, task_id))
            self._outcomes[job_id].drop(sequence)

    @_apply.register
    def _(self, record: r.LeaseAdded) -> None:
        self._leases.add(record.lease_id, RecoveredLease(record.lease_id, record.agent_id, record.attempts))

    @_apply.register
    def _(self, record: r.LeasesClosed) -> None:
        for lease_id in record.lease_ids:
            self._leases.drop(lease_id)

    @_apply.register
    def _(self, record: r.EnrolmentAdded) -> None:
        self._enrolments.put(record.enrolment.agent_id, record.enrolment)

    @_apply.register
    def _(self, record: r.RequestAnswered) -> None:
        key, digest, expires_at_ms = record.idempotency
        known = self._answers.get(key)
        if known is not None:
            self._answer_keys.drop(known.sequence)
        sequence = self._next("highest_request")
        self._answers.put(key, _Answer(sequence, digest, record.answer, expires_at_ms))
        self._answer_keys.put(sequence, key)
        too_old = sequence - self._limits.idempotency_keys_max
        if too_old in self._answer_keys:
            self._answers.drop(self._answer_keys[too_old])
            self._answer_keys.drop(too_old)
