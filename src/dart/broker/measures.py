"""What the service counts and times as it runs: for each group of records and each TASKS frame, never by a lock.

One thread writes each number and another may read it meanwhile. A scrape may so miss what is being counted, which
the next one has; nothing is counted twice.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Final

from dart.broker.core.commands import SendTasks
from dart.broker.core.model import TaskState
from dart.broker.core.records import Record, TaskFinished, TasksAdded

COMMIT_BOUNDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
WAIT_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0)
TASK_BOUNDS: Final = (0.001, 0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0, 21600.0, 86400.0)
LAG_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
BLOB_WAYS: Final = ("from_clients", "to_clients", "from_agents", "to_agents")
MARKS_MAX: Final = 32_768
"""Groups of submissions whose times are remembered: some 4 MB."""


class Histogram:
    """How many observations fell between bounds, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Not cumulative; the last is of those above all bounds."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one; what is no time (below 0, or no number) counts as 0."""
        value = max(0.0, value)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Measures:
    """The numbers of one service, from its start.

    Args:
        clock: The service's.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.commits = Histogram(COMMIT_BOUNDS)
        """Seconds that groups of records took until they were durable."""
        self.records = 0
        """In those groups."""
        self.submitted = 0
        self.parameter_bytes = 0
        self.result_bytes = 0
        self.blob_bytes = dict.fromkeys(BLOB_WAYS, 0)
        """Of the pieces of large values; what is sent again counts again."""
        self.finished = dict.fromkeys(
            (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED, TaskState.LOST), 0
        )
        self.task_seconds = Histogram(TASK_BOUNDS)
        """Of tasks that ran to an end, as their agents told."""
        self.waits = Histogram(WAIT_BOUNDS)
        """From a task's submission to its first TASKS frame."""
        self.leased = 0
        self.refused: dict[str, Callable[[], int]] = {}
        """How many connections and frames were refused, by reason; set by the server, which has them."""
        self._marks: list[int] = []
        """First ids of groups of tasks, growing; and when they came."""
        self._marked_at: list[float] = []

    def committed(self, records: Sequence[Record], seconds: float) -> None:
        """A group is durable. Called in the committer's thread, so that the loop pays nothing for it."""
        self.commits.observe(seconds)
        self.records += len(records)
        for record in records:
            if isinstance(record, TaskFinished):
                self.finished[record.state] += 1
                self.result_bytes += len(record.payload)
                if record.start_time_ms:
                    self.task_seconds.observe(record.duration_seconds)
            elif isinstance(record, TasksAdded):
                self.submitted += len(record.rows)
                self.parameter_bytes += sum(len(row[2]) for row in record.rows)

    def taken(self, records: Sequence[Record]) -> None:
        """A turn has these records: remember since when its new tasks wait."""
        for record in records:
            # In order of ids, but for submissions that come in slices side by side: those count from the later one.
            if isinstance(record, TasksAdded) and (not self._marks or record.first_id > self._marks[-1]):
                self._marks.append(record.first_id)
                self._marked_at.append(self._clock())
        if len(self._marks) > MARKS_MAX:
            # Every other one of the older half: what follows a mark that goes counts from the one before.
            del self._marks[1 : MARKS_MAX // 2 : 2]
            del self._marked_at[1 : MARKS_MAX // 2 : 2]

    def sent(self, command: SendTasks) -> None:
        """A TASKS frame goes out."""
        now = self._clock()
        marks, at = self._marks, self._marked_at
        self.leased += len(command.leases)
        for order in command.leases:
            if order.ref.attempt.number == 1 and (found := bisect_right(marks, order.ref.task_id)):
                self.waits.observe(now - at[found - 1])
