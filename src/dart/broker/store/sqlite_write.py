"""Writes one group of records into an open transaction, and clears away what was forgotten, a slice at a time."""

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, ClassVar

from dart.broker.core import records as r
from dart.broker.core.model import JobStatus
from dart.broker.store import sqlite_access, sqlite_many
from dart.broker.store.sqlite_rows import id_list, pack_attempts, pack_config, pack_policy
from dart.broker.store.sqlite_schema import CANCELLED, FINAL_STATES
from dart.broker.store.sqlite_sweep import Swept, sweep
from dart.ids import JobId
from dart.limits import Limits

_ADD_JOB = "INSERT INTO job (id, name, status, defined_at_ms, stopped_at_ms, config) VALUES (?, ?, ?, ?, 0, ?)"
_SET_STATUS = "UPDATE job SET status = ?, stopped_at_ms = ? WHERE id = ?"
_DOOM = "UPDATE job SET doomed_through = ? WHERE id = ?"
_TASK = "task (id, job_id, policy, tag, parameter)"
# One row for all of them, and one step for all rows: see `sqlite_many.py`.
_OPEN_TASKS = (
    "SELECT json_group_array(json_array(id, job_id)) FROM open_task WHERE id IN (SELECT value FROM json_each(?))"
)
_DROP_TASKS = "DELETE FROM task WHERE id IN (SELECT value FROM json_each(?))"
_ADD_TALLY = (
    "INSERT INTO tally (job_id, worker, state, n) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (job_id, worker, state) DO UPDATE SET n = n + excluded.n"
)
_COUNT_ATTEMPTS = (
    "INSERT INTO attempt_count (task_id, errors, losses)"
    " SELECT id, ?, ? FROM open_task WHERE id = ?"
    " ON CONFLICT (task_id) DO UPDATE SET errors = excluded.errors, losses = excluded.losses"
)
# The states are named so that the index, which has them before the id, leads straight to the row.
_FORGET_OUTCOME = (
    f"DELETE FROM outcome INDEXED BY outcome_of_task WHERE job_id = ? AND state IN {FINAL_STATES} AND id = ?"  # noqa: S608
    " RETURNING state, length(payload)"
)
_ADD_KEPT = (
    "INSERT INTO kept (job_id, results, payload_bytes) SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM job WHERE id = ?1)"
    " ON CONFLICT (job_id) DO UPDATE"
    " SET results = results + excluded.results, payload_bytes = payload_bytes + excluded.payload_bytes"
)
_ADD_BOUND = "INSERT OR REPLACE INTO bound SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM job WHERE id = ?1)"
_ADD_REQUEST = "INSERT OR REPLACE INTO request (key, digest, answer, expires_at_ms) VALUES (?, ?, ?, ?)"
_DROP_OLD_REQUESTS = (
    "DELETE FROM request WHERE sequence IN (SELECT sequence FROM request"
    " WHERE sequence <= (SELECT max(sequence) FROM request) - ? ORDER BY sequence LIMIT ?)"
)
_DROP_EXPIRED_REQUESTS = (
    "DELETE FROM request WHERE sequence IN (SELECT sequence FROM"
    " (SELECT sequence, expires_at_ms FROM request ORDER BY sequence LIMIT ?) WHERE expires_at_ms <= ?)"
)


class GroupWriter:
    """Writes one group, then is thrown away. Neighbours of one kind are written together, all in their order."""

    def __init__(self, connection: sqlite3.Connection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        self._highest_id, self._highest_sequence = connection.execute(
            "SELECT highest_id, highest_sequence FROM meta"
        ).fetchone()
        self._tally: Counter[tuple[JobId, str, int]] = Counter()
        self._kept: dict[JobId, tuple[int, int]] = {}
        """Results and bytes that came of each job, less those that went."""
        self._known_jobs: dict[JobId, bool] = {}

    def write(self, records: Sequence[r.Record]) -> Swept:
        """Write all of it and clear some away; the caller commits or rolls back."""
        changes_before = self._connection.total_changes
        for kind, run in groupby(records, key=type):
            write_access = sqlite_access.WRITERS.get(kind)
            if write_access is not None:
                write_access(self._connection, list(run))
            else:
                self._WRITERS[kind](self, list(run))
        self._connection.executemany(_ADD_TALLY, [(*key, n) for key, n in self._tally.items()])
        self._connection.executemany(_ADD_KEPT, [(job_id, n, size) for job_id, (n, size) in self._kept.items()])
        self._connection.execute(
            "UPDATE meta SET highest_id = ?, highest_sequence = ?", (self._highest_id, self._highest_sequence)
        )
        # As many rows as the group changed, too: what is forgotten must go faster than new comes.
        changes = self._connection.total_changes - changes_before
        return sweep(self._connection, self._limits.sweep_rows_max + changes)

    def _raise_highest_id(self, last_id: int) -> None:
        self._highest_id = max(self._highest_id, last_id)

    def _is_known(self, job_id: JobId) -> bool:
        known = self._known_jobs.get(job_id)
        if known is None:
            row = self._connection.execute("SELECT 1 FROM job WHERE id = ?", (job_id,)).fetchone()
            known = self._known_jobs[job_id] = row is not None
        return known

    def _jobs_added(self, run: list[r.JobAdded]) -> None:
        self._connection.executemany(
            _ADD_JOB,
            [(job.id, job.name, int(JobStatus.RUNNING), job.defined_at_ms, pack_config(job.config)) for job in run],
        )
        self._raise_highest_id(max(job.id for job in run))
        self._known_jobs.clear()

    def _job_statuses_set(self, run: list[r.JobStatusSet]) -> None:
        self._connection.executemany(_SET_STATUS, [(int(s.status), s.at_ms, s.id) for s in run])

    def _tasks_doomed(self, run: list[r.TasksDoomed]) -> None:
        self._connection.executemany(_DOOM, [(doomed.last_id, doomed.job_id) for doomed in run])

    def _jobs_forgotten(self, run: list[r.JobForgotten]) -> None:
        ids = [(job.id,) for job in run]
        self._connection.executemany("DELETE FROM job WHERE id = ?", ids)
        self._connection.executemany("INSERT OR IGNORE INTO forgotten VALUES (?)", ids)
        gone = {job.id for job in run}
        self._kept = {job_id: kept for job_id, kept in self._kept.items() if job_id not in gone}
        self._tally = Counter({key: n for key, n in self._tally.items() if key[0] not in gone})
        self._known_jobs.clear()

    def _tasks_added(self, run: list[r.TasksAdded]) -> None:
        sqlite_many.insert(self._connection, _TASK, 5, self._task_rows(run))
        self._raise_highest_id(max(tasks.first_id + len(tasks.rows) - 1 for tasks in run))

    def _task_rows(self, run: list[r.TasksAdded]) -> Iterator[tuple[int, int, bytes, str, bytes]]:
        for tasks in run:
            if not self._is_known(tasks.job_id):
                continue
            for task_id, (policy, tag, parameter) in enumerate(tasks.rows, tasks.first_id):
                yield task_id, tasks.job_id, pack_policy(policy), tag, parameter

    def _submissions_opened(self, run: list[r.SubmissionOpened]) -> None:
        self._connection.executemany("INSERT INTO submission VALUES (?, ?, 0)", [(s.first_id, s.last_id) for s in run])
        self._raise_highest_id(max(submission.last_id for submission in run))

    def _submissions_closed(self, run: list[r.SubmissionClosed]) -> None:
        for submission in run:
            statement = (
                "DELETE FROM submission WHERE first_id = ? AND NOT void"
                if submission.complete
                else "UPDATE submission SET void = 1 WHERE first_id = ?"
            )
            self._connection.execute(statement, (submission.first_id,))

    def _tasks_finished(self, run: list[r.TaskFinished]) -> None:
        """Only for tasks that are open: their row says so, and goes."""
        found = self._connection.execute(_OPEN_TASKS, (id_list(task.id for task in run),)).fetchone()[0]
        still_open = {(task_id, job_id) for task_id, job_id in json.loads(found)}
        rows = []
        for task in run:
            task_id, job_id, task_state, worker, *middle, payload, finished_at_ms = task
            if (task_id, job_id) not in still_open:
                continue
            still_open.remove((task_id, job_id))
            state = int(task_state)
            self._highest_sequence += 1
            self._tally[job_id, worker, state] += 1
            if state != CANCELLED:
                self._keep(job_id, 1, len(payload))
            # The table's columns are the record's members, but for the order of the last two.
            rows.append((self._highest_sequence, task_id, job_id, state, worker, *middle, finished_at_ms, payload))
        self._connection.execute(_DROP_TASKS, (id_list(row[1] for row in rows),))
        sqlite_many.insert(self._connection, "outcome", 14, rows)

    def _attempts_counted(self, run: list[r.AttemptsCounted]) -> None:
        self._connection.executemany(_COUNT_ATTEMPTS, [(count.errors, count.losses, count.id) for count in run])

    def _results_forgotten(self, run: list[r.ResultForgotten]) -> None:
        for result in run:
            for state, size in self._connection.execute(_FORGET_OUTCOME, (result.job_id, result.id)).fetchall():
                if state != CANCELLED:
                    self._keep(result.job_id, -1, -size)

    def _keep(self, job_id: JobId, results: int, payload_bytes: int) -> None:
        kept = self._kept.get(job_id, (0, 0))
        self._kept[job_id] = kept[0] + results, kept[1] + payload_bytes

    def _results_bounded(self, run: list[r.ResultsBounded]) -> None:
        bounds = [(bound.job_id, bound.before_ms, bound.results, bound.payload_bytes) for bound in run]
        self._connection.executemany(_ADD_BOUND, bounds)

    def _leases_added(self, run: list[r.LeaseAdded]) -> None:
        self._connection.executemany(
            "INSERT INTO lease VALUES (?, ?, ?)",
            [(lease.lease_id, lease.agent_id, pack_attempts(lease.attempts)) for lease in run],
        )

    def _leases_closed(self, run: list[r.LeasesClosed]) -> None:
        self._connection.executemany(
            "DELETE FROM lease WHERE id = ?", [(lease_id,) for closed in run for lease_id in closed.lease_ids]
        )

    def _audit_noted(self, run: list[r.AuditNoted]) -> None:
        sqlite_access.note(self._connection, run, self._limits.audit_rows_max)

    def _requests_answered(self, run: list[r.RequestAnswered]) -> None:
        """Each new answer makes room for itself: a few of the oldest go if they are too many or expired."""
        self._connection.executemany(
            _ADD_REQUEST,
            [(a.idempotency.key, a.idempotency.digest, a.answer, a.idempotency.expires_at_ms) for a in run],
        )
        room = 2 * len(run)
        # An answer is remembered for a fixed time: from when it expires follows when it was given.
        given_at_ms = run[-1].idempotency.expires_at_ms - int(self._limits.idempotency_seconds * 1000)
        self._connection.execute(_DROP_OLD_REQUESTS, (self._limits.idempotency_keys_max, room))
        self._connection.execute(_DROP_EXPIRED_REQUESTS, (room, given_at_ms))

    _WRITERS: ClassVar[dict[type, Callable[[Any, list[Any]], None]]] = {
        r.JobAdded: _jobs_added,
        r.JobStatusSet: _job_statuses_set,
        r.TasksDoomed: _tasks_doomed,
        r.JobForgotten: _jobs_forgotten,
        r.TasksAdded: _tasks_added,
        r.SubmissionOpened: _submissions_opened,
        r.SubmissionClosed: _submissions_closed,
        r.TaskFinished: _tasks_finished,
        r.AttemptsCounted: _attempts_counted,
        r.ResultForgotten: _results_forgotten,
        r.ResultsBounded: _results_bounded,
        r.LeaseAdded: _leases_added,
        r.LeasesClosed: _leases_closed,
        r.AuditNoted: _audit_noted,
        r.RequestAnswered: _requests_answered,
    }
