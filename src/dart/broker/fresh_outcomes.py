"""Outcomes of tasks that somebody waits for, kept from when they are durable until he has them.

Without it, each of those who wait for one quick task would read from the store what was just written there.
"""

from collections.abc import Sequence

from dart.broker.core.records import Record, TaskFinished
from dart.broker.store.base import FinishedTask, outcome_of
from dart.ids import TaskId

TASKS_MAX = 16
"""Tasks that one waits for; of more, the outcomes are read from the store."""
BYTES_MAX = 64 * 1024
"""Of one outcome; larger ones are read, too."""

Seen = dict[TaskId, FinishedTask]


class FreshOutcomes:
    """Who waits for which tasks."""

    def __init__(self) -> None:
        self._watching: dict[TaskId, list[Seen]] = {}

    def watch(self, ids: Sequence[TaskId]) -> Seen:
        """Outcomes of these tasks that become durable from now on, as they do. `leave` when done."""
        seen: Seen = {}
        if len(ids) <= TASKS_MAX:
            for task_id in ids:
                self._watching.setdefault(task_id, []).append(seen)
        return seen

    def leave(self, ids: Sequence[TaskId], seen: Seen) -> None:
        """Nobody reads `seen` any more."""
        for task_id in ids:
            left = [other for other in self._watching.pop(task_id, ()) if other is not seen]
            if left:
                self._watching[task_id] = left

    def taken(self, records: Sequence[Record], void: bool) -> None:  # noqa: FBT001 - a callback
        """A turn's records are durable, or void."""
        if void or not self._watching:
            return
        for record in records:
            if isinstance(record, TaskFinished) and len(record.payload) <= BYTES_MAX:
                for seen in self._watching.get(record.id, ()):
                    seen[record.id] = outcome_of(record, 0)
