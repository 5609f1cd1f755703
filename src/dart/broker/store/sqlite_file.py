"""The database file: made as a whole, locked, private to its owner, checked before use."""

import fcntl
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from dart.broker.store import sqlite_schema
from dart.broker.store.sqlite_faults import as_store_errors
from dart.broker.store.sqlite_log import check_log
from dart.errors import StoreError
from dart.private_files import make_missing_directories

_CHECKED_BYTES_MAX = 32 * 1024 * 1024
"""Up to this size the whole file is checked at a start (about 0.1 s); larger ones as they are read."""

COPY = ".copy-"
"""In the name of a copy that is being made, until it loses its name."""

RESTORING = ".restoring"
"""Ends the name of a restored database until it is put in place."""

_WAL_BYTES_KEPT = 64 * 1024 * 1024
"""The log is cut to this after a checkpoint; one large value may have made it larger."""

_CONNECTION_PRAGMAS = (
    "foreign_keys = ON",
    "synchronous = FULL",
    "busy_timeout = 5000",
    "cell_size_check = ON",
    # Some builds of SQLite overwrite what is deleted: each parameter and result would be written once more.
    "secure_delete = OFF",
    "trusted_schema = OFF",
    "temp_store = MEMORY",
    "cache_size = -16384",
    f"journal_size_limit = {_WAL_BYTES_KEPT}",
)


class DatabaseFile:
    """A database that is ours alone from construction to `release`.

    Raises:
        StoreError: It is in use, damaged, of a newer release, no database of DART, or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = -1
        with as_store_errors(path):
            make_missing_directories(path.parent)
            self._lock = lock(path)
            try:
                for leftover in path.parent.glob(f".{path.name}{COPY}*"):
                    leftover.unlink()  # a server was killed while it made a backup
                if not path.exists():
                    _create(path)
                path.chmod(0o600)
                check_log(path)
                self._check()
            except BaseException:
                self.release()
                raise

    def connect(self, *, read_only: bool) -> sqlite3.Connection:
        """A connection without transactions of its own; any thread may use it, one at a time."""
        connection = connect(self.path)
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        return connection

    def release(self) -> None:
        """Let others open it; harmless when repeated."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _check(self) -> None:
        connection = connect(self.path)
        try:
            if number(connection, "application_id") != sqlite_schema.APPLICATION_ID:
                raise StoreError(
                    f"{self.path} is not a database of DART, or was cut short. Name another file, or restore a backup."
                )
            if self.path.stat().st_size <= _CHECKED_BYTES_MAX:
                _check_whole(connection, self.path)
            migrate(connection, self.path)
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                raise StoreError(
                    f"The file system of {self.path} cannot hold the database's log. Use a local directory."
                )
        finally:
            connection.close()


def connect(path: Path) -> sqlite3.Connection:
    """A connection to a database that is there, without transactions of its own."""
    # mode=rw: SQLite must never make an empty file in place of one that is missing.
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    for pragma in _CONNECTION_PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


def number(connection: sqlite3.Connection, pragma: str) -> int:
    """The value of a pragma."""
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])


def lock(path: Path) -> int:
    """The lock ends with the process, so the file stays and means nothing by itself."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreError(
            f"Database {path} is in use by another server. Stop that one, or give this one a database of its own."
        ) from None
    os.fchmod(descriptor, 0o600)
    return descriptor


def _create(path: Path) -> None:
    """Make it under another name and move it into place, so that a file of this name is always a whole database."""
    restoring = Path(f"{path}{RESTORING}")
    if restoring.exists():
        raise StoreError(
            f"{path} is missing since a restore was interrupted. Run `dart server restore FILE` again, or delete "
            f"{restoring} to begin with an empty database."
        )
    for suffix in ("-wal", "-journal"):
        if Path(f"{path}{suffix}").exists():
            raise StoreError(
                f"{path} is missing but its log {path}{suffix} is there: the database was moved or deleted. "
                "Bring it back, or delete the log too to begin with an empty one."
            )
    new = Path(f"{path}.new")
    for leftover in (new, Path(f"{new}-journal")):
        leftover.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    os.close(descriptor)
    connection = connect(new)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA application_id = {sqlite_schema.APPLICATION_ID}")
        migrate(connection, path)
    finally:
        connection.close()
    new.rename(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make new names in it durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_whole(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreError(
            f"Database {path} is damaged ({' '.join(found.split())}). "
            "Restore a backup, or move it away to begin with an empty one."
        )


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring it to this release's version, all steps or none."""
    version, known = number(connection, "user_version"), len(sqlite_schema.MIGRATIONS)
    if version > known:
        raise StoreError(
            f"Database {path} was written by a newer release (format {version}; this one knows {known}). "
            "Install that release again."
        )
    if version == known:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statements in sqlite_schema.MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {known}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
