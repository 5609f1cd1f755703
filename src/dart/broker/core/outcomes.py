"""What a result that counts does to its task; and that a task has begun."""

from dart.broker.core.happenings import tell_moved
from dart.broker.core.leases import finish, retry
from dart.broker.core.lifecycle import Transition, move
from dart.broker.core.model import Agent, HeldLease, Task, TaskState
from dart.broker.core.spares import keep, recall_answered
from dart.broker.core.state import Core
from dart.errors import TaskErrorCode
from dart.wire.messages import Result

_NEVER_RETRIED = frozenset(
    (
        TaskErrorCode.IMPORT_FAILED,
        TaskErrorCode.REFUSED,
        TaskErrorCode.NOT_PORTABLE,
        TaskErrorCode.TOO_LARGE,
        TaskErrorCode.POLICY_REFUSED,
        TaskErrorCode.MODULE_DIFFERS,
        TaskErrorCode.BLOB_MISSING,
    )
)
"""Errors that another run would meet again."""


def began(core: Core, agent: Agent, held: HeldLease, start_time_ms: int) -> None:
    """A lease runs, or has run."""
    if held.task.state is TaskState.LEASED:
        move(held.task, Transition.START)
        held.task.told = held.task.told._replace(started_at_ms=start_time_ms)
        tell_moved(core, held.task, agent.name)
        keep(core, agent, held)
        if held.recalled:
            recall_answered(core, agent)


def take(core: Core, agent: Agent, task: Task, result: Result, now: float) -> None:
    """Record it, or let the task run again after an error."""
    if not result.success and task.errors < task.policy.retries and result.error_code not in _NEVER_RETRIED:
        retry(core, task, now)
        return
    payload = result.payload
    finish(
        core,
        task,
        Transition.SUCCEED if result.success else Transition.FAIL,
        now,
        worker=agent.name,
        attempts=task.errors + task.losses + 1,
        host=agent.host,
        start_time_ms=result.start_time_ms,
        duration_seconds=result.duration_seconds,
        error_code=result.error_code,
        payload=payload if isinstance(payload, bytes) else bytes(payload),
    )
