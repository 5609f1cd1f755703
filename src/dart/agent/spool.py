"""Results on disk until the broker has them: segments in HOME/spool, written and synced by a thread of their own.

The loop hands in results and what may be forgotten, and never waits. The thread takes whatever is there, writes it,
syncs once, and tells. A segment is deleted when all its results are forgotten. Nothing is ever emptied in silence.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from dart.agent import spool_file
from dart.agent.events import Event, SpoolFull, SpoolRoom, SpoolSynced
from dart.errors import ConfigError
from dart.ids import AttemptRef, StoreId
from dart.limits import Limits
from dart.private_files import make_missing_directories
from dart.wire.messages import Result

_LOG = logging.getLogger("dart.agent.spool")
_RETRY_SECONDS = 1.0
"""A disk that could not be written is tried again so often."""
_APPEND_BYTES = 64 * 1024
"""Results are written together up to this size: a call of the system for each would cost more than all the rest."""
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Write = tuple[int, StoreId, tuple[Result, ...]]


class Spool:
    """The results that this agent keeps on disk.

    Args:
        folder: Made if it is missing, 0700.
        limits: Size of segments and of the whole, and how long results gather.
        emit: Takes `SpoolSynced`, `SpoolFull` and `SpoolRoom`; called from the spool's thread.
        gather: Whether to wait a moment for more, or for ACKs that make writing needless.

    Raises:
        ConfigError: The folder cannot be used.
    """

    def __init__(self, folder: Path, limits: Limits, emit: Callable[[Event], None], *, gather: bool = True) -> None:
        self._folder = folder
        self._limits = limits
        self._emit = emit
        self._gather_seconds = limits.spool_gather_seconds if gather else 0.0
        self._segments: dict[int, set[AttemptRef]] = {}
        """Results in each segment that are not forgotten."""
        self._where: dict[AttemptRef, int] = {}
        self._marks: dict[int, set[int]] = {}
        """In each segment: of which segments it says that results are forgotten."""
        self._file = -1
        self._number = 0
        self._written_bytes = 0
        self._unsynced = False
        self._full = False
        self._condition = threading.Condition()
        self._writes: deque[Write] = deque()
        self._forgets: set[AttemptRef] = set()
        self._closing = False
        self._sleeping = False
        """The thread waits for something to do; while it gathers, waking it would cost and bring nothing."""
        self._thread = threading.Thread(target=self._work, name="spool", daemon=True)
        try:
            make_missing_directories(folder)
            self.stored = self._load()
            """What was kept from earlier boots, oldest first."""
        except OSError as error:
            raise ConfigError(f"The spool {folder} cannot be used: {error.strerror}.") from None
        self._thread.start()

    # ---- called by the loop ----

    def write(self, number: int, store_id: StoreId, results: tuple[Result, ...]) -> None:
        """Keep results; `SpoolSynced(number)` follows."""
        with self._condition:
            self._writes.append((number, store_id, results))
            self._wake()

    def forget(self, refs: tuple[AttemptRef, ...]) -> None:
        """Results that are not needed any more; those not yet written never will be."""
        with self._condition:
            self._forgets.update(refs)
            self._wake()

    def _wake(self) -> None:
        if self._sleeping:
            self._condition.notify()

    def close(self, timeout_seconds: float = 10.0) -> bool:
        """Write what is left, then end the thread.

        Returns:
            Whether everything is on disk.
        """
        with self._condition:
            self._closing = True
            self._condition.notify()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive() and not self._writes

    # ---- the thread ----

    def _work(self) -> None:
        while True:
            writes, forgets, closing = self._wait()
            done, error = self._carry_out(writes, forgets)
            with self._condition:
                for _ in range(done):
                    self._writes.popleft()
                if error is not None:
                    self._forgets |= forgets
            if error is None:
                self._tell_room()
            else:
                self._tell_full(f"{self._folder}: {error.strerror or error}")
            if done:
                self._emit(SpoolSynced(writes[done - 1][0]))
            if closing and (self._full or not self._writes):
                self._leave_segment()
                return

    def _wait(self) -> tuple[list[Write], set[AttemptRef], bool]:
        """Sleep until there is something to do."""
        with self._condition:
            self._sleeping = True
            while not (self._writes or self._forgets or self._closing):
                self._condition.wait()
            self._sleeping = False
            if not self._closing:
                seconds = _RETRY_SECONDS if self._full else self._gather_seconds
                self._condition.wait_for(lambda: self._closing, seconds)
            forgets, self._forgets = self._forgets, set()
            return list(self._writes), forgets, self._closing

    def _carry_out(self, writes: list[Write], forgets: set[AttemptRef]) -> tuple[int, OSError | None]:
        """Forget, write, sync; how many of the writes are on disk now, and why not all of them.

        What fits on a nearly full disk is written: once it is sent and acknowledged, there is room for the rest.
        """
        done = 0
        failure = None
        try:
            marks = [ref for ref in forgets if ref in self._where]
            if marks:
                self._forget(marks)
            for whole in self._write(writes, forgets):
                done = whole
        except OSError as error:
            failure = error
        try:
            if self._unsynced:
                os.fdatasync(self._file)
                self._unsynced = False
        except OSError as error:
            done, failure = 0, error
        if failure is not None:
            self._give_up(writes[done:])
        return done, failure

    def _write(self, writes: list[Write], forgets: set[AttemptRef]) -> Iterator[int]:
        """Append what is needed, many results at a time; gives how many of the writes are whole in the file."""
        # One by one on a full disk, so that what fits is written.
        append_bytes = 0 if self._full else min(_APPEND_BYTES, self._limits.spool_segment_bytes)
        records: dict[AttemptRef, bytes] = {}
        records_bytes = 0
        for before, (_, store_id, results) in enumerate(writes):
            for result in results:
                ref = result.ref
                if ref in forgets or ref in self._where or ref in records:
                    continue
                record = spool_file.pack_result(store_id, result)
                if records and records_bytes + len(record) > append_bytes:
                    self._append_results(records)
                    yield before
                    records, records_bytes = {}, 0
                records[ref] = record
                records_bytes += len(record)
        if records:
            self._append_results(records)
        yield len(writes)

    def _append_results(self, records: dict[AttemptRef, bytes]) -> None:
        self._append(b"".join(records.values()))
        self._unsynced = True
        self._segments[self._number].update(records)
        self._where.update(dict.fromkeys(records, self._number))

    def _give_up(self, writes: list[Write]) -> None:
        """Count nothing of what failed as written: it is written again, into another segment."""
        self._unsynced = False
        for _, _, results in writes:
            for result in results:
                number = self._where.pop(result.ref, None)
                if number is not None:
                    self._segments[number].discard(result.ref)
        try:
            self._leave_segment()
        except OSError as error:
            _LOG.error("the spool file %s cannot be closed: %s", self._path(self._number), error.strerror)

    def _forget(self, refs: list[AttemptRef]) -> None:
        places = {ref: self._where.pop(ref) for ref in refs}
        for ref, number in places.items():
            self._segments[number].discard(ref)
        self._sweep()
        # A mark lost with the power costs a result sent twice, so marks are written and not synced. Results whose
        # segment is gone need none.
        marks = [ref for ref, number in places.items() if self._segments.get(number)]
        if marks:
            self._append(spool_file.pack_forget(marks))
            self._marks[self._number].update(places[ref] for ref in marks)

    def _sweep(self) -> None:
        """Delete segments that hold nothing that is needed, and marks only for segments that are gone."""
        for number in sorted(self._segments):
            needed = (place for place in self._marks[number] if place != number and self._segments.get(place))
            if not self._segments[number] and not any(needed):
                self._delete(number)

    def _append(self, record: bytes) -> None:
        if self._file < 0 or self._written_bytes >= self._limits.spool_segment_bytes:
            self._open_segment()
        view = memoryview(record)
        while view:
            done = os.write(self._file, view)
            view = view[done:]
        self._written_bytes += len(record)

    def _open_segment(self) -> None:
        if self._file >= 0:
            os.fdatasync(self._file)
        self._leave_segment()
        self._number += 1
        self._file = os.open(self._path(self._number), _FLAGS, 0o600)
        os.fchmod(self._file, 0o600)
        self._segments[self._number] = set()
        self._marks[self._number] = set()
        self._written_bytes = 0
        os.write(self._file, spool_file.MAGIC)
        self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _leave_segment(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._sweep()

    def _delete(self, number: int) -> None:
        if number == self._number and self._file >= 0:
            # It is about to be used again: emptying costs less than a new file.
            if self._written_bytes:
                os.ftruncate(self._file, len(spool_file.MAGIC))
            self._written_bytes = 0
            self._marks[number].clear()
            return
        self._path(number).unlink(missing_ok=True)
        del self._segments[number], self._marks[number]

    def _tell_full(self, reason: str) -> None:
        if not self._full:
            self._full = True
            self._emit(SpoolFull(reason))

    def _tell_room(self) -> None:
        if self._full:
            self._full = False
            self._emit(SpoolRoom())

    # ---- at the start ----

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:016d}.spool"

    def _load(self) -> tuple[tuple[StoreId, Result], ...]:
        results: dict[AttemptRef, tuple[StoreId, Result]] = {}
        marks: dict[int, set[AttemptRef]] = {}
        for path in sorted(self._folder.glob("*.spool")):
            number = int(path.stem) if path.stem.isdigit() else None
            if number is None:
                continue
            self._number = max(self._number, number)
            contents = self._read(path)
            self._segments[number] = set(contents.results)
            for ref in contents.results:
                # A write that failed on the way may have left it in an earlier segment as well.
                self._segments[self._where.get(ref, number)].discard(ref)
                self._segments[number].add(ref)
                self._where[ref] = number
            results.update(contents.results)
            marks[number] = contents.forgotten
        for number, refs in marks.items():
            self._marks[number] = {self._where[ref] for ref in refs if ref in self._where}
        for ref in set().union(*marks.values()):
            place = self._where.pop(ref, None)
            if place is not None:
                self._segments[place].discard(ref)
                del results[ref]
        self._sweep()
        return tuple(results.values())

    def _read(self, path: Path) -> spool_file.Contents:
        """Read a segment; a torn end is cut off, a damaged segment is moved aside and written anew."""
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "r+b") as file:
            data = file.read()
            contents = spool_file.read_segment(data)
            torn_bytes = len(data) - contents.whole_bytes
            if torn_bytes and not contents.damaged_bytes:
                _LOG.warning("the last %d bytes of %s were not written whole and are cut off", torn_bytes, path)
                file.truncate(contents.whole_bytes)
                os.fsync(descriptor)
        if contents.damaged_bytes:
            self._write_anew(path, contents)
        return contents

    def _write_anew(self, path: Path, contents: spool_file.Contents) -> None:
        aside = path.with_suffix(".damaged")
        _LOG.error(
            "the spool file %s is damaged (%d bytes cannot be read): %d results in it are kept, the file was moved to "
            "%s; what else it held is lost unless the tasks run again. Check the disk",
            path,
            contents.damaged_bytes,
            len(contents.results),
            aside,
        )
        path.replace(aside)
        descriptor = os.open(path, _FLAGS, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(spool_file.MAGIC)
            for store_id, result in contents.results.values():
                file.write(spool_file.pack_result(store_id, result))
            file.write(spool_file.pack_forget(contents.forgotten))
            file.flush()
            os.fsync(descriptor)
        self._sync_folder()
