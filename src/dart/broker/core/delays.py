"""Tasks that wait a while before they run again, and how long that is."""

from heapq import heapify, heappop, heappush

from dart.broker.core.happenings import tell_moved
from dart.broker.core.lifecycle import Transition, move
from dart.broker.core.model import Task, TaskState
from dart.broker.core.state import Core
from dart.ids import TaskId

_DOUBLINGS_MAX = 60
"""Beyond any bound that seconds could have."""
_KEPT_MAX = 64
"""Entries that do not count any more are not worth a sweep below this number."""


def back_off(core: Core, first_seconds: float, failures: int) -> float:
    """Seconds before the next run after so many failures of one kind."""
    doubled: float = first_seconds * 2.0 ** min(failures - 1, _DOUBLINGS_MAX)
    return min(doubled, core.limits.retry_seconds_max)


def queue_again(core: Core, task: Task, now: float, seconds: float) -> None:
    """A task that has just become QUEUED again: put it first in its job's lane, at once or after a while."""
    if seconds <= 0:
        core.ready.push(task, front=True)
        return
    move(task, Transition.DELAY)
    task.delayed_until = now + seconds
    core.delayed += 1
    heappush(core.delays, (task.delayed_until, task.id))


def wait_no_more(core: Core, task: Task) -> None:
    """Take a task that no agent holds out of where it waits; its state is the caller's business."""
    if task.state is TaskState.QUEUED:
        core.ready.remove(task)
        return
    core.delayed -= 1
    if len(core.delays) > 2 * core.delayed + _KEPT_MAX:
        core.delays = [entry for entry in core.delays if entry[1] != task.id and _counts(core, entry)]
        heapify(core.delays)


def resume_tasks(core: Core, now: float) -> None:
    """Queue the tasks that have waited long enough, the one that was to come first in front."""
    due = []
    while core.delays and core.delays[0][0] <= now:
        entry = heappop(core.delays)
        if _counts(core, entry):
            due.append(core.tasks[entry[1]])
            # The same task may have an entry of an earlier delay that ends at the same time.
            move(due[-1], Transition.RESUME)
            tell_moved(core, due[-1])
    core.delayed -= len(due)
    for task in reversed(due):
        core.ready.push(task, front=True)


def _counts(core: Core, entry: tuple[float, TaskId]) -> bool:
    """Whether this entry is that of a task's present delay."""
    until, task_id = entry
    task = core.tasks.get(task_id)
    return task is not None and task.state is TaskState.DELAYED and task.delayed_until == until
