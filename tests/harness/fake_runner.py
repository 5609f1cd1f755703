"""A runner as an agent's core knows it, for properties of the core."""

from collections import deque

from dart.ids import AttemptRef


class FakeRunner:
    """What the supervisor would have: tasks written to a runner, of which it has begun the first."""

    def __init__(self) -> None:
        self.ready = False
        self.dying = False
        self.given: deque[AttemptRef] = deque()

    def untouched(self) -> tuple[AttemptRef, ...]:
        return tuple(self.given)[1:]
