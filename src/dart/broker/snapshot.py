"""How the broker is at this moment, in numbers; what `/metrics` is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import nlargest
from typing import Final

from dart.broker.core.model import JobStatus, TaskState
from dart.broker.measures import Measures
from dart.broker.service import Service

LOCATIONS_MAX: Final = 100
"""Queues that are told by the name of their location: the longest; the rest is one sum."""
ANYWHERE: Final = "/any"
OTHERS: Final = "/others"
"""Stand where locations do, and can be none: no name has a `/`."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Gauges as of now, and the measures that go on."""

    measures: Measures
    tasks: dict[TaskState, int]
    """Open ones."""
    jobs: dict[JobStatus, int]
    queues: dict[str, int]
    """Tasks that wait for an agent, by location."""
    agents: int
    slots: int
    leases: int
    draining: int
    spools_full: int
    spooled: int
    """Results that agents keep until they are acknowledged, as of their last heartbeats."""
    spooled_bytes: int
    largest_spool_bytes: int
    results_held: int
    waiting_bytes: int
    """Payloads that the store has not written yet."""
    late_results: int
    foreign_attempts: int
    ready: bool


def take(service: Service, sees_location: Callable[[str], bool]) -> Snapshot:
    """Look at the core. Costs a step for each job, agent and queue, none for a task.

    Args:
        service: The broker's.
        sees_location: Whether who asks may see this name; others are summed up.
    """
    core = service.reactor.state
    tasks = {state: 0 for state in TaskState if state <= TaskState.RUNNING}
    jobs = {JobStatus.RUNNING: 0, JobStatus.STOPPED: 0}
    for job in core.jobs.values():
        jobs[job.status] += 1
        if job.open:
            for state in tasks:
                tasks[state] += job.counts[state]
    tasks[TaskState.STAGED] = core.reserved
    depths: dict[str, int] = {}
    for queue in core.ready:
        location = queue.key[0] or ANYWHERE
        depths[location] = depths.get(location, 0) + queue.size
    queues = {ANYWHERE: depths.pop(ANYWHERE, 0), OTHERS: 0}
    for location in nlargest(LOCATIONS_MAX, depths, key=depths.__getitem__):
        if sees_location(location):
            queues[location] = depths.pop(location)
    queues[OTHERS] += sum(depths.values())
    connected = core.sessions.values()
    return Snapshot(
        measures=service.measures,
        tasks=tasks,
        jobs=jobs,
        queues=queues,
        agents=len(connected),
        slots=sum(agent.slots for agent in connected),
        leases=sum(len(agent.leases) for agent in core.agents.values()),
        draining=sum(agent.draining for agent in connected),
        spools_full=sum(agent.spool_full for agent in connected),
        spooled=sum(agent.spooled for agent in connected),
        spooled_bytes=sum(agent.spooled_bytes for agent in connected),
        largest_spool_bytes=max((agent.spooled_bytes for agent in connected), default=0),
        results_held=sum(agent.results_held for agent in connected),
        waiting_bytes=service.waiting_bytes,
        late_results=core.late_results,
        foreign_attempts=core.foreign_attempts,
        ready=not service.trouble,
    )
