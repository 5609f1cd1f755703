"""What an agent can take at this moment, and from which queues."""

from dataclasses import dataclass, field

from dart.broker.core.interactive import leases_to_give
from dart.broker.core.model import Agent, Session, Task
from dart.broker.core.ready_queue import QueueKey
from dart.broker.core.state import Core


@dataclass(slots=True)
class Room:
    """What an agent can take in this turn."""

    agent: Agent
    session: Session
    tasks: int
    """Credit left."""
    payload_bytes: int
    """Credit left; negative after a single task larger than all of it."""
    idle: int
    """Slots without a lease; negative where leases wait."""
    given: list[Task] = field(default_factory=list)


def room_of(core: Core, agent: Agent) -> Room | None:
    """What an agent can take now; None: nothing."""
    session = agent.session
    if session is None or agent.draining or core.stopping:
        return None
    # An agent says what it takes, but not that it takes everything from everybody.
    tasks = min(session.credit_tasks - session.in_flight_tasks, leases_to_give(core, agent) - len(agent.leases))
    if tasks <= 0:
        return None
    return Room(agent, session, tasks, session.credit_bytes - session.in_flight_bytes, agent.slots - len(agent.leases))


def may_run(agent: Agent, key: QueueKey) -> bool:
    """Whether tasks of this queue may run at this agent."""
    location, requires = key
    return location in {"", agent.name} and agent.capabilities.cover(requires)
