"""Forgetting a job with all that belongs to it."""

from dart.broker.core.leases import interrupt, leave
from dart.broker.core.model import Job
from dart.broker.core.records import JobForgotten
from dart.broker.core.state import Core, persist
from dart.broker.core.submissions import abandon_of_job, admit_of_job


def forget_job(core: Core, job: Job) -> None:
    """Its definition, tasks and outcomes go; running attempts are interrupted."""
    del core.jobs[job.name]
    core.standing.pop(job.id, None)
    abandon_of_job(core, job)
    admit_of_job(core, job)
    for task in list(job.open.values()):
        interrupt(core, task)
        leave(core, task)
    persist(core, JobForgotten(job.id))
