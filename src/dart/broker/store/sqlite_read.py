"""Reads parameters, outcomes and answers; every statement walks an index and stops at the rows it was asked for."""

import heapq
import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from dart.broker.core.model import TaskState
from dart.broker.store.base import FinishedTask, ResultQuery
from dart.broker.store.sqlite_rows import id_list
from dart.broker.store.sqlite_schema import CANCELLED, FINAL_STATES
from dart.ids import JobId, TaskId
from dart.wire.blob_references import named_in

_BATCH = 1000
"""Ids in one statement."""

_STATES = {int(state): state for state in TaskState}

_COLUMNS = (
    "sequence, id, state, worker, host, location, tag, attempts,"
    " start_time_ms, duration_seconds, error_code, finished_at_ms"
)

# A forgotten job has no results, though its rows may not all be deleted yet: hence the look at `job`, once a statement.
_JOB_IS_KNOWN = "EXISTS (SELECT 1 FROM job WHERE job.id = :job_id)"

PARAMETERS = "SELECT id, parameter FROM open_task WHERE id IN (SELECT value FROM json_each(:ids))"

RESULTS_OF_JOB = (
    f"SELECT {_COLUMNS}, payload FROM outcome INDEXED BY outcome_of_job"  # noqa: S608
    f" WHERE job_id = :job_id AND sequence > :after AND state <> {CANCELLED} AND {_JOB_IS_KNOWN}"
    " ORDER BY sequence LIMIT :amount"
)

SEQUENCES_OF_WORKER = (
    "SELECT sequence FROM outcome INDEXED BY outcome_of_worker"  # noqa: S608
    f" WHERE job_id = :job_id AND worker = :worker AND sequence > :after AND state <> {CANCELLED} AND {_JOB_IS_KNOWN}"
    " ORDER BY sequence LIMIT :amount"
)

IDS_OF_STATE = (
    "SELECT id, sequence FROM outcome INDEXED BY outcome_of_task"  # noqa: S608
    f" WHERE job_id = :job_id AND state = :state AND id > :after AND {_JOB_IS_KNOWN}"
    " ORDER BY id LIMIT :amount"
)

SEQUENCES_OF_IDS = (
    "SELECT sequence FROM outcome INDEXED BY outcome_of_task"  # noqa: S608
    f" WHERE job_id = :job_id AND state IN {FINAL_STATES}"
    f" AND id IN (SELECT value FROM json_each(:ids)) AND {_JOB_IS_KNOWN}"
)

OUTCOME = f"SELECT {_COLUMNS}, payload FROM outcome WHERE sequence = :sequence"  # noqa: S608

OUTCOME_WITHOUT_PAYLOAD = f"SELECT {_COLUMNS}, x'' FROM outcome WHERE sequence = :sequence"  # noqa: S608

TASKS_WITH_BLOBS = "SELECT parameter FROM task INDEXED BY task_with_blob WHERE instr(parameter, x'c72803') > 0"

OUTCOMES_WITH_BLOBS = "SELECT payload FROM outcome INDEXED BY outcome_with_blob WHERE instr(payload, x'c72803') > 0"

JOBS_WITH_BLOBS = "SELECT config FROM job WHERE instr(config, x'c72803') > 0"

ANSWERED_KEYS = "SELECT sequence, key FROM request WHERE sequence > :after ORDER BY sequence LIMIT :amount"
ANSWER = "SELECT digest, answer FROM request WHERE key = :key AND expires_at_ms > :now_ms"


def parameters(connection: sqlite3.Connection, ids: Sequence[TaskId]) -> dict[TaskId, bytes]:
    """See `Store.parameters`."""
    found: dict[TaskId, bytes] = {}
    for start in range(0, len(ids), _BATCH):
        found.update(connection.execute(PARAMETERS, {"ids": id_list(ids[start : start + _BATCH])}))
    return found


def results(connection: sqlite3.Connection, query: ResultQuery) -> list[FinishedTask]:
    """See `Store.results`; inside a transaction, so that all of it is of one moment."""
    asked = {"job_id": query.job_id, "after": query.after, "amount": query.amount}
    if query.workers is None:
        with closing(connection.execute(RESULTS_OF_JOB, asked)) as cursor:
            return _up_to(map(_finished_task, cursor), query.bytes_max)
    sequences = heapq.merge(*(_of_worker(connection, query, worker) for worker in sorted(set(query.workers))))
    return _up_to(_outcomes(connection, islice(sequences, query.amount)), query.bytes_max)


def named_blobs(connection: sqlite3.Connection) -> set[bytes]:
    """See `Store.named_blobs`; the indexes have the few rows with references."""
    found: set[bytes] = set()
    for statement in (TASKS_WITH_BLOBS, OUTCOMES_WITH_BLOBS, JOBS_WITH_BLOBS):
        for (payload,) in connection.execute(statement):
            found |= named_in(payload)
    return found


def latest_sequence(connection: sqlite3.Connection) -> int:
    """See `Store.latest_sequence`."""
    latest: int = connection.execute("SELECT coalesce(max(sequence), 0) FROM outcome").fetchone()[0]
    return latest


def results_of(connection: sqlite3.Connection, job_id: JobId, ids: Sequence[TaskId]) -> list[FinishedTask]:
    """See `Store.results_of`; inside a transaction."""
    found: dict[TaskId, FinishedTask] = {}
    for start in range(0, len(ids), _BATCH):
        asked = {"job_id": job_id, "ids": id_list(ids[start : start + _BATCH])}
        sequences = [sequence for (sequence,) in connection.execute(SEQUENCES_OF_IDS, asked)]
        found.update((task.id, task) for task in _outcomes(connection, sequences))
    return [found[task_id] for task_id in ids if task_id in found]


def finished_tasks(
    connection: sqlite3.Connection, job_id: JobId, *, after: int, amount: int, states: Iterable[TaskState]
) -> list[FinishedTask]:
    """See `Store.finished_tasks`; inside a transaction."""
    of_states = [
        connection.execute(
            IDS_OF_STATE, {"job_id": job_id, "state": int(state), "after": after, "amount": amount}
        ).fetchall()
        for state in states
    ]
    sequences = (sequence for _, sequence in islice(heapq.merge(*of_states), amount))
    return list(_outcomes(connection, sequences, OUTCOME_WITHOUT_PAYLOAD))


def answer(connection: sqlite3.Connection, key: str, now_ms: int) -> tuple[bytes, int] | None:
    """See `Store.answer`."""
    row: tuple[bytes, int] | None = connection.execute(ANSWER, {"key": key, "now_ms": now_ms}).fetchone()
    return row


def _of_worker(connection: sqlite3.Connection, query: ResultQuery, worker: str) -> Iterator[int]:
    """Sequences of one worker's results, read a few at a time: with many workers few of each are wanted."""
    after, amount = query.after, 1 + query.amount // len(query.workers or ())
    while True:
        asked = {"job_id": query.job_id, "worker": worker, "after": after, "amount": amount}
        page = connection.execute(SEQUENCES_OF_WORKER, asked).fetchall()
        for (sequence,) in page:
            yield sequence
        if len(page) < amount:
            return
        after = page[-1][0]


def _outcomes(
    connection: sqlite3.Connection, sequences: Iterable[int], statement: str = OUTCOME
) -> Iterator[FinishedTask]:
    """The rows themselves, each read only when it is wanted."""
    for sequence in sequences:
        yield _finished_task(connection.execute(statement, {"sequence": sequence}).fetchone())


def _up_to(tasks: Iterable[FinishedTask], bytes_max: int) -> list[FinishedTask]:
    """Stop reading with the task whose payload reaches the bound."""
    taken, payload_bytes = [], 0
    for task in tasks:
        taken.append(task)
        payload_bytes += len(task.payload)
        if payload_bytes >= bytes_max:
            break
    return taken


def _finished_task(row: tuple[Any, ...]) -> FinishedTask:
    # SQLite has no NaN and keeps nothing in its place.
    duration_seconds = math.nan if row[9] is None else row[9]
    return FinishedTask._make((*row[:2], _STATES[row[2]], *row[3:9], duration_seconds, *row[10:]))
