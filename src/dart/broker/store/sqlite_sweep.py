"""Deletes what was forgotten, a slice with each group, so that forgetting a million results stalls nobody."""

import sqlite3

_SPARE_PAGES = 1024
"""Free pages kept for what comes next."""

_VACUUM_PAGES = 128
"""Pages given back to the file system with one group: about a millisecond."""

_OF_JOB = {
    table: f"DELETE FROM {table} WHERE rowid IN (SELECT rowid FROM {table} WHERE job_id = ? LIMIT ?)"  # noqa: S608
    for table in ("task", "tally", "outcome")
}


def sweep(connection: sqlite3.Connection, rows_max: int) -> None:
    """Delete at most so many rows of forgotten jobs and void submissions; shorten the file if much of it is free."""
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
    _give_back(connection)


def _give_back(connection: sqlite3.Connection) -> None:
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if free > _SPARE_PAGES and free * 4 > connection.execute("PRAGMA page_count").fetchone()[0]:
        # The module steps a statement without columns once, and SQLite gives one page back with each step.
        for _ in range(min(_VACUUM_PAGES, free)):
            connection.execute("PRAGMA incremental_vacuum(1)")
