"""What happened lately, numbered, for those who watch: a bounded ring in memory with one cursor a reader.

Nobody is waited for: whoever reads too slowly finds that what came next for him is gone, and learns how much it was.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, repeat
from typing import Final, NamedTuple

from dart.broker.core.happenings import (
    Happening,
    JobChanged,
    TaskEnded,
    TaskPrinted,
    TaskProgressed,
    WorkerChanged,
)
from dart.errors import LimitError
from dart.limits import Limits

ENTRY_BYTES = 300
"""What an entry takes, without the text of its task."""
CHANGES: Final = (WorkerChanged, JobChanged)
"""What came and went: seldom, and wanted for longer than the tasks that happen by the thousand meanwhile."""


class Cursor(NamedTuple):
    """A place in a ring: all up to this number was read."""

    epoch: str
    """Names the ring: each start of the server has another one, and so has each restoration of its state."""
    number: int


class Missed(NamedTuple):
    """A reader gets less than happened."""

    reason: str
    amount: int
    """Of all that happened; -1: nobody knows."""
    place: Cursor
    """Where the reader goes on."""


class Entry:
    """Something that happened, with its number."""

    __slots__ = ("at_ms", "frame", "happening", "number")

    def __init__(self, number: int, at_ms: int, happening: Happening) -> None:
        self.number = number
        self.at_ms = at_ms
        self.happening = happening
        self.frame: bytes | None = None
        """For whoever writes it out: made once, for all readers."""


class EventRing:
    """The newest of what happened, and of changes also some of before.

    Args:
        limits: `events_kept_max`, `events_kept_bytes_max`, `changes_kept_max`, `event_streams_max`.
        clock: Unix time.
    """

    def __init__(self, limits: Limits, *, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._entries: deque[Entry] = deque()
        self._changes: deque[Entry] = deque()
        """Those that are older than all entries."""
        self._bytes = 0
        self._newest = 0
        self._newest_change_gone = 0
        self._epoch = secrets.token_hex(4)
        self._readers: set[asyncio.Event] = set()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def readers(self) -> int:
        """How many watch."""
        return len(self._readers)

    def tell(self, happened: Sequence[Happening], void: bool) -> None:  # noqa: FBT001 - a callback of the service
        """Take what happened; `void`: it did not, and what is true now is to be asked for anew."""
        if void:
            self._entries.clear()
            self._changes.clear()
            self._bytes = 0
            self._newest = 0
            self._newest_change_gone = 0
            self._epoch = secrets.token_hex(4)
        at_ms = int(self._clock() * 1000)
        entries = self._entries
        if not void:
            entries.extend(map(Entry, count(self._newest + 1), repeat(at_ms), happened))
            self._newest += len(happened)
            self._bytes += sum(map(_size, happened))
        number, size = self._limits.events_kept_max, self._limits.events_kept_bytes_max
        while len(entries) > number or self._bytes > size:
            oldest = entries.popleft()
            self._bytes -= _size(oldest.happening)
            if isinstance(oldest.happening, CHANGES):
                self._changes.append(oldest)
        while len(self._changes) > self._limits.changes_kept_max:
            self._newest_change_gone = self._changes.popleft().number
        for woken in self._readers:
            woken.set()

    @contextmanager
    def watch(self) -> Iterator[asyncio.Event]:
        """An event that is set whenever something happened. May be `LimitError`."""
        if len(self._readers) >= self._limits.event_streams_max:
            raise LimitError(
                f"{len(self._readers)} streams of events are open (limit event_streams_max); close one, or try later.",
                limit="event_streams_max",
                retry_after=5,
            )
        woken = asyncio.Event()
        self._readers.add(woken)
        try:
            yield woken
        finally:
            self._readers.discard(woken)

    def now(self) -> Cursor:
        """Only what happens from here on."""
        return Cursor(self._epoch, self._newest)

    def oldest(self, *, changes_only: bool = False) -> Cursor:
        """All that is still here, of everything or of changes."""
        return Cursor(self._epoch, self._newest_change_gone if changes_only else self._newest - len(self._entries))

    def read(
        self, after: Cursor, amount: int, *, changes_only: bool = False
    ) -> tuple[list[Entry], Cursor, Missed | None]:
        """The next entries, the cursor behind them, and what is missing before them.

        Args:
            after: What was read.
            amount: At most so many.
            changes_only: No other entry is wanted. There are others among the found, but no change is left out.
        """
        missed = self._missed(after, self.oldest(changes_only=changes_only))
        number = after.number if missed is None else missed.place.number
        first = number - self.oldest().number
        found = [] if first >= 0 else [it for it in self._changes if it.number > number][:amount]
        first, more = max(0, first), amount - len(found)
        found += [self._entries[index] for index in range(first, min(first + more, len(self._entries)))]
        return found, Cursor(self._epoch, found[-1].number if found else self._newest), missed

    def _missed(self, after: Cursor, oldest: Cursor) -> Missed | None:
        if after.epoch != self._epoch:
            reason = "the server was started again or restored its state since; ask anew for what matters"
            return Missed(reason, -1, oldest)
        if after.number < oldest.number:
            return Missed("too slow, or away for too long", oldest.number - after.number, oldest)
        if after.number > self._newest:
            return Missed("this id was never given", -1, self.now())
        return None


def _size(happening: Happening) -> int:
    if type(happening) is TaskEnded:  # by far the most
        return ENTRY_BYTES
    if isinstance(happening, TaskPrinted):
        return ENTRY_BYTES + sum(map(len, happening.lines))
    if isinstance(happening, TaskProgressed):
        return ENTRY_BYTES + len(happening.text)
    return ENTRY_BYTES
