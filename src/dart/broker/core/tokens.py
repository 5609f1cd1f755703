"""Tokens: internal capabilities of workers that have done a standing job, required by tasks that come after it.

No agent can claim one and no client can require one: names never contain control characters. So queues and placement
need to know nothing of standing jobs.
"""

from collections.abc import Iterable

from dart.broker.core.model import Job, TaskState
from dart.broker.core.state import Core
from dart.ids import JobId

_MARK = "\0after:"


def token_of(job_id: JobId) -> str:
    """What a worker carries that has done this standing job."""
    return f"{_MARK}{job_id}"


def standing_jobs(requires: Iterable[str]) -> list[JobId]:
    """Standing jobs whose tokens are among these capabilities."""
    return [JobId(int(name.removeprefix(_MARK))) for name in requires if name.startswith(_MARK)]


def without_tokens(capabilities: Iterable[str]) -> tuple[str, ...]:
    """What agents declare and clients ask for, sorted."""
    return tuple(sorted(name for name in capabilities if not name.startswith(_MARK)))


def earned(core: Core, worker: str) -> frozenset[str]:
    """Tokens of all standing jobs that succeeded on this worker."""
    return frozenset(token_of(job_id) for job_id, standing in core.standing.items() if has_done(standing.job, worker))


def has_done(job: Job, worker: str) -> bool:
    """Whether a task of this job ever succeeded on this worker."""
    return (worker, TaskState.SUCCEEDED) in job.tally


def earn(core: Core, job: Job, worker: str) -> None:
    """A task of a standing job succeeded: tasks that come after it may run on this worker."""
    token = token_of(job.id)
    for agent in core.connected.get(worker, {}).values():
        if token not in agent.capabilities.names:
            agent.capabilities = agent.capabilities.adding(token)
            core.ripe[agent.id] = None
