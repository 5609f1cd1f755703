"""The store in memory: forgets at the end of the process. For tests, trials and `--store memory`.

The plain model of what a store means; the SQLite store is tested against it.
"""

import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from dart.broker.core import records as r
from dart.broker.core.access import AuditRow
from dart.broker.core.model import Recovered, RecoveredJob, RecoveredTask, TaskState
from dart.broker.store.base import FinishedTask, ResultQuery, Store
from dart.broker.store.memory_records import MemoryRecords
from dart.errors import ConflictError, StoreError
from dart.ids import JobId, StoreId, TaskId
from dart.limits import Limits
from dart.wire.blob_references import named_in


class MemoryStore(MemoryRecords, Store):
    """See `Store`. Any thread may call.

    Attributes:
        fail_next: For tests: the next commit fails as if the disk were full.
        failing: For tests: everything that writes fails so until this is False again.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.fail_next = False
        self.failing = False
        super().__init__(limits or Limits())
        self._store_id = StoreId(uuid.uuid4().hex)
        self._lock = threading.Lock()

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
                    RecoveredJob(job_id, *job[:4], dict(self._tallies[job_id]), job.stopped_at_ms, job.doomed_through)
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
                enrolments=self._access.all_enrolments(),
                keys=self._access.all_keys(),
                join_tokens=self._access.all_join_tokens(),
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

    def named_blobs(self) -> set[bytes]:
        """See `Store.named_blobs`."""
        with self._lock:
            payloads = [
                *(task.parameter for task in self._tasks.values()),
                *(job.config.standing.parameter for job in self._jobs.values() if job.config.standing is not None),
                *(row.payload for rows in self._outcomes.values() for row in rows.values()),
            ]
            return set().union(*map(named_in, payloads))

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

    def answered_keys(self, after: int, amount: int) -> list[tuple[int, str]]:
        """See `Store.answered_keys`."""
        with self._lock:
            return sorted((number, key) for number, key in self._answer_keys.items() if number > after)[:amount]

    def audit(self, *, after: int, amount: int, newest_first: bool = False) -> list[AuditRow]:
        """See `Store.audit`."""
        with self._lock:
            return self._access.audit(after=after, amount=amount, newest_first=newest_first)

    def close(self) -> None:
        """See `Store.close`; what it holds stays readable, since tests look at it afterwards."""

    def _refuse_if_failing(self) -> None:
        if self.fail_next or self.failing:
            self.fail_next = False
            raise StoreError("The store in memory cannot write: a failure was planted. Take it away.")

    def _recorded_after(self, job_id: JobId, sequence: int) -> Iterator[FinishedTask]:
        """Oldest first; sought from the newest, since whoever polls has seen the older ones."""
        outcomes: dict[int, FinishedTask] = self._outcomes.get(job_id, {})
        newer = []
        for key in reversed(outcomes):
            if key <= sequence:
                break
            newer.append(key)
        return (outcomes[key] for key in reversed(newer))
