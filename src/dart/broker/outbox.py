"""What waits to become visible: first in, first out, each until the turn it depends on is durable."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from dart.broker.core.commands import Command
from dart.broker.core.records import Record, TaskFinished, TasksAdded


class Barrier(NamedTuple):
    """Something to call when everything before it is durable; with True if it became void instead."""

    call: Callable[[bool], None]


class Outbox:
    """Commands and barriers with the number of the turn that they wait for; numbers never shrink."""

    def __init__(self) -> None:
        self._entries: deque[tuple[int, Command | Barrier]] = deque()
        self._sizes: deque[tuple[int, int]] = deque()
        self.durable = 0
        """Turns up to this one are durable."""
        self.bytes = 0
        """Payload bytes of turns that are not."""

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, number: int, entry: Command | Barrier) -> None:
        """Add an entry that waits for this turn."""
        self._entries.append((number, entry))

    def weigh(self, number: int, size: int) -> None:
        """Count the payload bytes that wait for this turn."""
        self._sizes.append((number, size))
        self.bytes += size

    def committed(self, number: int) -> None:
        """Turns up to this one are durable."""
        self.durable = max(self.durable, number)
        while self._sizes and self._sizes[0][0] <= number:
            self.bytes -= self._sizes.popleft()[1]

    def ready(self) -> Iterator[Command | Barrier]:
        """Take out what may be shown, in order; entries that come meanwhile included."""
        while self._entries and self._entries[0][0] <= self.durable:
            yield self._entries.popleft()[1]

    def void(self) -> list[Command | Barrier]:
        """Take out everything: it will never be shown."""
        entries = [entry for _, entry in self._entries]
        self._entries.clear()
        self._sizes.clear()
        self.bytes = 0
        return entries


def payload_bytes(records: Sequence[Record]) -> int:
    """What a turn holds in memory until it is durable, without its small members."""
    size = 0
    for record in records:
        if isinstance(record, TasksAdded):
            size += sum(len(parameter) for _, _, parameter in record.rows)
        elif isinstance(record, TaskFinished):
            size += len(record.payload)
    return size
