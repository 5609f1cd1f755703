"""Agents that can take tasks, by queue: placement asks these, not all that are connected.

An agent with room stands in the lists of all queues that it may serve, and leaves one when it is taken from it; after a
turn in which its room may have grown, or that left it some, it is added again, behind the others. So entries may be
out of date, and are checked when they are taken, but nobody with room is missing. The lists of queues that became empty
stay for a while, since a list is made by looking at all agents once.
"""

from collections import OrderedDict
from collections.abc import Iterable

from dart.broker.core.model import Agent
from dart.broker.core.ready_queue import QueueKey
from dart.ids import AgentId

KEYS_KEPT = 64
"""Lists of one location; those used longest ago go first. So an agent stands in at most twice as many."""


class Waiting:
    """Agents that may serve one queue, the one that waited longest first."""

    __slots__ = ("idle", "spare")

    def __init__(self) -> None:
        self.idle: OrderedDict[AgentId, Agent] = OrderedDict()
        """Those with an idle slot."""
        self.spare: OrderedDict[AgentId, Agent] = OrderedDict()
        """Those that take tasks ahead, and others whose slots have filled up since."""

    def add(self, agent: Agent, *, idle: bool) -> None:
        """It has room; where it stands already it stays."""
        (self.spare if idle else self.idle).pop(agent.id, None)
        (self.idle if idle else self.spare)[agent.id] = agent

    def take(self, *, idle: bool) -> Agent | None:
        """The first one; None: there is nobody."""
        agents = self.idle if idle else self.spare
        return agents.popitem(last=False)[1] if agents else None


class Takers:
    """All lists."""

    __slots__ = ("_lists",)

    def __init__(self) -> None:
        self._lists: dict[str, OrderedDict[tuple[str, ...], Waiting]] = {}

    def get(self, key: QueueKey) -> Waiting | None:
        """The list of this queue, if there is one."""
        of_location = self._lists.get(key[0])
        found = None if of_location is None else of_location.get(key[1])
        if found is not None and of_location is not None:
            of_location.move_to_end(key[1])
        return found

    def make(self, key: QueueKey) -> Waiting:
        """A new list of this queue, for all that have room and may serve it to be added to."""
        of_location = self._lists.setdefault(key[0], OrderedDict())
        if len(of_location) >= KEYS_KEPT:
            of_location.popitem(last=False)
        found = of_location[key[1]] = Waiting()
        return found

    def add(self, agent: Agent, *, idle: bool) -> None:
        """This agent has room."""
        for location in (agent.name, ""):
            for requires, waiting in self._lists.get(location, _NONE).items():
                if agent.capabilities.cover(requires):
                    waiting.add(agent, idle=idle)

    def drop(self, agent: Agent, *, last: bool) -> None:
        """It is not connected any more, and was the last one of its name perhaps."""
        for location in (agent.name, ""):
            for waiting in self._lists.get(location, _NONE).values():
                waiting.idle.pop(agent.id, None)
                waiting.spare.pop(agent.id, None)
        if last:
            self._lists.pop(agent.name, None)

    def items(self) -> Iterable[tuple[QueueKey, Waiting]]:
        """All lists; for checks."""
        return [
            ((location, requires), waiting)
            for location, found in self._lists.items()
            for requires, waiting in found.items()
        ]


_NONE: OrderedDict[tuple[str, ...], Waiting] = OrderedDict()
