"""Copies of a database as of one moment, made while it is written to, and checked before anybody relies on them."""

import os
import secrets
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote

from dart.broker.store import sqlite_schema
from dart.broker.store.sqlite_faults import as_store_errors
from dart.broker.store.sqlite_file import COPY, connect, number
from dart.errors import StoreError, UnavailableError
from dart.ids import StoreId

_STEP_PAGES = 256
"""Pages copied in one step (1 MiB); between two steps the copy can be given up."""

_COUNTS = (
    "SELECT count(*) FROM job",
    "SELECT count(*) FROM open_task",
    f"SELECT count(*) FROM outcome WHERE state <> {sqlite_schema.CANCELLED} AND job_id IN (SELECT id FROM job)",  # noqa: S608 - a number
)


class Contents(NamedTuple):
    """What a backup holds, for people."""

    store_id: StoreId
    jobs: int
    open_tasks: int
    results: int
    size_bytes: int


def copy_unnamed(database: Path, stop: threading.Event) -> BinaryIO:
    """A copy as an open file that has no name any more, so that nothing is left of it whatever happens.

    Raises:
        StoreError: The database is damaged, or there is no room for the copy beside it.
        UnavailableError: `stop` was set.
    """
    draft = database.with_name(f".{database.name}{COPY}{secrets.token_hex(4)}")
    try:
        with as_store_errors(draft):
            new_file(draft)
            # What was copied is read back at once and thrown away at a crash: it need not be durable.
            copy(database, draft, durable=False, give_up=stop.is_set)
            return draft.open("rb")
    finally:
        draft.unlink(missing_ok=True)


def new_file(path: Path) -> None:
    """An empty file for its owner alone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    os.close(descriptor)


def copy(source: Path, target: Path, *, durable: bool, give_up: Callable[[], bool] = lambda: False) -> None:
    """Fill the empty file `target` with the database `source` as it is now; it may be in use."""

    def check(_status: int, _left: int, _total: int) -> None:
        if give_up():
            raise UnavailableError("The server is stopping; make the backup when it is back.", retry_after=5)

    with closing(open_unchanged(source)) as reading, closing(connect(target)) as writing:
        writing.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        writing.execute("PRAGMA journal_mode = OFF")
        # One transaction around all steps: they see one moment, however much is written meanwhile.
        reading.execute("BEGIN")
        reading.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        reading.backup(writing, pages=_STEP_PAGES, progress=check)
        # The copy of a database with a log says that it has one; this one is to be a single file.
        writing.execute("PRAGMA journal_mode = DELETE")


def open_unchanged(path: Path) -> sqlite3.Connection:
    """To read from, without changing a byte of it or of what lies beside it."""
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True, isolation_level=None)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def check_backup(path: Path) -> Contents:
    """Read all of it.

    Raises:
        StoreError: It is missing, damaged, cut short, of a newer release, or no database of DART.
    """
    if not path.is_file():
        raise StoreError(f"There is no file {path}. Name a backup made by `dart server backup`.")
    try:
        with closing(open_unchanged(path)) as connection:
            return _check(connection, path)
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read as a backup ({error}). Name another one.") from error


def _check(connection: sqlite3.Connection, path: Path) -> Contents:
    if number(connection, "application_id") != sqlite_schema.APPLICATION_ID:
        raise StoreError(f"{path} is no backup of a DART server, or was cut short. Name another one.")
    known = len(sqlite_schema.MIGRATIONS)
    version = number(connection, "user_version")
    if version > known:
        raise StoreError(
            f"{path} was written by a newer release (format {version}; this one knows {known}). Install that one."
        )
    found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreError(f"{path} is damaged ({' '.join(found.split())}). Name another backup.")
    (store_id,) = connection.execute("SELECT store_id FROM meta").fetchone()
    jobs, tasks, results = (connection.execute(statement).fetchone()[0] for statement in _COUNTS)
    return Contents(StoreId(store_id), jobs, tasks, results, path.stat().st_size)
