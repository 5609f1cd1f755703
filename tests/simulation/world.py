"""One virtual clock, one heap of what is to happen, one seed: everything simulated lives in a world."""

import heapq
import random
import re
from collections import deque

EPOCH = 1_700_000_000.0
"""Unix time at which every world begins."""
EVENTS_MAX = 200_000
"""No honest run needs as many; a loop that does not let time pass ends here."""
TRACE_EVENTS = 40
REFERENCE = re.compile(r"AttemptRef\(task_id=(\d+), attempt=Attempt\(incarnation=(\d+), number=(\d+)\)\)")


class BrokenPromiseError(Exception):
    """What this system promises did not hold in this run."""


class Timer:
    """Something that is to happen, unless it is cancelled before."""

    __slots__ = ("arguments", "function", "when")

    def __init__(self, when, function, arguments):
        self.when = when
        self.function = function
        self.arguments = arguments

    def cancel(self):
        self.function = None
        self.arguments = ()

    def cancelled(self):
        return self.function is None


class World:
    """Time and chance. `now` is seconds since the world began."""

    def __init__(self, seed):
        self.seed = seed
        self.now = 0.0
        self.events = 0
        self.trace = deque(maxlen=TRACE_EVENTS)
        self.broken = ""
        self.loops = []
        self._heap = []
        self._count = 0

    def random_for(self, purpose):
        """A source of chance of its own for each purpose, so that one part's use of it does not disturb another's."""
        return random.Random(f"{self.seed}/{purpose}")

    def at(self, when, function, *arguments):
        """Have a function called; those of one instant are called in the order of these calls."""
        timer = Timer(max(when, self.now), function, arguments)
        self._count += 1
        heapq.heappush(self._heap, (timer.when, self._count, timer))
        return timer

    def after(self, seconds, function, *arguments):
        return self.at(self.now + seconds, function, *arguments)

    def note(self, *what):
        """Remember for the story of a failure; made into text only then."""
        self.trace.append((self.now, what))

    def fail(self, text):
        """The run is broken; it ends before the next event. Only the first reason counts."""
        self.broken = self.broken or text

    def run(self, until, done=lambda: False):
        """Let time pass until then or until `done` says so, asked after each event; whether it did."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            when, _, timer = heapq.heappop(heap)
            if timer.function is None:
                continue
            self.now = when
            self.events += 1
            if self.events > EVENTS_MAX:
                self.fail(f"more than {EVENTS_MAX} events: something goes round in circles")
            timer.function(*timer.arguments)
            if self.broken:
                raise BrokenPromiseError(self.broken)
            if done():
                return True
        self.now = max(self.now, until)
        return False

    def story(self):
        """The latest events in words."""
        return [f"  {when:10.4f}  " + in_short(" ".join(str(part) for part in what))[:260] for when, what in self.trace]


def in_short(text):
    """`7@1.2` for attempt 1.2 of task 7."""
    return REFERENCE.sub(r"\1@\2.\3", text)
