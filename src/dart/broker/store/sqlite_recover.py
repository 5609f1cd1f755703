"""Reads what the core needs at a start; its cost grows with open tasks, never with recorded outcomes."""

import sqlite3

from dart.broker.core.model import (
    IdGap,
    JobStatus,
    Recovered,
    RecoveredJob,
    RecoveredLease,
    RecoveredTask,
    TaskPolicy,
    TaskState,
)
from dart.broker.store.sqlite_access import enrolments, join_tokens, keys
from dart.broker.store.sqlite_rows import unpack_attempts, unpack_config, unpack_policy
from dart.ids import AgentId, JobId, LeaseId, StoreId, TaskId

_TASKS = (
    "SELECT id, job_id, policy, tag, length(parameter), coalesce(errors, 0), coalesce(losses, 0)"
    " FROM open_task LEFT JOIN attempt_count ON task_id = id"
    " WHERE NOT EXISTS (SELECT 1 FROM submission WHERE id BETWEEN first_id AND last_id) ORDER BY id"
)

_OF_JOBS = (
    "attempt_count",
    "task",
    "outcome",
    "tally",
    "kept",
    "bound",
    "lease",
    "job",
    "submission",
    "forgotten",
    "request",
)
"""In this order: the first refers to the second."""


def recover(connection: sqlite3.Connection, *, forget_jobs: bool) -> Recovered:
    """Inside a transaction, which the caller commits: see `Store.recover`."""
    if forget_jobs:
        for table in _OF_JOBS:
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names from above
    connection.execute(
        "DELETE FROM task WHERE id IN"
        " (SELECT task.id FROM submission JOIN task ON task.id BETWEEN submission.first_id AND submission.last_id)"
    )
    connection.execute("DELETE FROM submission")
    connection.execute("UPDATE meta SET incarnation = incarnation + 1")
    return look(connection)


def look(connection: sqlite3.Connection) -> Recovered:
    """The same without changing anything: see `Store.look`."""
    store_id, incarnation, highest_id = connection.execute(
        "SELECT store_id, incarnation, highest_id FROM meta"
    ).fetchone()
    return Recovered(
        store_id=StoreId(store_id),
        incarnation=incarnation,
        highest_id=highest_id,
        jobs=_jobs(connection),
        tasks=_tasks(connection),
        leases=_leases(connection),
        enrolments=enrolments(connection),
        gaps=tuple(
            IdGap(TaskId(first_id), TaskId(last_id))
            for first_id, last_id in connection.execute("SELECT first_id, last_id FROM gap ORDER BY first_id")
        ),
        keys=keys(connection),
        join_tokens=join_tokens(connection),
    )


def _jobs(connection: sqlite3.Connection) -> tuple[RecoveredJob, ...]:
    tallies: dict[int, dict[tuple[str, TaskState], int]] = {}
    for job_id, worker, state, n in connection.execute("SELECT job_id, worker, state, n FROM tally"):
        tallies.setdefault(job_id, {})[worker, TaskState(state)] = n
    return tuple(
        RecoveredJob(
            JobId(job_id),
            name,
            unpack_config(config),
            JobStatus(status),
            defined_at_ms,
            tallies.get(job_id, {}),
            stopped_at_ms,
            doomed_through,
        )
        for job_id, name, status, defined_at_ms, stopped_at_ms, doomed_through, config in connection.execute(
            "SELECT id, name, status, defined_at_ms, stopped_at_ms, doomed_through, config FROM job ORDER BY id"
        )
    )


def _tasks(connection: sqlite3.Connection) -> tuple[RecoveredTask, ...]:
    policies: dict[bytes, TaskPolicy] = {}
    tasks = []
    for task_id, job_id, packed, tag, parameter_bytes, errors, losses in connection.execute(_TASKS):
        policy = policies.get(packed)
        if policy is None:
            policy = policies[packed] = unpack_policy(packed)
        tasks.append(RecoveredTask(TaskId(task_id), JobId(job_id), policy, tag, parameter_bytes, errors, losses))
    return tuple(tasks)


def _leases(connection: sqlite3.Connection) -> tuple[RecoveredLease, ...]:
    return tuple(
        RecoveredLease(LeaseId(lease_id), AgentId(agent_id), unpack_attempts(attempts))
        for lease_id, agent_id, attempts in connection.execute("SELECT id, agent_id, attempts FROM lease ORDER BY id")
    )
