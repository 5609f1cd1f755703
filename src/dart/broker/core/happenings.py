"""What people may watch as it happens: the core gathers it turn by turn, and the shell tells it when it is durable.

None of it is remembered by the store. Who may see which is decided by the names that each carries: a task is seen
by those who see its `location`, or its `worker` where it has none.
"""

from collections.abc import Iterable
from typing import NamedTuple

from dart.broker.core.model import Agent, Task, TaskState
from dart.broker.core.state import Core
from dart.ids import AgentId, TaskId


class TasksQueued(NamedTuple):
    """Tasks of one submission and one location that may run from now on."""

    job: str
    location: str
    worker: str
    first_id: TaskId
    last_id: TaskId
    """Others of that submission may lie between."""
    amount: int


class TaskMoved(NamedTuple):
    """A task is in another state, and not finished."""

    job: str
    location: str
    worker: str
    id: TaskId
    state: TaskState


class TaskEnded(NamedTuple):
    """The one outcome of a task; what it returned is read from the store."""

    job: str
    location: str
    worker: str
    id: TaskId
    state: TaskState
    host: str
    attempts: int
    start_time_ms: int
    duration_seconds: float
    error_code: int
    tag: str


class TaskProgressed(NamedTuple):
    """What a running task said of itself."""

    job: str
    location: str
    worker: str
    id: TaskId
    fraction: float
    text: str


class TaskPrinted(NamedTuple):
    """Lines of a running task, in order."""

    job: str
    location: str
    worker: str
    id: TaskId
    lines: tuple[str, ...]


class WorkerChanged(NamedTuple):
    """An agent of a worker came, went or drains."""

    job: str
    """Always empty."""
    location: str
    """Always empty."""
    worker: str
    state: str
    """`connected`, `draining`, `disconnected`."""
    agent_id: AgentId
    host: str
    slots: int
    reason: str


class JobChanged(NamedTuple):
    """A job was defined, stopped or forgotten."""

    job: str
    location: str
    """Always empty."""
    worker: str
    """Always empty."""
    state: str
    """`defined`, `stopped`, `forgotten`."""


Happening = TasksQueued | TaskMoved | TaskEnded | TaskProgressed | TaskPrinted | WorkerChanged | JobChanged


def tell_queued(core: Core, tasks: Iterable[Task]) -> None:
    """These tasks of one job, in the order of their ids, may run."""
    found: dict[str, tuple[str, TaskId, TaskId, int]] = {}
    for task in tasks:
        location = task.policy.location
        job, first, _, amount = found.get(location) or (task.job.name, task.id, task.id, 0)
        found[location] = (job, first, task.id, amount + 1)
    for location, (job, first, last, amount) in found.items():
        core.happened.append(TasksQueued(job, location, "", first, last, amount))


def tell_moved(core: Core, task: Task, worker: str = "") -> None:
    """This task is in a new state."""
    core.happened.append(TaskMoved(task.job.name, task.policy.location, worker, task.id, task.state))


def tell_job(core: Core, name: str, state: str) -> None:
    """This job was defined, stopped or forgotten."""
    core.happened.append(JobChanged(name, "", "", state))


def tell_worker(core: Core, agent: Agent, state: str, reason: str = "") -> None:
    """This agent came, went or drains."""
    core.happened.append(WorkerChanged("", "", agent.name, state, agent.id, agent.host, agent.slots, reason))
