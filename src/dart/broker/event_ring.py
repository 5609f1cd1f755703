"""What happened lately, numbered, for those who watch: a bounded ring in memory with one cursor a reader.

Nobody is waited for: whoever reads too slowly finds that what came next for him is gone, and learns how much it was.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, repeat
from typing import NamedTuple

from dart.broker.core.happenings import Happening, TaskEnded, TaskPrinted, TaskProgressed
from dart.errors import LimitError
from dart.limits import Limits

ENTRY_BYTES = 300
"""What an entry takes, without the text of its task."""


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
    """The newest of what happened.

    Args:
        limits: `events_kept_max`, `events_kept_bytes_max`, `event_streams_max`.
        clock: Unix time.
    """

    def __init__(self, limits: Limits, *, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._newest = 0
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
            self._bytes = 0
            self._newest = 0
            self._epoch = secrets.token_hex(4)
        at_ms = int(self._clock() * 1000)
        entries = self._entries
        if not void:
            entries.extend(map(Entry, count(self._newest + 1), repeat(at_ms), happened))
            self._newest += len(happened)
            self._bytes += sum(map(_size, happened))
        number, size = self._limits.events_kept_max, self._limits.events_kept_bytes_max
        while len(entries) > number or self._bytes > size:
            self._bytes -= _size(entries.popleft().happening)
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

    def oldest(self) -> Cursor:
        """All that is still here."""
        return Cursor(self._epoch, self._newest - len(self._entries))

    def read(self, after: Cursor, amount: int) -> tuple[list[Entry], Cursor, Missed | None]:
        """The next entries, the cursor behind them, and what is missing before them."""
        missed = None
        oldest = self.oldest()
        if after.epoch != self._epoch:
            missed = Missed("the server was started again or restored its state since; ask anew for what matters", -1)
            after = oldest
        elif after.number < oldest.number:
            missed = Missed("too slow, or away for too long", oldest.number - after.number)
            after = oldest
        elif after.number > self._newest:
            missed = Missed("this id was never given", -1)
            after = self.now()
        first = after.number - oldest.number
        found = [self._entries[index] for index in range(first, min(first + amount, len(self._entries)))]
        return found, Cursor(self._epoch, after.number + len(found)), missed


def _size(happening: Happening) -> int:
    if type(happening) is TaskEnded:  # by far the most
        return ENTRY_BYTES
    if isinstance(happening, TaskPrinted):
        return ENTRY_BYTES + sum(map(len, happening.lines))
    if isinstance(happening, TaskProgressed):
        return ENTRY_BYTES + len(happening.text)
    return ENTRY_BYTES
