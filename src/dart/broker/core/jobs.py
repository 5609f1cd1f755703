"""Jobs, and what is done to their tasks by clients other than submitting them."""

from dart.broker.core import stops
from dart.broker.core.commands import Refuse, Reply
from dart.broker.core.events import JobDefined, JobsPurged, JobStopped, ResultDeleted, TaskCancelled
from dart.broker.core.forgetting import forget_job
from dart.broker.core.happenings import tell_job
from dart.broker.core.leases import cancel
from dart.broker.core.model import Job, JobStatus
from dart.broker.core.records import JobAdded, JobStatusSet, RequestAnswered, ResultForgotten
from dart.broker.core.retention import note_stopped
from dart.broker.core.standing import begin, register, why_not_after, why_not_purge
from dart.broker.core.state import Core, milliseconds, persist, unknown_job
from dart.broker.core.submissions import abandon_of_job, admit_one
from dart.errors import JobExistsError, LimitError
from dart.ids import JobId, TaskId


def on_job_defined(core: Core, event: JobDefined, now: float) -> None:
    """Define a job, unless its name is taken."""
    if event.name in core.jobs:
        error = JobExistsError(
            f"A job called {event.name!r} is already defined; choose another name or purge it.", job=event.name
        )
        core.commands.append(Refuse(event.token, error))
        return
    if len(core.jobs) >= core.limits.jobs_max:
        text = f"There are {len(core.jobs)} jobs, as many as the limit jobs_max allows; purge jobs that are done."
        core.commands.append(Refuse(event.token, LimitError(text, limit="jobs_max")))
        return
    refusal = why_not_after(core, event.config)
    if refusal is not None:
        core.commands.append(Refuse(event.token, refusal))
        return
    core.highest_id += 1
    job = Job(JobId(core.highest_id), event.name, event.config, JobStatus.RUNNING, milliseconds(now))
    core.jobs[job.name] = job
    persist(core, JobAdded(job.id, job.name, job.config, job.defined_at_ms))
    tell_job(core, job.name, "defined")
    register(core, job)
    begin(core, job)
    if event.idempotency is not None:
        persist(core, RequestAnswered(event.idempotency, job.id))
    core.commands.append(Reply(event.token, job.id))


def on_job_stopped(core: Core, event: JobStopped, now: float) -> None:
    """Cancel what is open, by and by, and say so in the status."""
    job = core.jobs.get(event.name)
    if job is None:
        core.commands.append(Refuse(event.token, unknown_job(event.name)))
        return
    if job.status is not JobStatus.STOPPED:
        job.status = JobStatus.STOPPED
        job.stopped_at_ms = milliseconds(now)
        persist(core, JobStatusSet(job.id, job.status, job.stopped_at_ms))
        note_stopped(core, job)
        tell_job(core, job.name, "stopped")
    abandon_of_job(core, job)
    stops.begin(core, job, event.token, now)


def on_jobs_purged(core: Core, event: JobsPurged, _now: float) -> None:
    """Forget jobs with all that belongs to them; those that are not there are no error."""
    jobs = [core.jobs[name] for name in dict.fromkeys(event.names) if name in core.jobs]
    for job in jobs:
        refusal = why_not_purge(core, job, event.names)
        if refusal is not None:
            core.commands.append(Refuse(event.token, refusal))
            return
    for job in jobs:
        forget_job(core, job)
    core.commands.append(Reply(event.token, len(jobs)))


def on_task_cancelled(core: Core, event: TaskCancelled, now: float) -> None:
    """Cancel one task, if it is open."""
    job = core.jobs.get(event.job)
    if job is None:
        core.commands.append(Refuse(event.token, unknown_job(event.job)))
        return
    task = job.open.get(event.task_id) or admit_one(core, job, event.task_id)
    if task is not None:
        cancel(core, task, now)
    core.commands.append(Reply(event.token, task is not None))


def on_result_deleted(core: Core, event: ResultDeleted, _now: float) -> None:
    """Forget one outcome; an id without one costs nothing."""
    job = core.jobs.get(event.job)
    if job is not None and job.id < event.task_id <= core.highest_id and event.task_id not in core.tasks:
        persist(core, ResultForgotten(job.id, TaskId(event.task_id)))
    core.commands.append(Reply(event.token, None))
