"""Moves pages from the log (`-wal`) into the database beside the commits, so that hardly any commit has to wait for it.

SQLite would do that inside the commit that makes the log long: a quarter of a second on a slow disk, in which nobody's
work becomes durable. Here a thread with a connection of its own moves what there is while commits go on, and only the
few pages that came meanwhile are moved in between two commits; then the log begins anew. Decision: `docs/adr/0310`.
"""

import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from dart.broker.store.sqlite_log import INDEX_BYTES, read_index

PAGES: Final = 1000
"""A log of so many is moved, 4 MB: each page is written once for all commits that changed it."""
FEW_PAGES: Final = 100
"""So many are moved in between two commits: about a millisecond and a sync."""
PAGES_MAX: Final = 8000
"""A log that is longer all the same, 32 MB, is moved within a commit: whoever writes faster than the disk waits."""

log = logging.getLogger("dart.broker.store")


class Checkpoints:
    """Of one database.

    Args:
        path: The database; connections to it are open as long as this is.
        writing: The connection that commits; used in `settle`.
        connect: Makes another one.
    """

    def __init__(self, path: Path, writing: sqlite3.Connection, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._writing = writing
        writing.execute(f"PRAGMA wal_autocheckpoint = {PAGES_MAX}")
        writing.execute("PRAGMA schema_version")  # the first read makes the index
        self._moving = connect()
        # Never closed before the connections: the process would lose SQLite's locks on the file.
        self._index = os.open(f"{path}-shm", os.O_RDONLY | os.O_CLOEXEC)
        self._not_before = 0
        """How long the log must be for the next attempt: readers may have kept the last one from its end."""
        self._wanted = threading.Event()
        self._is_over = False
        self._thread: threading.Thread | None = None

    def settle(self) -> None:
        """In the committing thread, when nobody waits for it: see to the log if that has become long."""
        index = read_index(os.pread(self._index, INDEX_BYTES, 0))
        if index is None or index.frames < PAGES:
            self._not_before = 0
        elif index.frames < self._not_before:
            return
        elif index.frames - index.moved <= FEW_PAGES:
            self._not_before = index.frames + FEW_PAGES
            self._move(self._writing)
        else:
            self._not_before = index.frames + PAGES
            self._wake()

    def close(self) -> None:
        """End the thread and its connection; `release` must follow when all connections are closed."""
        self._is_over = True
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
        self._moving.close()

    def release(self) -> None:
        """After all connections were closed; harmless when repeated."""
        if self._index >= 0:
            os.close(self._index)
            self._index = -1

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dart-checkpoints", daemon=True)
            self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        while self._wanted.wait() and not self._is_over:
            self._wanted.clear()
            if self._move(self._moving):
                self._not_before = 0

    def _move(self, connection: sqlite3.Connection) -> bool:
        """Whether all was moved that was there; readers may be in the way.

        What goes wrong is nobody's loss: all stays in the log, as it does when SQLite's own attempt fails.
        """
        try:
            _, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            log.warning("The log of %s could not be moved into the database: %s.", self._path, error)
            return False
        return bool(moved == pages)
