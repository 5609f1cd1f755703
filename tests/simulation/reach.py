"""What a series of runs came by: a simulator that never goes there finds nothing there."""

from collections import Counter
from statistics import median

from dart.broker.core import lifecycle
from dart.broker.core.model import TaskState
from dart.wire import messages
from dart.wire.codec import MESSAGE_TYPES

MISHAPS = ("dropped", "duplicated", "delayed")
NEVER_SENT = frozenset({messages.Ask, messages.Told})
"""Questions are beside all tasks, and nothing waits for them."""
TIMES_LEAST = 100
SHARE_LEAST = 0.1
EVENTS_LEAST = 200


class Reach:
    """Counts of one run or of many; can be sent between processes."""

    def __init__(self):
        self.seeds = 0
        self.events = []
        self.rows = Counter()
        self.mishaps = Counter()
        self.kinds = Counter()
        self.sent = Counter()
        self.outcomes = Counter()
        self.deep = 0
        """Seeds in which many tasks were with one runner at once."""

    def add(self, other):
        self.seeds += other.seeds
        self.events += other.events
        self.deep += other.deep
        for mine, theirs in (
            (self.rows, other.rows),
            (self.mishaps, other.mishaps),
            (self.kinds, other.kinds),
            (self.sent, other.sent),
            (self.outcomes, other.outcomes),
        ):
            mine.update(theirs)

    def shortfalls(self, kinds):
        """What was not reached, in words. For fewer than 2,000 seeds, the counts asked for shrink in proportion."""
        least = max(1, TIMES_LEAST * min(self.seeds, 2000) // 2000)
        found = [
            f"row {before.name} {transition.name} of the lifecycle table was never taken"
            for before, transition in lifecycle.TABLE
            if not self.rows[before, transition]
        ]
        found += [
            f"{kind} happened in {self.kinds[kind]} of {self.seeds} seeds only"
            for kind in kinds
            if self.kinds[kind] < SHARE_LEAST * self.seeds
        ]
        for message in MESSAGE_TYPES.values():
            name = message.__name__
            if message in NEVER_SENT:
                if self.sent[name]:
                    found.append(f"{name} is sent now: it is to be counted like the others")
                continue
            found += [
                f"{name} was {mishap} {self.mishaps[name, mishap]} times, not {least}"
                for mishap in MISHAPS
                if self.mishaps[name, mishap] < least
            ]
        if self.deep < least:
            found.append(f"pipelines were deep in {self.deep} seeds, not {least}")
        if median(self.events) < EVENTS_LEAST:
            found.append(f"the median seed has {median(self.events):g} events, not {EVENTS_LEAST}")
        return found

    def summary(self):
        """In a few lines."""
        fewest = min(
            (self.mishaps[message.__name__, mishap], message.__name__, mishap)
            for message in MESSAGE_TYPES.values()
            if message not in NEVER_SENT
            for mishap in MISHAPS
        )
        rarest = min((self.rows[row], row[0].name, row[1].name) for row in lifecycle.TABLE)
        return [
            f"{self.seeds} seeds, {sum(self.events)} events, {int(median(self.events))} in the median seed",
            f"rarest row of the lifecycle table: {rarest[1]} {rarest[2]}, {rarest[0]} times",
            f"rarest mishap of a message: {fewest[1]} {fewest[2]}, {fewest[0]} times",
            "faults by the seeds they came in: " + ", ".join(f"{kind} {n}" for kind, n in sorted(self.kinds.items())),
            f"deep pipelines in {self.deep} seeds",
            "outcomes: " + ", ".join(f"{state} {n}" for state, n in sorted(self.outcomes.items())),
        ]


class _Row(tuple):
    """A row of the grid of transitions that tells which of its cells are used."""

    __slots__ = ()

    def __getitem__(self, transition):
        after = tuple.__getitem__(self, transition)
        if after is not None and _watching is not None:
            _watching[_STATES[id(self)], lifecycle.Transition(transition)] += 1
        return after


_watching = None
_STATES = {}


def watch_rows(reach):
    """Count the rows of the lifecycle table in this reach from now on."""
    global _watching  # noqa: PLW0603 - the core is one module, too
    if not _STATES:
        rows = tuple(_Row(row) for row in lifecycle._NEXT)
        _STATES.update((id(row), state) for row, state in zip(rows, TaskState, strict=True))
        lifecycle._NEXT = rows
    _watching = reach.rows
