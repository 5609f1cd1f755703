"""Results that wait for the blobs they name: which they are, and how they end."""

from dart.broker.core.coming import ComingStage
from dart.broker.core.commands import LeaveBlob
from dart.broker.core.model import Agent
from dart.broker.core.state import Core, session_of
from dart.ids import AttemptRef, TaskId


def drop(core: Core, agent: Agent, task_id: TaskId) -> None:
    """A result waits no more: replaced, taken, or not wanted. Blobs that nobody else waits for are left."""
    session = session_of(agent)
    arrival = session.arrivals.pop(task_id)
    for sha256 in arrival.missing:
        coming = session.coming[sha256]
        del coming.tasks[task_id]
        if not coming.tasks:
            del session.coming[sha256]
            core.fetchers[agent.id] = None
            if coming.stage is not ComingStage.QUEUED:
                core.commands.append(LeaveBlob(agent.id, sha256))


def settle(core: Core, agent: Agent, task_id: TaskId) -> None:
    """Its task is this agent's no longer: the result is acknowledged at the end of the turn, if there is one."""
    if agent.session is not None and task_id in agent.session.arrivals:
        attempt = agent.session.arrivals[task_id].result.ref.attempt
        drop(core, agent, task_id)
        core.settled.setdefault(agent.id, []).append(AttemptRef(task_id, attempt))


def leave_all(core: Core, agent: Agent) -> None:
    """The session is over. Its results will be named in the next HELLO, and what came of their blobs is kept."""
    coming = session_of(agent).coming.items()
    core.commands += [LeaveBlob(agent.id, sha256) for sha256, blob in coming if blob.stage is not ComingStage.QUEUED]


def awaited(core: Core) -> set[bytes]:
    """Blobs that results name which are not recorded yet; some of them are here, for others are still to come."""
    return {
        sha256
        for agent in core.sessions.values()
        for arrival in session_of(agent).arrivals.values()
        for sha256, _ in arrival.result.blobs
    }
