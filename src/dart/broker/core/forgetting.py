"""Forgetting a job with all that belongs to it."""

from heapq import heapify

from dart.broker.core.happenings import tell_job
from dart.broker.core.leases import interrupt, leave
from dart.broker.core.model import Job
from dart.broker.core.records import JobForgotten
from dart.broker.core.state import Core, persist
from dart.broker.core.stops import answer
from dart.broker.core.submissions import abandon_of_job, drop_of_job

_KEPT_MAX = 64
"""Entries of forgotten jobs that are not worth a sweep."""


def forget_job(core: Core, job: Job) -> None:
    """Its definition, tasks and outcomes go; running attempts are interrupted."""
    del core.jobs[job.name]
    core.standing.pop(job.id, None)
    abandon_of_job(core, job)
    drop_of_job(core, job)
    for task in list(job.open.values()):
        interrupt(core, task)
        leave(core, task)
    if job.id in core.stops:
        answer(core, core.stops.pop(job.id))
    persist(core, JobForgotten(job.id))
    tell_job(core, job.name, "forgotten")
    # A job has at most two entries of its own. Those of forgotten ones could wait there for a month.
    if len(core.upkeep) > 4 * len(core.jobs) + _KEPT_MAX:
        known = {other.id for other in core.jobs.values()}
        core.upkeep = [entry for entry in core.upkeep if entry[1] in known]
        heapify(core.upkeep)
