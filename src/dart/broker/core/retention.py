"""What goes by itself: results beyond what is kept of a job, and jobs that were stopped long ago.

The store knows sizes and ages of results and drops them in bounded steps; the core says when, and what the bounds are.
"""

from heapq import heappop, heappush

from dart.broker.core.forgetting import forget_job
from dart.broker.core.model import Job, JobStatus, Retention
from dart.broker.core.records import ResultsBounded
from dart.broker.core.standing import dependents
from dart.broker.core.state import Core, milliseconds, note, persist

_PART = 32
"""Results may live longer than was asked for by this part of that time, so that few are looked at in vain."""
_JOBS_A_TURN = 100


def bounds_of(core: Core, job: Job) -> Retention:
    """What is kept of a job's results; 0: no bound."""
    limits, own = core.limits, job.config.retention
    return Retention(
        own.seconds or limits.kept_result_seconds,
        own.results or limits.kept_results_max,
        own.payload_bytes or limits.kept_result_bytes_max,
    )


def note_outcomes(core: Core, now: float) -> None:
    """Outcomes of these jobs were recorded in this turn: look after them in time."""
    for job in core.finished_jobs.values():
        job.last_finished_at = now
        if not job.bounding:
            _look_later(core, job, now)


def note_stopped(core: Core, job: Job) -> None:
    """A job was stopped: one day it is forgotten."""
    if core.limits.stopped_job_seconds > 0:
        due = job.stopped_at_ms / 1000 + core.limits.stopped_job_seconds
        heappush(core.upkeep, (due, job.id, job.name, False))


def take_up(core: Core, now: float) -> None:
    """After a start: look after everything that was recorded before."""
    for job in core.jobs.values():
        if job.status is JobStatus.STOPPED:
            note_stopped(core, job)
        if job.tally:
            job.last_finished_at = now
            _look_later(core, job, now)


def keep_up(core: Core, now: float) -> None:
    """Have dropped what is due, of some jobs each turn."""
    for _ in range(_JOBS_A_TURN):
        if not core.upkeep or core.upkeep[0][0] > now:
            return
        _, job_id, name, results = heappop(core.upkeep)
        job = core.jobs.get(name)
        if job is None or job.id != job_id:
            continue
        if results:
            _bound_results(core, job, now)
        else:
            _forget_if_idle(core, job, now)


def _interval(core: Core, bounds: Retention) -> float:
    least = core.limits.retention_check_seconds
    return least if bounds.results or bounds.payload_bytes else max(least, bounds.seconds / _PART)


def _look_later(core: Core, job: Job, now: float) -> None:
    bounds = bounds_of(core, job)
    job.bounding = any(bounds)
    if job.bounding:
        heappush(core.upkeep, (now + _interval(core, bounds), job.id, job.name, True))


def _bound_results(core: Core, job: Job, now: float) -> None:
    bounds = bounds_of(core, job)
    before = now - bounds.seconds if bounds.seconds else 0.0
    persist(core, ResultsBounded(job.id, milliseconds(before), bounds.results, bounds.payload_bytes))
    job.bounding = False
    if bounds.seconds and job.last_finished_at >= before:
        _look_later(core, job, now)


def _forget_if_idle(core: Core, job: Job, now: float) -> None:
    busy = any(submission.job is job for submission in (*core.submissions.values(), *core.admitting))
    if job.open or busy or dependents(core, job):
        again = max(core.limits.retention_check_seconds, core.limits.stopped_job_seconds / _PART)
        heappush(core.upkeep, (now + again, job.id, job.name, False))
        return
    forget_job(core, job)
    note(core, "info", f"The job {job.name!r} was forgotten: it was stopped long ago (limit stopped_job_seconds).")
