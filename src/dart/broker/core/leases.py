"""What agents hold, and how a task leaves an agent: answered, given back, or lost."""

from heapq import heapify, heappush

from dart.broker.core.arrivals import settle
from dart.broker.core.delays import back_off, queue_again, wait_no_more
from dart.broker.core.happenings import TaskEnded, tell_moved
from dart.broker.core.lifecycle import HELD_STATES, Transition, move, story
from dart.broker.core.model import NOTHING_TOLD, Agent, HeldLease, OnLost, Task
from dart.broker.core.records import AttemptsCounted, TaskFinished
from dart.broker.core.spares import keep, recall_answered, spare
from dart.broker.core.state import Core, milliseconds, persist
from dart.broker.core.tokens import earn
from dart.errors import TaskErrorCode
from dart.ids import Attempt, AttemptRef, LeaseId


def new_lease_id(core: Core) -> LeaseId:
    """Names one more TASKS frame."""
    core.leases_given += 1
    return LeaseId((core.incarnation << 32) | core.leases_given)


def most_leases(core: Core, agent: Agent) -> int:
    """How many leases an agent may hold at once, whatever credit it gives."""
    return agent.slots + core.limits.prefetch_max


def hold(core: Core, agent: Agent, task: Task, attempt: Attempt, lease_id: LeaseId) -> None:
    """Remember that this agent has this attempt; the task's state is the caller's business."""
    task.attempt = attempt
    task.agent_id = agent.id
    held = agent.leases[task.id] = HeldLease(task, attempt, lease_id)
    if len(agent.leases) > agent.slots:
        spare(core, agent, held)
    core.lease_counts[lease_id] = core.lease_counts.get(lease_id, 0) + 1


def let_go(core: Core, agent: Agent, task: Task) -> None:
    """Forget that this agent has this task; the task's state is the caller's business."""
    held = agent.leases.pop(task.id)
    keep(core, agent, held)
    left = core.lease_counts[held.lease_id] - 1
    if left:
        core.lease_counts[held.lease_id] = left
    else:
        del core.lease_counts[held.lease_id]
        core.closed_leases.append(held.lease_id)
    core.ripe[agent.id] = None
    if held.recalled:
        recall_answered(core, agent)
    settle(core, agent, task.id)
    if not agent.leases and agent.session is None:
        del core.agents[agent.id]


def enter(core: Core, task: Task) -> None:
    """Make a staged task visible and ready."""
    move(task, Transition.ADMIT)
    core.tasks[task.id] = task
    task.job.open[task.id] = task
    core.ready.push(task)
    if task.policy.expires_at_ms:
        core.expiring += 1
        heappush(core.expiries, (task.policy.expires_at_ms, task.id))


def leave(core: Core, task: Task) -> None:
    """Take an open task out of everything but its state: it is finished, or its job is forgotten.

    Its agent is told to interrupt it by the caller, where that is wanted.
    """
    if task.state in HELD_STATES:
        let_go(core, holder_of(core, task), task)
    else:
        wait_no_more(core, task)
    del core.tasks[task.id]
    del task.job.open[task.id]
    if task.policy.expires_at_ms:
        core.expiring -= 1
        if len(core.expiries) > 2 * core.expiring + 64:
            core.expiries = [entry for entry in core.expiries if entry[1] in core.tasks]
            heapify(core.expiries)


def holder_of(core: Core, task: Task) -> Agent:
    """The agent that holds a task; only held tasks have one."""
    if task.state not in HELD_STATES or task.agent_id is None:
        raise RuntimeError(f"nobody holds {story(task)}.")
    return core.agents[task.agent_id]


def interrupt(core: Core, task: Task) -> None:
    """Tell the agent that holds this task, if any, to stop it, at the end of the turn."""
    if task.state in HELD_STATES and task.agent_id is not None and task.attempt is not None:
        core.cancels.setdefault(task.agent_id, []).append(AttemptRef(task.id, task.attempt))


def finish(
    core: Core,
    task: Task,
    transition: Transition,
    now: float,
    *,
    worker: str,
    attempts: int,
    host: str = "",
    start_time_ms: int = 0,
    duration_seconds: float = 0.0,
    error_code: int = 0,
    payload: bytes = b"",
) -> None:
    """Record the one outcome of a task."""
    leave(core, task)
    move(task, transition)
    job = task.job
    state = task.state
    tallied = (worker, state)
    job.tally[tallied] = job.tally.get(tallied, 0) + 1
    core.finished_jobs[job.id] = job
    if transition is Transition.SUCCEED and job.id in core.standing:
        earn(core, job, worker)
    record = TaskFinished(
        task.id,
        job.id,
        state,
        worker,
        host,
        task.policy.location,
        task.tag,
        attempts,
        start_time_ms,
        duration_seconds,
        error_code,
        payload,
        milliseconds(now),
    )
    persist(core, record)
    core.happened.append(
        TaskEnded(
            job.name,
            task.policy.location,
            worker,
            task.id,
            state,
            host,
            attempts,
            start_time_ms,
            duration_seconds,
            error_code,
            task.tag,
        )
    )


def finish_without_answer(
    core: Core, task: Task, transition: Transition, now: float, *, error_code: int, text: str
) -> None:
    """Record an outcome that no agent gave: LOST or EXPIRED."""
    finish(
        core,
        task,
        transition,
        now,
        worker=task.policy.location,
        attempts=attempts_made(task),
        error_code=error_code,
        payload=text_value(text),
    )


def cancel(core: Core, task: Task, now: float) -> None:
    """Record that a task was cancelled, and interrupt it."""
    interrupt(core, task)
    worker = task.policy.location
    if task.state in HELD_STATES:
        worker = holder_of(core, task).name
    finish(core, task, Transition.CANCEL, now, worker=worker, attempts=attempts_made(task))


def attempts_made(task: Task) -> int:
    """Attempts that count, the one that is out now included."""
    return task.errors + task.losses + (task.state in HELD_STATES)


def requeue(core: Core, task: Task, transition: Transition, now: float, *, delay_seconds: float = 0.0) -> None:
    """Put a task first in its job's lane, at once or after a while, wherever it is now."""
    if task.state in HELD_STATES:
        let_go(core, holder_of(core, task), task)
    else:
        wait_no_more(core, task)
    move(task, transition)
    task.told = NOTHING_TOLD
    queue_again(core, task, now, delay_seconds)
    if transition is not Transition.RELEASE:  # that it was given to somebody was not told either
        tell_moved(core, task)


def give_back(core: Core, task: Task, now: float) -> None:
    """The attempt was certainly not begun: nothing is counted, and the agent cannot answer it any more."""
    requeue(core, task, Transition.RELEASE, now)
    task.agent_id = None


def retry(core: Core, task: Task, now: float) -> None:
    """The attempt ended with the task's own error, and another one is due."""
    task.errors += 1
    persist(core, AttemptsCounted(task.id, task.errors, task.losses))
    delay_seconds = back_off(core, task.policy.retry_delay_seconds, task.errors)
    requeue(core, task, Transition.RETRY, now, delay_seconds=delay_seconds)
    task.agent_id = None  # this attempt has been answered


def lose(core: Core, task: Task, now: float, why: str) -> None:
    """The attempt may have begun and cannot be expected any more: the task's policy decides."""
    losses = task.losses + 1
    policy = task.policy
    if policy.on_lost is OnLost.FAIL:
        text = f"The task was lost: {why}, and its policy on_lost=fail does not let it run again."
    elif losses > policy.lost_retries:
        text = f"The task was lost: {why}, for the {losses}. time; lost_retries={policy.lost_retries} are used up."
    else:
        delay_seconds = back_off(core, policy.lost_retry_delay_seconds, losses)
        requeue(core, task, Transition.LOSE, now, delay_seconds=delay_seconds)
        task.losses = losses
        persist(core, AttemptsCounted(task.id, task.errors, losses))
        return
    finish_without_answer(core, task, Transition.GIVE_UP, now, error_code=TaskErrorCode.LOST, text=text)


def lose_all(core: Core, agent: Agent, now: float, why: str) -> None:
    """Lose what an agent holds, but for tasks that wait for that very agent; those keep their place at it."""
    agent.lease_expires_at = float("inf")
    # The oldest is requeued last, so that it ends up first.
    for held in reversed(list(agent.leases.values())):
        if held.task.policy.on_lost is not OnLost.WAIT:
            lose(core, held.task, now, why)


def text_value(text: str) -> bytes:
    """A text as a portable value: MessagePack's str, made by hand, for the core knows nothing of MessagePack."""
    data = text.encode("utf-8", "replace")
    size = len(data)
    if size < 32:
        return bytes((0xA0 | size,)) + data
    if size < 1 << 8:
        return bytes((0xD9, size)) + data
    if size < 1 << 16:
        return b"\xda" + size.to_bytes(2, "big") + data
    return b"\xdb" + size.to_bytes(4, "big") + data
