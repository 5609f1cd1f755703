"""The tables of the store in memory, and what each record does to them."""

from functools import singledispatchmethod
from typing import NamedTuple

from dart.broker.core import records as r
from dart.broker.core.model import JobConfig, JobStatus, RecoveredLease, TaskPolicy, TaskState
from dart.broker.store.base import FinishedTask, outcome_of
from dart.broker.store.memory_access import AccessTables
from dart.broker.store.memory_table import Table, Undo
from dart.ids import JobId, LeaseId, TaskId
from dart.limits import Limits


class _Job(NamedTuple):
    name: str
    config: JobConfig
    status: JobStatus
    defined_at_ms: int
    stopped_at_ms: int = 0
    doomed_through: int = 0


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


class MemoryRecords:
    """Everything that `MemoryStore` holds; changes are noted in the undo list until it is emptied."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
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
        self._answers: Table[str, _Answer] = Table(self._undo)
        self._answer_keys: Table[int, str] = Table(self._undo)
        self._access = AccessTables(self._undo, limits)

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

    def _raise_highest_id(self, last_id: int) -> None:
        self._numbers.put("highest_id", max(self._numbers["highest_id"], last_id))

    def _next(self, number: str) -> int:
        self._numbers.put(number, self._numbers[number] + 1)
        return self._numbers[number]

    @singledispatchmethod
    def _apply(self, record: r.Record) -> None:
        self._access.apply(record)

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
    def _(self, record: r.TasksDoomed) -> None:
        if record.job_id in self._jobs:
            self._jobs.put(record.job_id, self._jobs[record.job_id]._replace(doomed_through=record.last_id))

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
        self._outcomes[record.job_id].add(sequence, outcome_of(record, sequence))

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
