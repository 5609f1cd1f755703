"""Stopping jobs: their open tasks are cancelled in slices, some each turn.

From the first turn on nothing of a stopped job is given to anybody. Where one slice is not enough, what is to be
cancelled is recorded first (`TasksDoomed`), so that a start goes on with it. Who asked is answered at the very end.
"""

from dart.broker.core.commands import Reply
from dart.broker.core.events import Token
from dart.broker.core.leases import cancel
from dart.broker.core.model import Job, Task
from dart.broker.core.records import TasksDoomed
from dart.broker.core.state import Core, Stop, persist
from dart.ids import TaskId


def begin(core: Core, job: Job, token: Token, now: float) -> None:
    """Have all tasks of a job cancelled that are open now; at once if these are few."""
    comes = any(submission.job is job for submission in core.admitting)
    if not comes and not core.stops and len(job.open) <= core.slice_left:
        tasks = list(job.open.values())
        _cancel(core, tasks, now)
        core.commands.append(Reply(token, len(tasks)))
        return
    persist(core, TasksDoomed(job.id, TaskId(core.highest_id)))
    stop = core.stops.setdefault(job.id, Stop(job))
    _doom(stop, core.highest_id)
    core.ready.drop_job(job.id)
    stop.askers.append((token, stop.cancelled))


def take_up(core: Core) -> None:
    """After a start: go on with what was begun before it."""
    for job in core.jobs.values():
        if job.doomed_through and job.open:
            _doom(core.stops.setdefault(job.id, Stop(job)), job.doomed_through)


def cancel_some(core: Core, now: float) -> None:
    """Go on with all stops by turns, so that a large one does not hold up a small one."""
    for _ in range(len(core.stops)):
        if core.slice_left <= 0:
            return
        job_id, stop = next(iter(core.stops.items()))
        del core.stops[job_id]
        _cancel_slice(core, stop, now)
        if _is_over(core, stop):
            answer(core, stop)
        else:
            core.stops[job_id] = stop


def answer(core: Core, stop: Stop) -> None:
    """Tell those who asked how many tasks were cancelled since."""
    core.commands += [Reply(token, stop.cancelled - before) for token, before in stop.askers]


def _doom(stop: Stop, last_id: int) -> None:
    """Nobody gets these tasks any more, and they are all looked at."""
    stop.job.doomed_through = last_id
    stop.pages = stop.job.open.page_numbers()
    stop.pages.reverse()


def _cancel_slice(core: Core, stop: Stop, now: float) -> None:
    while stop.pages and core.slice_left > 0:
        doomed = [task for task in stop.job.open.in_page(stop.pages[-1]) if task.id <= stop.job.doomed_through]
        found = doomed[: core.slice_left]
        _cancel(core, found, now)
        stop.cancelled += len(found)
        if len(found) == len(doomed):
            stop.pages.pop()


def _cancel(core: Core, tasks: list[Task], now: float) -> None:
    for task in tasks:
        cancel(core, task, now)
    core.slice_left -= max(1, len(tasks))


def _is_over(core: Core, stop: Stop) -> bool:
    """Whether nothing is left; what is still being let in is cancelled as it comes (`submissions.py`)."""
    return not stop.pages and not any(
        submission.job is stop.job and submission.last_id <= stop.job.doomed_through for submission in core.admitting
    )
