"""Why a task does not run: in one sentence, and candidate by candidate. For people."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

from dart.broker.core.capabilities import is_name
from dart.broker.core.leases import holder_of
from dart.broker.core.lifecycle import HELD_STATES
from dart.broker.core.model import Agent, JobStatus, OnLost, Task, TaskPolicy, TaskState
from dart.broker.core.ready_queue import is_doomed
from dart.broker.core.room import room_of
from dart.broker.core.state import Core
from dart.broker.core.tokens import has_done, standing_jobs, without_tokens
from dart.ids import JobId

REASONS_MAX = 20
"""Candidates spoken of, one by one."""
_WAITING = (TaskState.STAGED, TaskState.QUEUED)
"""To the outside a task that is still being let in is queued."""


def pending_reason(core: Core, task: Task, said: dict[TaskPolicy, str] | None = None) -> str:
    """Why an open task does not run; empty if it does, as far as its agent can be heard.

    Args:
        core: Not changed.
        task: An open one.
        said: What was said of queued tasks at this very moment, by policy: many tasks share one, and looking at
            thousands of agents for each of them would hold everybody up.
    """
    if task.state in HELD_STATES:
        return _why_held(core, task)
    if task.state is TaskState.DELAYED:
        counted = [f"failed {task.errors} times"] if task.errors else []
        counted += [f"was lost {task.losses} times"] if task.losses else []
        return f"It {' and '.join(counted)}, and is tried again at {_moment(task.delayed_until)}."
    if core.stopping:
        return "The server is stopping."
    if is_doomed(task):
        return "Its job was stopped; it is about to be cancelled."
    if said is None:
        return _why_queued(core, task.policy)
    if task.policy not in said:
        said[task.policy] = _why_queued(core, task.policy)
    return said[task.policy]


def pending_reasons(core: Core, task: Task) -> tuple[str, ...]:
    """Why none of its candidates runs a queued task, one sentence each, of at most `REASONS_MAX` candidates."""
    if task.state not in _WAITING or core.stopping or is_doomed(task):
        reason = pending_reason(core, task)
        return (reason,) if reason else ()
    return tuple(islice(_reasons(core, task), REASONS_MAX))


def _why_held(core: Core, task: Task) -> str:
    holder = holder_of(core, task)
    if holder.session is not None:
        return (
            ""
            if task.state is TaskState.RUNNING
            else f"Leased to worker {holder.name!r}, which has not said that the task runs."
        )
    if holder.lease_expires_at == float("inf"):
        return f"Waits for the very agent of worker {holder.name!r} that had it, which was lost (on_lost=wait)."
    then = {
        OnLost.REQUEUE: "then it may run elsewhere",
        OnLost.WAIT: "then it goes on waiting for that very agent",
        OnLost.FAIL: "then it is lost",
    }[task.policy.on_lost]
    until = _moment(holder.lease_expires_at)
    return f"Leased to worker {holder.name!r}, which is silent and keeps the task until {until}; {then}."


def _why_queued(core: Core, policy: TaskPolicy) -> str:
    location, requires = policy.location, without_tokens(policy.requires)
    names = (location,) if location else core.connected
    agents = [agent for name in names for agent in core.connected.get(name, {}).values()]
    if not agents:
        return f"No worker called {location!r} is connected." if location else "No worker is connected."
    able = [agent for agent in agents if agent.capabilities.cover(requires)]
    who = f"worker {location!r}" if location else "any connected worker"
    if not able:
        lacking = [text for text in requires if not any(agent.capabilities.satisfy(text) for agent in agents)]
        what = ", ".join(lacking) if lacking else f"{', '.join(requires)} together"
        verb = "has the capability" if all(map(is_name, lacking or requires)) else "satisfies"
        return f"No agent of {who} {verb} {what}."
    allowed = [agent for agent in able if agent.capabilities.cover(policy.requires)]
    if not allowed:
        names_after = ", ".join(repr(_name(core, job_id)) for job_id in standing_jobs(policy.requires))
        return f"Comes after the standing job {names_after}, which is not done on {who} that could run it."
    if all(agent.draining for agent in allowed):
        return f"All agents of {who} that could run it are draining."
    if all(agent.draining or agent.spool_full for agent in allowed):
        return f"The spools of all agents of {who} that could run it are full."
    return f"Waits for a free slot of {who}."


def _reasons(core: Core, task: Task) -> Iterator[str]:
    policy = task.policy
    location = policy.location
    for name in (location,) if location else core.connected:
        for agent in core.connected.get(name, {}).values():
            yield f"Worker {name!r} on host {agent.host!r}: {_why_not(core, task, agent)}."
    if location and location not in core.connected:
        yield f"Worker {location!r} is not connected."
    silent = (agent for agent in core.agents.values() if agent.session is None and location in ("", agent.name))
    for agent in silent:
        until = agent.lease_expires_at
        end = "come back" if until == float("inf") else f"are given up at {_moment(until)}"
        yield f"Worker {agent.name!r}: silent; {len(agent.leases)} tasks that it holds wait until they {end}."


def _why_not(core: Core, task: Task, agent: Agent) -> str:
    """Why this agent does not get a queued task."""
    requires = task.policy.requires
    lacking = agent.capabilities.lacking(without_tokens(requires))
    if lacking:
        return _why_lacking(agent, lacking)
    for job_id in standing_jobs(requires):
        why = _why_not_done(core, agent.name, job_id)
        if why:
            return why
    if agent.draining:
        return "is draining"
    if agent.spool_full:
        return "its spool is full, it takes nothing until results were acknowledged"
    busy = min(agent.slots, len(agent.leases))
    if room_of(core, agent) is None:
        slots = (
            f"all {agent.slots} slots are busy" if busy == agent.slots else f"{busy} of {agent.slots} slots are busy"
        )
        return f"{slots} and its credit is used"
    return f"has no room for {task.parameter_bytes} bytes, or for what goes before them"


def _why_lacking(agent: Agent, lacking: list[str]) -> str:
    """What of the requirements an agent does not satisfy, and what is known of it instead."""
    names = list(filter(is_name, lacking))
    said = [f"lacks the capability {', '.join(names)}"] if names else []
    for text in lacking:
        if text not in names:
            values = agent.capabilities.values_of(text)
            said.append(f"does not satisfy {text}" + (f" ({values})" if values else ""))
    return "; ".join(said)


def _why_not_done(core: Core, worker: str, job_id: JobId) -> str:
    """Why a standing job is not done on this worker; empty if it is."""
    standing = core.standing.get(job_id)
    if standing is None or has_done(standing.job, worker):
        return ""
    job = standing.job
    if any(task.policy.location == worker for task in job.open.values()):
        return f"the standing job {job.name!r} is not done there yet"
    if worker in standing.given:
        return f"the standing job {job.name!r} did not succeed there; submit a task for it to that job"
    if job.status is JobStatus.STOPPED:
        return f"the standing job {job.name!r} was stopped before it was done there"
    return f"the standing job {job.name!r} is not for it"


def _name(core: Core, job_id: JobId) -> str:
    return core.standing[job_id].job.name if job_id in core.standing else f"number {job_id}, which was purged"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
