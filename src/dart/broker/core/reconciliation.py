"""What becomes of the attempts and results that an agent names in HELLO, and of the leases that it does not name."""

from dataclasses import dataclass, field

from dart.broker.core.delays import wait_no_more
from dart.broker.core.leases import give_back, hold, holder_of, let_go, lose, most_leases, new_lease_id
from dart.broker.core.lifecycle import HELD_STATES, Transition, move, was_counted
from dart.broker.core.model import Agent, Task, TaskState
from dart.broker.core.records import LeaseAdded
from dart.broker.core.state import Core, is_beyond, persist
from dart.ids import AttemptRef, LeaseId
from dart.wire.messages import Hello


@dataclass(slots=True)
class Verdicts:
    """What WELCOME says of each attempt and result."""

    keep: list[AttemptRef] = field(default_factory=list)
    drop: list[AttemptRef] = field(default_factory=list)
    send: list[AttemptRef] = field(default_factory=list)
    forget: list[AttemptRef] = field(default_factory=list)
    hold: list[AttemptRef] = field(default_factory=list)


def judge(core: Core, agent: Agent, hello: Hello) -> Verdicts:
    """Decide on everything that HELLO names, and take up the leases that the broker did not know of."""
    verdicts = Verdicts()
    our_store = hello.store_id in ("", core.store_id)
    lease_id = new_lease_id(core)
    adopted: list[AttemptRef] = []
    for ref in hello.results:
        if not our_store or is_beyond(core, ref.task_id):
            verdicts.hold.append(ref)
        else:
            wanted = _wanted(core, agent, ref, lease_id, adopted)
            (verdicts.send if wanted else verdicts.forget).append(ref)
    # What is not asked for has come too late, exactly as if it had been sent.
    core.late_results += len(verdicts.forget)
    for ref in hello.attempts:
        wanted = our_store and _wanted(core, agent, ref, lease_id, adopted)
        (verdicts.keep if wanted else verdicts.drop).append(ref)
    if adopted:
        persist(core, LeaseAdded(lease_id, agent.id, tuple(adopted)))
    return verdicts


def settle_unnamed(core: Core, agent: Agent, hello: Hello, now: float, *, same_boot: bool) -> None:
    """See to leases of this agent that HELLO does not name.

    Within one boot an agent keeps every lease and every result that was not acknowledged, so what it does not name
    never reached it. Another boot may have begun it: that is a loss. So it is where the boot is not known, after a
    start of the broker: a task with on_lost=fail must not run twice.
    """
    named = {*hello.attempts, *hello.results}
    missing = [held.task for held in agent.leases.values() if AttemptRef(held.task.id, held.attempt) not in named]
    for task in reversed(missing):
        if same_boot and task.state is TaskState.LEASED:
            give_back(core, task, now)
        else:
            lose(core, task, now, f"its agent {agent.name!r} came back without it")


def _wanted(core: Core, agent: Agent, ref: AttemptRef, lease_id: LeaseId, adopted: list[AttemptRef]) -> bool:
    """Whether this attempt counts; one that counts is this agent's lease afterwards."""
    task = core.tasks.get(ref.task_id)
    if task is None:
        return False
    if task.attempt == ref.attempt and task.agent_id == agent.id:
        if task.state not in HELD_STATES:  # its lease had ended, and nobody else got it yet
            _adopt(core, agent, task, ref, lease_id)
            adopted.append(ref)
        return True
    if not _unrecorded(core, agent, task, ref):
        return False
    _adopt(core, agent, task, ref, lease_id)
    adopted.append(ref)
    return True


def _unrecorded(core: Core, agent: Agent, task: Task, ref: AttemptRef) -> bool:
    """Whether this is an attempt of an earlier incarnation whose lease row was not written before it ended."""
    if ref.attempt.incarnation >= core.incarnation or (task.attempt is not None and ref.attempt <= task.attempt):
        return False
    if was_counted(task, ref.attempt):
        return False  # its row was closed then; to take it up would count it twice, or for a later one
    if task.policy.location not in ("", agent.name) or not agent.capabilities.cover(task.policy.requires):
        return False
    if len(agent.leases) >= most_leases(core, agent):
        return False  # it was never given so many
    # Of a task with a recorded lease, that one must be older, and its agent must not have confirmed it since.
    return task.state not in HELD_STATES or not holder_of(core, task).boot_id


def adopt(core: Core, agent: Agent, task: Task, ref: AttemptRef) -> None:
    """Make an attempt that counts the agent's lease again: its result has come, and its blobs are still to come."""
    lease_id = new_lease_id(core)
    _adopt(core, agent, task, ref, lease_id)
    persist(core, LeaseAdded(lease_id, agent.id, (ref,)))


def _adopt(core: Core, agent: Agent, task: Task, ref: AttemptRef, lease_id: LeaseId) -> None:
    if task.state in HELD_STATES:
        let_go(core, holder_of(core, task), task)
        move(task, Transition.RELEASE)
    else:
        wait_no_more(core, task)
    move(task, Transition.ADOPT)
    hold(core, agent, task, ref.attempt, lease_id)
