"""The life of a task: one table of transitions, and the only code that writes a task's state."""

from collections.abc import Iterable
from enum import IntEnum

from dart.broker.core.model import Job, Task, TaskPolicy, TaskState
from dart.ids import Attempt, TaskId


class Transition(IntEnum):
    """What happens to a task; the comment of each says when."""

    ADMIT = 0
    """Its submission is complete: it may run."""
    LEASE = 1
    """Placement gives it to an agent."""
    ADOPT = 2
    """An agent that comes back turns out to have it already."""
    START = 3
    """Its agent says that it runs."""
    RELEASE = 4
    """It was certainly not begun; no attempt is counted."""
    LOSE = 5
    """Its agent was lost, and its policy lets it run again."""
    RETRY = 6
    """The attempt ended with the task's own error, and retries are left."""
    SUCCEED = 7
    """The attempt that counts returned a value."""
    FAIL = 8
    """The attempt that counts ended with an error, and no retry is left."""
    CANCEL = 9
    """Somebody cancelled it or stopped its job."""
    EXPIRE = 10
    """Its time is over."""
    GIVE_UP = 11
    """Its agent was lost, and its policy does not let it run again."""
    DELAY = 12
    """It was queued again, but is to wait a while first."""
    RESUME = 13
    """It has waited long enough."""


OPEN_STATES = (TaskState.QUEUED, TaskState.DELAYED, TaskState.LEASED, TaskState.RUNNING)
"""Visible and not finished."""
HELD_STATES = (TaskState.LEASED, TaskState.RUNNING)
"""At an agent."""
FINAL_STATES = (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED, TaskState.EXPIRED, TaskState.LOST)
"""No transition leads out of these."""

TABLE: dict[tuple[TaskState, Transition], TaskState] = {
    (TaskState.STAGED, Transition.ADMIT): TaskState.QUEUED,
    (TaskState.QUEUED, Transition.LEASE): TaskState.LEASED,
    (TaskState.QUEUED, Transition.ADOPT): TaskState.LEASED,
    # An attempt counts also after its lease ended, as long as no later one was given: so outcomes out of QUEUED, and
    # out of DELAYED.
    (TaskState.QUEUED, Transition.RETRY): TaskState.QUEUED,
    (TaskState.QUEUED, Transition.SUCCEED): TaskState.SUCCEEDED,
    (TaskState.QUEUED, Transition.FAIL): TaskState.FAILED,
    (TaskState.QUEUED, Transition.CANCEL): TaskState.CANCELLED,
    (TaskState.QUEUED, Transition.EXPIRE): TaskState.EXPIRED,
    (TaskState.QUEUED, Transition.DELAY): TaskState.DELAYED,
    (TaskState.DELAYED, Transition.RESUME): TaskState.QUEUED,
    (TaskState.DELAYED, Transition.ADOPT): TaskState.LEASED,
    (TaskState.DELAYED, Transition.RETRY): TaskState.QUEUED,
    (TaskState.DELAYED, Transition.SUCCEED): TaskState.SUCCEEDED,
    (TaskState.DELAYED, Transition.FAIL): TaskState.FAILED,
    (TaskState.DELAYED, Transition.CANCEL): TaskState.CANCELLED,
    (TaskState.DELAYED, Transition.EXPIRE): TaskState.EXPIRED,
    (TaskState.LEASED, Transition.START): TaskState.RUNNING,
    (TaskState.LEASED, Transition.RELEASE): TaskState.QUEUED,
    (TaskState.LEASED, Transition.LOSE): TaskState.QUEUED,
    (TaskState.LEASED, Transition.RETRY): TaskState.QUEUED,
    (TaskState.LEASED, Transition.SUCCEED): TaskState.SUCCEEDED,
    (TaskState.LEASED, Transition.FAIL): TaskState.FAILED,
    (TaskState.LEASED, Transition.CANCEL): TaskState.CANCELLED,
    (TaskState.LEASED, Transition.EXPIRE): TaskState.EXPIRED,
    (TaskState.LEASED, Transition.GIVE_UP): TaskState.LOST,
    (TaskState.RUNNING, Transition.LOSE): TaskState.QUEUED,
    (TaskState.RUNNING, Transition.RETRY): TaskState.QUEUED,
    (TaskState.RUNNING, Transition.SUCCEED): TaskState.SUCCEEDED,
    (TaskState.RUNNING, Transition.FAIL): TaskState.FAILED,
    (TaskState.RUNNING, Transition.CANCEL): TaskState.CANCELLED,
    (TaskState.RUNNING, Transition.EXPIRE): TaskState.EXPIRED,
    (TaskState.RUNNING, Transition.GIVE_UP): TaskState.LOST,
}

# The same as a grid: enum members hash slowly, but index fast.
_NEXT = tuple(tuple(TABLE.get((state, transition)) for transition in Transition) for state in TaskState)

_GIVEN_BACK = 1_000_000
"""In an attempt's number: how many before it were given back. A task is never tried so often."""


class IllegalTransitionError(RuntimeError):
    """A fault of this program: something was about to happen to a task that cannot happen in its state."""


def new_task(
    task_id: TaskId, job: Job, policy: TaskPolicy, tag: str, parameter_bytes: int, *, errors: int = 0, losses: int = 0
) -> Task:
    """A task that nobody sees yet."""
    return Task(task_id, job, policy, tag, parameter_bytes, TaskState.STAGED, None, None, errors, losses)


def move(task: Task, transition: Transition) -> None:
    """Let something happen to a task.

    Raises:
        IllegalTransitionError: It cannot happen in the task's state.
    """
    before = task.state
    after = _NEXT[before][transition]
    if after is None:
        raise IllegalTransitionError(f"{transition.name} cannot happen to {story(task)}.")
    task.state = after
    counts = task.job.counts
    if before:  # STAGED tasks are not counted
        counts[before] -= 1
    counts[after] += 1


def next_attempt(task: Task, incarnation: int) -> Attempt:
    """The attempt that follows all earlier ones of this task, also those of earlier incarnations.

    Its number is one more than the attempts that were counted, and a million more for each that was given back
    uncounted. So it grows, and tells for ever what had been counted before it.
    """
    number = task.errors + task.losses + 1
    if task.attempt is not None:
        given_back, counted = divmod(task.attempt.number, _GIVEN_BACK)
        number += (given_back + (counted == number)) * _GIVEN_BACK
    return Attempt(incarnation, number)


def was_counted(task: Task, attempt: Attempt) -> bool:
    """Whether this attempt, or a later one, is among those that ended with an error or were lost."""
    return attempt.number % _GIVEN_BACK <= task.errors + task.losses


def story(task: Task) -> str:
    """A task in words, for faults and log lines."""
    attempt = "no attempt" if task.attempt is None else f"attempt {task.attempt.incarnation}.{task.attempt.number}"
    return (
        f"task {task.id} of job {task.job.name!r}, {task.state.name}, {attempt}, agent {task.agent_id or 'none'}, "
        f"{task.errors} errors, {task.losses} losses, location {task.policy.location!r}"
    )


def page() -> str:
    """`docs/states.md`: the table and its diagram."""
    return "\n".join([*_HEAD, *_rows(), "", "```mermaid", *_diagram(), "```", ""])


_HEAD = (
    "# States of a task",
    "",
    "Written by `python docs/make_states.py` from the table in `src/dart/broker/core/lifecycle.py`; a test fails when",
    "they differ. A task is STAGED until the last slice of its submission is here, and finished in exactly one of the",
    "states that lead out of the diagram.",
    "",
    "| in state | what happens | next state |",
    "| --- | --- | --- |",
)


def _rows() -> Iterable[str]:
    return (f"| {before.name} | {transition.name} | {after.name} |" for (before, transition), after in TABLE.items())


def _diagram() -> Iterable[str]:
    yield "stateDiagram-v2"
    yield f"    [*] --> {TaskState.STAGED.name}"
    labels: dict[tuple[TaskState, TaskState], list[str]] = {}
    for (before, transition), after in TABLE.items():
        labels.setdefault((before, after), []).append(transition.name)
    for (before, after), names in labels.items():
        yield f"    {before.name} --> {after.name}: {', '.join(names)}"
    for state in FINAL_STATES:
        yield f"    {state.name} --> [*]"
