"""What the outside may know of the broker's state: plain copies, made on demand."""

from collections.abc import Callable, Iterable
from heapq import merge, nsmallest
from itertools import islice
from typing import NamedTuple

from dart.broker.core.capabilities import Capabilities
from dart.broker.core.capabilities import fault_of as fault_of  # noqa: PLC0414 - part of what REST is given here
from dart.broker.core.leases import attempts_made, holder_of
from dart.broker.core.lifecycle import HELD_STATES, OPEN_STATES
from dart.broker.core.model import Agent, Enrolment, Job, JobConfig, JobStatus, Task, TaskPolicy, TaskState
from dart.broker.core.pending import pending_reason, pending_reasons
from dart.broker.core.state import Core, Submission, milliseconds
from dart.broker.core.tokens import standing_jobs, without_tokens
from dart.ids import AgentId, JobId, JoinTokenId, TaskId

_SHOWN_STATES = tuple(state for state in TaskState if state is not TaskState.STAGED)
_HELD = frozenset(HELD_STATES)
_WAITING_STATES = frozenset(OPEN_STATES) - _HELD


class AgentView(NamedTuple):
    """One connected agent."""

    id: AgentId
    """Fingerprint of its key."""
    name: str
    host: str
    slots: int
    busy: int
    """Slots with a lease, at most `slots`."""
    leases: int
    capabilities: tuple[str, ...]
    facts: dict[str, str]
    draining: bool
    spool_full: bool
    """It takes nothing until results were acknowledged or its disk can be written."""
    silent_seconds: float
    """Since anything was heard."""
    results_held: int
    """Results it keeps for tasks that this store does not know."""


class WorkerView(NamedTuple):
    """All connected agents of one name."""

    name: str
    slots: int
    """Of all of them together; REST calls it `count`."""
    capabilities: tuple[str, ...]
    """Sorted union."""
    hosts: tuple[str, ...]
    agents: tuple[AgentView, ...]

    def cover(self, requires: Iterable[str]) -> bool:
        """Whether one of its agents satisfies all of this."""
        return any(Capabilities(agent.capabilities, agent.facts).cover(requires) for agent in self.agents)


class EnrolledView(NamedTuple):
    """A key that may connect under a name."""

    id: AgentId
    """Fingerprint of its key."""
    name: str
    name_is_pattern: bool
    """Its name is fixed by its first HELLO."""
    enrolled_at_ms: int
    token_id: JoinTokenId
    """Empty: an admin let it in."""
    connected: bool
    heard_at_ms: int
    """0: not since the server was started."""


class JobView(NamedTuple):
    """A job and how far it is."""

    id: JobId
    name: str
    status: JobStatus
    config: JobConfig
    defined_at_ms: int
    counts: dict[TaskState, int]
    """Tasks by state; states without a task are left out; STAGED never appears."""
    workers: tuple[str, ...]
    """Distinct worker names among its recorded outcomes, for matching patterns."""


class TaskView(NamedTuple):
    """An open task."""

    id: TaskId
    state: TaskState
    policy: TaskPolicy
    tag: str
    worker: str
    """Name of the agent that holds it, or empty."""
    host: str
    attempts: int
    start_time_ms: int
    fraction: float
    """-1: nothing reported."""
    progress_text: str
    pending_reason: str
    """Why it does not run, or what is known of it where its agent is silent; empty if all is well."""
    after: tuple[str, ...] = ()
    """Standing jobs that its worker must have done."""
    pending_reasons: tuple[str, ...] = ()
    """The same candidate by candidate, where a single task was asked for."""


def workers(core: Core, now: float) -> list[WorkerView]:
    """Connected agents by name, in the order of names."""
    return [_worker(name, connected, now) for name, connected in sorted(core.connected.items())]


def worker(core: Core, name: str, now: float) -> WorkerView | None:
    """Connected agents of one name; None: there are none."""
    connected = core.connected.get(name)
    return None if connected is None else _worker(name, connected, now)


def held_tasks(core: Core, name: str, sees: Callable[[str], bool], amount: int) -> list[tuple[str, TaskView]]:
    """What the connected agents of a name hold, as it was handed to each: at most so many of the jobs that are seen.

    Looks at no more than their leases, however many tasks there are.
    """
    leases = (held for agent in core.connected.get(name, {}).values() for held in agent.leases.values())
    chosen = (held.task for held in leases if sees(held.task.job.name))
    return [(found.job.name, _task(core, found)) for found in islice(chosen, amount)]


def _worker(name: str, connected: dict[AgentId, Agent], now: float) -> WorkerView:
    agents = tuple(_agent(agent, now) for agent in connected.values())
    capabilities = {capability for agent in agents for capability in agent.capabilities}
    hosts = tuple(sorted({agent.host for agent in agents}))
    slots = sum(agent.slots for agent in agents)
    return WorkerView(name, slots, tuple(sorted(capabilities)), hosts, agents)


def enrolled(core: Core, name: str = "") -> list[EnrolledView]:
    """Keys that may connect under a name, the oldest first; empty: under any."""
    found = [known for known in core.enrolments.values() if name in ("", known.name) and not known.revoked_at_ms]
    return [_enrolled(core, known) for known in sorted(found, key=lambda one: (one.enrolled_at_ms, one.agent_id))]


def _enrolled(core: Core, known: Enrolment) -> EnrolledView:
    agent = core.agents.get(known.agent_id)
    session = None if agent is None else agent.session
    heard_at = core.heard_at.get(known.agent_id, 0.0) if session is None else session.heard_at
    return EnrolledView(
        known.agent_id,
        known.name,
        known.name_is_pattern,
        known.enrolled_at_ms,
        known.token_id,
        session is not None,
        milliseconds(heard_at),
    )


def job(core: Core, name: str) -> JobView | None:
    """One job."""
    known = core.jobs.get(name)
    return None if known is None else _job(core, known)


def jobs(core: Core, after: str, amount: int) -> list[JobView]:
    """Jobs by name, at most so many of those after this name."""
    names = nsmallest(amount, (name for name in core.jobs if name > after))
    return [_job(core, core.jobs[name]) for name in names]


def open_tasks(
    core: Core, name: str, after: int, amount: int, states: frozenset[TaskState] | None = None
) -> list[TaskView]:
    """A job's unfinished tasks by id, at most so many of those with an id above `after`, of these states."""
    known = core.jobs.get(name)
    if known is None:
        return []
    sources = [_ordered(core, known, after, states, amount)]
    if states is None or TaskState.QUEUED in states:
        sources += [_staged(submission, after) for submission in core.admitting if submission.job is known]
    found = merge(*sources, key=lambda task: task.id) if len(sources) > 1 else sources[0]
    said: dict[TaskPolicy, str] = {}
    return [_task(core, task, said) for task in islice(found, amount)]


def task(core: Core, name: str, task_id: TaskId) -> TaskView | None:
    """One unfinished task of a job."""
    known = core.jobs.get(name)
    if known is None:
        return None
    found = known.open.get(task_id)
    if found is None:
        inside = (submission.at(task_id) for submission in core.admitting if submission.job is known)
        found = next(filter(None, inside), None)
    return None if found is None else _task(core, found)._replace(pending_reasons=pending_reasons(core, found))


def is_open(core: Core, task_id: TaskId) -> bool:
    """Whether a task was promised and has no outcome yet."""
    return task_id in core.tasks or any(submission.at(task_id) for submission in core.admitting)


# Tasks of a complete submission are queued to everyone outside, also those that are still being let in.


def _staged(submission: Submission, after: int) -> Iterable[Task]:
    """Those with an id above `after`; ids of a submission follow one another."""
    found = islice(submission.staged, max(0, after + 1 - submission.staged[0].id), None)
    return (task for task in found if task.state is TaskState.STAGED)


def _agent(agent: Agent, now: float) -> AgentView:
    leases = len(agent.leases)
    return AgentView(
        agent.id,
        agent.name,
        agent.host,
        agent.slots,
        min(agent.slots, leases),
        leases,
        without_tokens(agent.capabilities.names),
        agent.facts,
        agent.draining,
        agent.spool_full,
        0.0 if agent.session is None else max(0.0, now - agent.session.heard_at),
        agent.results_held,
    )


def _job(core: Core, known: Job) -> JobView:
    names = {worker for worker, state in known.tally if state is not TaskState.CANCELLED}
    return JobView(
        known.id,
        known.name,
        known.status,
        known.config,
        known.defined_at_ms,
        task_counts(core, known),
        tuple(sorted(names)),
    )


def task_counts(core: Core, known: Job) -> dict[TaskState, int]:
    """A job's tasks by state, without states that no task is in; what is still being let in is queued."""
    counts: dict[TaskState, int] = {state: known.counts[state] for state in _SHOWN_STATES if known.counts[state]}
    admitting = sum(submission.waiting for submission in core.admitting if submission.job is known)
    if admitting:
        counts[TaskState.QUEUED] = counts.get(TaskState.QUEUED, 0) + admitting
    return counts


def _ordered(core: Core, known: Job, after: int, states: frozenset[TaskState] | None, amount: int) -> Iterable[Task]:
    """A job's tasks in these states by id from `after` on; of held ones perhaps no more than that."""
    if states is not None and states.isdisjoint(_WAITING_STATES):
        held = sum(known.counts[state] for state in states & _HELD)
        leases = sum(len(agent.leases) for agent in core.agents.values())
        # Through all leases, or through the open tasks until there are enough: whatever takes fewer steps.
        if leases * max(held, amount) <= len(known.open) * amount:
            found = (lease.task for agent in core.agents.values() for lease in agent.leases.values())
            chosen = (task for task in found if task.job is known and task.id > after and task.state in states)
            return nsmallest(amount, chosen, key=lambda task: task.id)
        if not held:
            return ()
    return (task for task in known.open.values(after) if states is None or task.state in states)


def _task(core: Core, found: Task, said: dict[TaskPolicy, str] | None = None) -> TaskView:
    held = holder_of(core, found) if found.state in HELD_STATES else None
    return TaskView(
        found.id,
        found.state or TaskState.QUEUED,
        found.policy._replace(requires=without_tokens(found.policy.requires)),
        found.tag,
        "" if held is None else held.name,
        "" if held is None else held.host,
        attempts_made(found),
        *found.told,
        pending_reason(core, found, said),
        tuple(core.standing[job_id].job.name for job_id in standing_jobs(found.policy.requires)),
    )
