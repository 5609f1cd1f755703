"""Puts a backup in place of the present database, so that nothing given since the backup can be mistaken for new.

Ids, attempts and cursors that were given between backup and restore are out in the world: agents hold results of such
tasks, clients remember such ids. The restored store never gives them again (`docs/adr/0060`).
"""

import logging
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from dart.broker.store.sqlite_backup import Contents, check_backup, copy, new_file, open_unchanged
from dart.broker.store.sqlite_faults import as_store_errors
from dart.broker.store.sqlite_file import RESTORING, connect, lock, migrate, sync_directory
from dart.private_files import make_missing_directories

log = logging.getLogger("dart.broker.store")

INCARNATIONS_SKIPPED = 1 << 20
"""No server is started so often between a backup and its restore."""

IDS_SKIPPED = 1 << 40
"""No server gives so many ids in that time: at 10,000 a second it would take three years."""

_INCARNATIONS_A_SECOND = 2
_IDS_A_SECOND = 1 << 20
"""More than there can be. A backup that is restored twice would skip to the same numbers both times, but for the
clock: what a restore skips to, lies above all that a store can have come to that was restored earlier."""


_INCARNATIONS_SINCE = 1_577_836_800
"""2020: an incarnation has 31 bits, which last until 2054."""


class Restored(NamedTuple):
    """What was done, for people."""

    contents: Contents
    aside: Path | None
    """Where the database that was there is now; None: there was none."""


def restore(backup: Path, database: Path) -> Restored:
    """Check a backup and put it in place; on an error nothing has changed.

    Raises:
        StoreError: The backup cannot be used, a server uses the database, or there is no room.
    """
    contents = check_backup(backup)
    with as_store_errors(database):
        make_missing_directories(database.parent)
        held = lock(database)
        try:
            draft = Path(f"{database}{RESTORING}")
            for leftover in (draft, Path(f"{draft}-journal")):
                leftover.unlink(missing_ok=True)
            try:
                new_file(draft)
                copy(backup, draft, durable=True)
                _skip(draft, _present(database))
                _keep_out(draft, database)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
            aside = _put_aside(database)
            draft.rename(database)
            sync_directory(database.parent)
        finally:
            os.close(held)
    return Restored(contents, aside)


class _Numbers(NamedTuple):
    incarnation: int
    highest_id: int
    highest_sequence: int


_READ = "SELECT incarnation, highest_id, highest_sequence FROM meta"


def _present(database: Path) -> _Numbers:
    """How far the database has come that is about to be put aside; zeros where that cannot be read any more."""
    try:
        if database.exists():
            with closing(open_unchanged(database)) as connection:
                return _Numbers(*connection.execute(_READ).fetchone())
    except (sqlite3.Error, TypeError):
        pass
    return _Numbers(0, 0, 0)


def _skip(draft: Path, present: _Numbers) -> None:
    """Go on above all numbers that may have been given since."""
    now = int(time.time())
    with closing(connect(draft)) as connection:
        migrate(connection, draft)
        connection.execute("BEGIN IMMEDIATE")
        backup = _Numbers(*connection.execute(_READ).fetchone())
        incarnation, highest_id, highest_sequence = map(max, backup, present)
        floor = now * _IDS_A_SECOND
        after = _Numbers(
            max(incarnation + INCARNATIONS_SKIPPED, (now - _INCARNATIONS_SINCE) * _INCARNATIONS_A_SECOND),
            max(highest_id + IDS_SKIPPED, floor),
            max(highest_sequence + IDS_SKIPPED, floor),
        )
        # A submission whose last slice had not come is void here; out in the world it may have become whole.
        connection.execute("INSERT OR IGNORE INTO gap SELECT first_id, last_id FROM submission WHERE NOT void")
        connection.execute("INSERT INTO gap VALUES (?, ?)", (backup.highest_id + 1, after.highest_id))
        connection.execute("UPDATE meta SET incarnation = ?, highest_id = ?, highest_sequence = ?", after)
        connection.execute("UPDATE meta SET highest_audit = max(highest_audit + ?, ?)", (IDS_SKIPPED, floor))
        connection.execute("COMMIT")


_REVOKED = {
    "api_key": ("SELECT revoked_at_ms, id FROM api_key WHERE revoked_at_ms", "revoked_at_ms = ?"),
    "join_token": (
        "SELECT revoked_at_ms, uses, id FROM join_token",
        "revoked_at_ms = max(revoked_at_ms, ?), uses = max(uses, ?)",
    ),
    "enrolment": ("SELECT revoked_at_ms, agent_id FROM enrolment WHERE revoked_at_ms", "revoked_at_ms = ?"),
}


def _keep_out(draft: Path, database: Path) -> None:
    """Who was shut out since the backup stays out, as far as the database that is about to be put aside can tell."""
    found: dict[str, list[tuple[int | str, ...]]] = {}
    try:
        if database.exists():
            with closing(open_unchanged(database)) as connection:
                for table, (look, _) in _REVOKED.items():
                    found[table] = connection.execute(look).fetchall()
    except sqlite3.Error:
        log.warning("%s cannot be read: keys that were revoked since the backup count again. Look at them.", database)
    with closing(connect(draft)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for table, rows in found.items():
            column = "agent_id" if table == "enrolment" else "id"
            change = f"UPDATE {table} SET {_REVOKED[table][1]} WHERE {column} = ?"  # noqa: S608 - names from above
            connection.executemany(change, rows)
        connection.execute("COMMIT")


def _put_aside(database: Path) -> Path | None:
    """Rename it and its log. In this order: a database without its log would open, and lack what the log has."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = Path(f"{database}.before-restore-{stamp}")
    while aside.exists():
        aside = aside.with_name(f"{aside.name}-2")
    there = database.exists()
    if there:
        database.rename(aside)
    for suffix in ("-wal", "-journal"):
        log = Path(f"{database}{suffix}")
        if log.exists() and not log.stat().st_size:
            log.unlink()
        elif log.exists():
            log.rename(f"{aside}{suffix}")
    Path(f"{database}-shm").unlink(missing_ok=True)
    sync_directory(database.parent)
    return aside if there else None
