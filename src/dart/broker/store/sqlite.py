"""The store in one SQLite file: the default.

One connection writes, another reads at the same time (WAL). Decisions: `docs/adr/0010` to `0012`.
"""

import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dart.broker.core.access import AuditRow
from dart.broker.core.model import Recovered, TaskState
from dart.broker.core.records import Record
from dart.broker.store import sqlite_access, sqlite_read
from dart.broker.store.base import FinishedTask, ResultQuery, Store
from dart.broker.store.sqlite_backup import copy_unnamed
from dart.broker.store.sqlite_checkpoints import Checkpoints
from dart.broker.store.sqlite_faults import DISK_FULL, as_store_errors
from dart.broker.store.sqlite_file import DatabaseFile, number
from dart.broker.store.sqlite_recover import look, recover
from dart.broker.store.sqlite_write import GroupWriter
from dart.errors import StoreError
from dart.ids import JobId, TaskId
from dart.limits import Limits

_ROOM_BYTES_MIN = 2 * 1024 * 1024
"""With less the next commit would most likely fail again."""


class SqliteStore(Store):
    """See `Store`. `recover`, `commit`, `settle` and `probe` belong to one thread, the rest to one other thread.

    Args:
        path: The database; it and its missing directories are made, for the owner alone. Beside it lie
            its log (`-wal`, `-shm`) and the lock (`.lock`).
        limits: `idempotency_keys_max`, `idempotency_seconds`, `audit_rows_max` and `sweep_rows_max` are the store's.

    Raises:
        StoreError: It is in use, damaged, of a newer release, no database of DART, or cannot be made.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._file = DatabaseFile(path)
        self._free_bytes = 0
        """Inside the file, as of the last commit: what was deleted there can be written again."""
        try:
            with as_store_errors(path):
                self._writing = self._file.connect(read_only=False)
                self._page_bytes = number(self._writing, "page_size")
                self._reading = self._file.connect(read_only=True)
                self._checkpoints = Checkpoints(path, self._writing, lambda: self._file.connect(read_only=False))
        except BaseException:
            self._file.release()
            raise
        self._closed = False

    def recover(self, *, forget_jobs: bool = False) -> Recovered:
        """See `Store.recover`."""
        with self._transaction() as connection:
            return recover(connection, forget_jobs=forget_jobs)

    def look(self) -> Recovered:
        """See `Store.look`."""
        with self._snapshot() as connection:
            return look(connection)

    def backup(self, stop: threading.Event) -> BinaryIO:
        """See `Store.backup`."""
        self._refuse_if_closed()
        return copy_unnamed(self._path, stop)

    def commit(self, records: Sequence[Record]) -> None:
        """See `Store.commit`."""
        with self._transaction() as connection:
            swept = GroupWriter(connection, self._limits).write(records)
        self.untidy = swept.untidy
        self._free_bytes = swept.free_pages * self._page_bytes

    def settle(self) -> None:
        """See `Store.settle`."""
        if not self._closed:
            self._checkpoints.settle()

    def probe(self) -> None:
        """See `Store.probe`."""
        room = shutil.disk_usage(self._path.parent).free
        if room < min(_ROOM_BYTES_MIN, self._limits.store_spare_bytes):
            raise StoreError(
                f"Database {self._path}: only {room} bytes are free on its disk. Free some space there.",
                reason=DISK_FULL,
            )
        with self._transaction() as connection:
            connection.execute("UPDATE meta SET probes = probes + 1")

    def room(self) -> int:
        """See `Store.room`."""
        with as_store_errors(self._path):
            return shutil.disk_usage(self._path.parent).free + self._free_bytes

    def parameters(self, ids: Sequence[TaskId]) -> dict[TaskId, bytes]:
        """See `Store.parameters`."""
        with self._snapshot() as connection:
            return sqlite_read.parameters(connection, ids)

    def results(self, query: ResultQuery) -> list[FinishedTask]:
        """See `Store.results`."""
        with self._snapshot() as connection:
            return sqlite_read.results(connection, query)

    def named_blobs(self) -> set[bytes]:
        """See `Store.named_blobs`."""
        with self._snapshot() as connection:
            return sqlite_read.named_blobs(connection)

    def latest_sequence(self) -> int:
        """See `Store.latest_sequence`."""
        with self._snapshot() as connection:
            return sqlite_read.latest_sequence(connection)

    def results_of(self, job_id: JobId, ids: Sequence[TaskId]) -> list[FinishedTask]:
        """See `Store.results_of`."""
        with self._snapshot() as connection:
            return sqlite_read.results_of(connection, job_id, ids)

    def finished_tasks(
        self, job_id: JobId, *, after: int, amount: int, states: frozenset[TaskState]
    ) -> list[FinishedTask]:
        """See `Store.finished_tasks`."""
        with self._snapshot() as connection:
            return sqlite_read.finished_tasks(connection, job_id, after=after, amount=amount, states=states)

    def answer(self, key: str, now_ms: int) -> tuple[bytes, int] | None:
        """See `Store.answer`."""
        with self._snapshot() as connection:
            return sqlite_read.answer(connection, key, now_ms)

    def answered_keys(self, after: int, amount: int) -> list[tuple[int, str]]:
        """See `Store.answered_keys`."""
        with self._snapshot() as connection:
            return connection.execute(sqlite_read.ANSWERED_KEYS, {"after": after, "amount": amount}).fetchall()

    def audit(self, *, after: int, amount: int, newest_first: bool = False) -> list[AuditRow]:
        """See `Store.audit`."""
        with self._snapshot() as connection:
            return sqlite_access.audit(connection, after=after, amount=amount, newest_first=newest_first)

    def close(self) -> None:
        """See `Store.close`. All is durable already; the last connection moves the log into the database."""
        if self._closed:
            return
        self._closed = True
        with as_store_errors(self._path):
            try:
                self._checkpoints.close()
                self._reading.close()
                self._writing.close()
            finally:
                self._checkpoints.release()
                self._file.release()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Durable when it ends without an error, otherwise without effect."""
        self._refuse_if_closed()
        with as_store_errors(self._path):
            connection = self._writing
            _roll_back(connection)
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        """Reads of one moment; it ends always, for a reader that lingers would keep the log from being emptied."""
        self._refuse_if_closed()
        with as_store_errors(self._path):
            self._reading.execute("BEGIN")
            try:
                yield self._reading
            finally:
                self._reading.execute("ROLLBACK")

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreError(f"Database {self._path} is closed. The server is stopping.")


def _roll_back(connection: sqlite3.Connection) -> None:
    """After some errors SQLite has done so by itself; after others even this fails, and is tried again next time."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
