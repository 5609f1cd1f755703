"""What a caller whose key is bound to workers may see and touch of a job's tasks; for all others, everything."""

from dart.broker.core.views import TaskView
from dart.broker.gateway import FinishedTask
from dart.errors import UnknownTaskError
from dart.ids import TaskId
from dart.rest.call import Call
from dart.rest.caller import Caller


def sees(caller: Caller, task: TaskView | FinishedTask) -> bool:
    """Whether a task is meant for one of its workers, or is or was there."""
    where = _location(task) or task.worker
    return caller.workers.is_open or (bool(where) and caller.sees_worker(where))


def touches(caller: Caller, task: TaskView | FinishedTask) -> bool:
    """Whether it may cancel a task or delete its result: only one that is meant for one of its workers."""
    location = _location(task)
    return caller.workers.is_open or (bool(location) and caller.sees_worker(location))


async def may_touch(call: Call, task_id: TaskId) -> bool:
    """The same for a task of the job that the path names; unknown ones are nobody's affair."""
    if call.caller.workers.is_open:
        return True
    try:
        return touches(call.caller, await call.gateway.task(call.part("job"), task_id))
    except UnknownTaskError:
        return True


def unknown(call: Call, task_id: TaskId) -> UnknownTaskError:
    """What is said of a task that the caller may not see: the same as of one that is not there."""
    job = call.part("job")
    return UnknownTaskError(f"Job {job!r} has no task {task_id}.", job=job, task=str(task_id))


def _location(task: TaskView | FinishedTask) -> str:
    return task.policy.location if isinstance(task, TaskView) else task.location
