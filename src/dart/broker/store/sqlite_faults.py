"""What SQLite's errors mean to the person who runs the server."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dart.errors import StoreError

DISK_FULL = "the disk is full. Free some space there"

_MEANINGS = {
    sqlite3.SQLITE_FULL: DISK_FULL,
    sqlite3.SQLITE_IOERR: "the disk reported an error or has no space left. Check it",
    sqlite3.SQLITE_CORRUPT: "it is damaged. Restore a backup, or move it away to begin with an empty one",
    sqlite3.SQLITE_NOTADB: "it is not a database. Name another file, or restore a backup",
    sqlite3.SQLITE_READONLY: "it is read-only. Make the file, its directory and its file system writable",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened. Check that the server's user owns it and its directory",
    sqlite3.SQLITE_PERM: "access is denied. Check that the server's user owns it and its directory",
    sqlite3.SQLITE_AUTH: "access is denied. Check that the server's user owns it and its directory",
    sqlite3.SQLITE_BUSY: "another program holds it. Stop that program",
    sqlite3.SQLITE_NOMEM: "there is not enough memory. Give the server more",
    sqlite3.SQLITE_TOOBIG: "a value is larger than SQLite takes. Send smaller ones",
    sqlite3.SQLITE_CONSTRAINT: "what is to be written contradicts what is there. Report this fault of the server",
}

_BY_ERRNO = {
    errno.ENOSPC: sqlite3.SQLITE_FULL,
    errno.EDQUOT: sqlite3.SQLITE_FULL,
    errno.EROFS: sqlite3.SQLITE_READONLY,
    errno.EACCES: sqlite3.SQLITE_PERM,
    errno.EPERM: sqlite3.SQLITE_PERM,
}
"""What the operating system refuses before SQLite is asked."""


def meaning(path: Path, error: Exception) -> StoreError:
    """The error in a person's words; SQLite's own are kept in brackets."""
    code = getattr(error, "sqlite_errorcode", _BY_ERRNO.get(getattr(error, "errno", None) or 0, 0)) & 0xFF
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    reason = _MEANINGS.get(code, "it could not be used")
    return StoreError(f"Database {path}: {reason} ({name}: {error}).", reason=reason)


@contextmanager
def as_store_errors(path: Path) -> Iterator[None]:
    """Whatever SQLite or the operating system refuses becomes a `StoreError`; so do values it cannot hold."""
    try:
        yield
    except (sqlite3.Error, OSError, OverflowError, ValueError) as error:
        raise meaning(path, error) from error
