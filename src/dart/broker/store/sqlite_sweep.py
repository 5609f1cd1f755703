"""Deletes what was forgotten, a slice with each group, so that forgetting a million results stalls nobody."""

import sqlite3
from typing import NamedTuple

from dart.broker.store.sqlite_schema import CANCELLED

_SPARE_PAGES = 1024
"""Free pages kept for what comes next."""

_VACUUM_PAGES = 128
"""Pages given back to the file system with one group: about a millisecond."""

_OF_JOB = {
    table: f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE job_id = ? LIMIT ?)"  # noqa: S608
    for table in ("task", "tally", "outcome", "kept", "bound")
}

_OLDEST_RESULTS = (
    "SELECT sequence, finished_at_ms, length(payload) FROM outcome INDEXED BY outcome_of_job"  # noqa: S608
    f" WHERE job_id = ? AND state <> {CANCELLED} ORDER BY sequence LIMIT ?"
)
_OLDEST_CANCELLED = (
    "SELECT sequence, finished_at_ms FROM outcome INDEXED BY outcome_of_task"  # noqa: S608
    f" WHERE job_id = ? AND state = {CANCELLED} ORDER BY id LIMIT ?"
)
_DELETE = "DELETE FROM outcome WHERE sequence = ?"
_TAKE_AWAY = "UPDATE kept SET results = results - ?, payload_bytes = payload_bytes - ? WHERE job_id = ?"
# One statement, for nearly always there is nothing to delete: see `sqlite_many.py`.
_LOOK = (
    "SELECT EXISTS (SELECT 1 FROM forgotten) OR EXISTS (SELECT 1 FROM submission WHERE void)"
    " OR EXISTS (SELECT 1 FROM bound), freelist_count FROM pragma_freelist_count"
)


class Swept(NamedTuple):
    """What is left after a slice."""

    untidy: bool
    """There is more to clear away."""
    free_pages: int
    """Inside the file."""


def sweep(connection: sqlite3.Connection, rows_max: int) -> Swept:
    """Delete at most so many rows of what was forgotten; shorten the file if much of it is free.

    Forgotten are jobs, void submissions, and results beyond the bounds of their job.
    """
    anything, free_pages = connection.execute(_LOOK).fetchone()
    rows_left = _delete(connection, rows_max) if anything else rows_max
    if anything or free_pages > _SPARE_PAGES:
        more, free_pages = _give_back(connection)
        return Swept(more or rows_left <= 0, free_pages)
    return Swept(untidy=False, free_pages=free_pages)


def _delete(connection: sqlite3.Connection, rows_max: int) -> int:
    """What is left of the rows that may be deleted."""
    while rows_max > 0 and (job := connection.execute("SELECT job_id FROM forgotten LIMIT 1").fetchone()):
        for statement in _OF_JOB.values():
            rows_max -= connection.execute(statement, (*job, max(rows_max, 0))).rowcount
        if rows_max > 0:
            connection.execute("DELETE FROM forgotten WHERE job_id = ?", job)
    while rows_max > 0 and (
        ids := connection.execute("SELECT first_id, last_id FROM submission WHERE void LIMIT 1").fetchone()
    ):
        rows_max -= connection.execute(
            "DELETE FROM task WHERE id IN (SELECT id FROM task WHERE id BETWEEN ? AND ? LIMIT ?)", (*ids, rows_max)
        ).rowcount
        if rows_max > 0:
            connection.execute("DELETE FROM submission WHERE first_id = ?", ids[:1])
    while rows_max > 0 and (bound := connection.execute("SELECT * FROM bound LIMIT 1").fetchone()):
        rows_max -= _hold_to(connection, bound, rows_max)
        if rows_max > 0:
            connection.execute("DELETE FROM bound WHERE job_id = ?", bound[:1])
    return rows_max


def _hold_to(connection: sqlite3.Connection, bound: tuple[int, int, int, int], rows_max: int) -> int:
    """Delete the oldest results of a job until its bounds hold, and the oldest cancelled tasks; how many went."""
    job_id, before_ms, results_max, bytes_max = bound
    results, payload_bytes = connection.execute(
        "SELECT results, payload_bytes FROM kept WHERE job_id = ?", (job_id,)
    ).fetchone() or (0, 0)
    gone: list[tuple[int]] = []
    freed = 0
    for sequence, finished_at_ms, size in connection.execute(_OLDEST_RESULTS, (job_id, rows_max)):
        many = results_max and results - len(gone) > results_max
        large = bytes_max and payload_bytes - freed > bytes_max
        if not (many or large or finished_at_ms < before_ms):
            break
        gone.append((sequence,))
        freed += size
    connection.execute(_TAKE_AWAY, (len(gone), freed, job_id))
    if before_ms:
        # By id, which is nearly by age; one that is older and comes later goes next time.
        cancelled = connection.execute(_OLDEST_CANCELLED, (job_id, rows_max - len(gone))).fetchall()
        gone += [(sequence,) for sequence, finished_at_ms in cancelled if finished_at_ms < before_ms]
    connection.executemany(_DELETE, gone)
    return len(gone)


def _give_back(connection: sqlite3.Connection) -> tuple[bool, int]:
    """Give some free pages back to the file system; whether there are more to give, and how many are free."""
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    many = free > _SPARE_PAGES and free * 4 > connection.execute("PRAGMA page_count").fetchone()[0]
    given = min(_VACUUM_PAGES, free) if many else 0
    # The module steps a statement without columns once, and SQLite gives one page back with each step.
    for _ in range(given):
        connection.execute("PRAGMA incremental_vacuum(1)")
    return bool(many), free - given
