"""The state of the core as a store remembers it: at a start, and after a failed commit."""

from heapq import heapify

from dart.broker.core import stops
from dart.broker.core.capabilities import Capabilities
from dart.broker.core.leases import hold
from dart.broker.core.lifecycle import Transition, move, new_task, was_counted
from dart.broker.core.liveness import arm
from dart.broker.core.model import Agent, Job, Recovered, RecoveredLease, TaskState
from dart.broker.core.retention import take_up
from dart.broker.core.standing import comes_after, register
from dart.broker.core.state import Core
from dart.ids import AgentId, BootId
from dart.limits import Limits


def recover(recovered: Recovered, limits: Limits, now: float) -> Core:
    """Build the core. Agents with lease rows keep their leases one full lease time, though nobody has heard of them.

    And longer while others come back (`liveness.py`).
    """
    core = Core(limits, recovered.store_id, recovered.incarnation, recovered.highest_id)
    core.started_at = core.joined_at = now
    core.gaps = recovered.gaps
    core.enrolments = {enrolment.agent_id: enrolment for enrolment in recovered.enrolments}
    core.keys = {key.id: key for key in recovered.keys}
    core.join_tokens = {token.id: token for token in recovered.join_tokens}
    jobs = {}
    for row in recovered.jobs:
        job = Job(row.id, row.name, row.config, row.status, row.defined_at_ms, tally=dict(row.tally))
        job.stopped_at_ms = row.stopped_at_ms
        job.doomed_through = row.doomed_through
        for (_, state), amount in job.tally.items():
            job.counts[state] += amount
        jobs[job.id] = core.jobs[job.name] = job
    for known in recovered.tasks:
        job = jobs[known.job_id]
        task = new_task(
            known.id, job, known.policy, known.tag, known.parameter_bytes, errors=known.errors, losses=known.losses
        )
        move(task, Transition.ADMIT)
        core.tasks[task.id] = job.open[task.id] = task
        if known.policy.expires_at_ms:
            core.expiring += 1
            core.expiries.append((known.policy.expires_at_ms, task.id))
    heapify(core.expiries)
    _stand(core)
    take_up(core, now)
    for lease in reversed(recovered.leases):
        _take_up(core, lease, now)
    # Oldest leases first, as they were given.
    for agent in core.agents.values():
        agent.leases = dict(reversed(agent.leases.items()))
        arm(core, agent)
    for task in core.tasks.values():
        if task.state is TaskState.QUEUED:
            core.ready.push(task)
    stops.take_up(core)
    return core


def _stand(core: Core) -> None:
    """Know the standing jobs, who had them, and what comes after them."""
    for job in core.jobs.values():
        register(core, job)
    if core.standing:
        # Tasks of a submission share their policies.
        policies = {(task.job.name, id(task.policy)): task.policy for task in core.tasks.values()}
        for (name, _), policy in policies.items():
            comes_after(core.jobs[name], policy)


def _take_up(core: Core, lease: RecoveredLease, now: float) -> None:
    """Give an agent its lease back, but for tasks that are finished or that a later lease names.

    One row is for many attempts and stays as long as one of them is out: those that were counted are not.
    """
    enrolment = core.enrolments.get(lease.agent_id)
    for ref in reversed(lease.attempts):
        task = core.tasks.get(ref.task_id)
        if (
            enrolment is not None
            and not enrolment.revoked_at_ms
            and task is not None
            and task.state is TaskState.QUEUED
            and not was_counted(task, ref.attempt)
        ):
            move(task, Transition.ADOPT)
            hold(core, _absent(core, enrolment.agent_id, enrolment.name, now), task, ref.attempt, lease.lease_id)
    if lease.lease_id not in core.lease_counts:
        core.closed_leases.append(lease.lease_id)  # nothing of it is out any more


def _absent(core: Core, agent_id: AgentId, name: str, now: float) -> Agent:
    """An agent that has not been heard of since the start."""
    agent = core.agents.get(agent_id)
    if agent is None:
        agent = core.agents[agent_id] = Agent(agent_id, name, _NO_BOOT, "", 0, Capabilities(), {})
        agent.lease_expires_at = now + core.limits.lease_seconds
    return agent


_NO_BOOT = BootId("")
