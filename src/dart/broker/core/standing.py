"""Standing jobs: one task for each worker name that matches, now or when it joins; and who comes after them."""

from collections.abc import Iterable, Mapping

from dart.broker.core.capabilities import Capabilities
from dart.broker.core.leases import enter
from dart.broker.core.lifecycle import new_task
from dart.broker.core.model import Agent, Job, JobConfig, JobStatus, TaskPolicy
from dart.broker.core.records import TasksAdded
from dart.broker.core.state import Core, StandingJob, note, persist, unknown_job
from dart.broker.core.tokens import earned, standing_jobs, without_tokens
from dart.errors import ConflictError, DartError, InvalidRequestError
from dart.ids import TaskId
from dart.patterns import compile_pattern

_NAMED_MAX = 10
"""Names listed in a refusal."""


def names_after(config: JobConfig) -> Iterable[str]:
    """Standing jobs that the tasks of a job come after."""
    names = config.defaults.get("after", ())
    return names if isinstance(names, list) else ()


def why_not_after(core: Core, config: JobConfig) -> DartError | None:
    """Why a job cannot come after those that its definition names, if so."""
    for name in names_after(config):
        job = core.jobs.get(name)
        if job is None:
            return unknown_job(name)
        if job.id not in core.standing:
            text = f"The job {name!r} is not standing; `after` names standing jobs only."
            return InvalidRequestError(text, field="after", job=name)
    return None


def why_not_policies(core: Core, policies: Iterable[TaskPolicy]) -> DartError | None:
    """Why tasks cannot come after the standing jobs that they name, if so."""
    for policy in policies:
        if not core.standing.keys() >= set(standing_jobs(policy.requires)):
            return ConflictError("A standing job that these tasks come after was purged meanwhile; submit them again.")
    return None


def register(core: Core, job: Job) -> None:
    """Know a job, defined or recovered, as standing and as coming after others."""
    for name in names_after(job.config):
        if name in core.jobs:
            job.comes_after.add(core.jobs[name].id)
    if job.config.standing is not None:
        pattern = job.config.standing.worker_regex
        given = {worker for worker, _ in job.tally} | {task.policy.location for task in job.open.values()}
        core.standing[job.id] = StandingJob(job, compile_pattern(pattern, core.limits) if pattern else None, given)


def begin(core: Core, job: Job) -> None:
    """Give a new standing job to all workers that are connected."""
    if job.id in core.standing:
        for agents in core.connected.values():
            for agent in agents.values():
                _give(core, core.standing[job.id], agent)


def join(core: Core, agent: Agent) -> None:
    """Give an agent that has just connected what stands for its name."""
    for standing in core.standing.values():
        _give(core, standing, agent)


def capabilities_of(core: Core, name: str, declared: Iterable[str], facts: Mapping[str, str]) -> Capabilities:
    """What an agent of this name can do, with the tokens that the name has earned."""
    return Capabilities(earned(core, name).union(declared), facts)


def dependents(core: Core, job: Job, besides: Iterable[str] = ()) -> list[str]:
    """Jobs that would wait for ever if this standing job were forgotten: running ones, and those with open tasks."""
    if job.id not in core.standing:
        return []
    busy = {submission.job.id for submission in (*core.submissions.values(), *core.admitting)}
    return [
        other.name
        for other in core.jobs.values()
        if job.id in other.comes_after
        and other.name not in besides
        and (other.status is JobStatus.RUNNING or other.open or other.id in busy)
    ]


def why_not_purge(core: Core, job: Job, besides: Iterable[str]) -> DartError | None:
    """The refusal to forget a standing job that others come after."""
    waiting = dependents(core, job, besides)
    if not waiting:
        return None
    shown = ", ".join(repr(name) for name in waiting[:_NAMED_MAX])
    more = f" and {len(waiting) - _NAMED_MAX} more" if len(waiting) > _NAMED_MAX else ""
    text = f"The jobs {shown}{more} come after the standing job {job.name!r}; stop them, then purge it."
    return ConflictError(text, job=job.name)


def comes_after(job: Job, policy: TaskPolicy) -> None:
    """Remember what a task of this job waits for."""
    job.comes_after.update(standing_jobs(policy.requires))


def _give(core: Core, standing: StandingJob, agent: Agent) -> None:
    """A task for this agent's name, unless it had one or does not match."""
    job, name = standing.job, agent.name
    config = job.config.standing
    if config is None or job.status is not JobStatus.RUNNING or agent.draining or core.stopping:
        return
    if name in standing.given or not agent.capabilities.cover(without_tokens(config.policy.requires)):
        return
    if not _matches(core, standing, name):
        return
    standing.given.add(name)
    core.highest_id += 1
    policy = config.policy._replace(location=name)
    comes_after(job, policy)
    task = new_task(TaskId(core.highest_id), job, policy, "", len(config.parameter))
    persist(core, TasksAdded(job.id, task.id, ((policy, "", config.parameter),)))
    enter(core, task)


def _matches(core: Core, standing: StandingJob, name: str) -> bool:
    if standing.pattern is None:
        return True
    try:
        return standing.pattern.fullmatch(name, timeout=core.limits.pattern_milliseconds_max / 1000) is not None
    except TimeoutError:
        text = f"The worker_regex of the standing job {standing.job.name!r} takes too long for {name!r}: no match."
        note(core, "warning", text)
        standing.given.add(name)  # not again and again
        return False
