"""Tasks: submitted, listed, looked at, cancelled."""

from typing import Any

from dart.broker.core.model import TaskState
from dart.broker.core.views import TaskView
from dart.broker.gateway import FinishedTask
from dart.errors import ConflictError, InvalidRequestError, UnknownJobError
from dart.ids import TaskId
from dart.rest import schemas
from dart.rest.call import Answer, Call
from dart.rest.rows import rows_of
from dart.rest.submission import Submission, read_outer, read_submission

_STATES = {state.name.lower(): state for state in TaskState if state is not TaskState.STAGED}


async def submit(call: Call) -> Answer:
    """`POST /job/{job}/tasks/`."""
    name = call.part("job")
    outer = await read_outer(call)
    idempotency = await call.idempotency()
    try:
        job = await call.gateway.job(name)
    except UnknownJobError:
        first = None if idempotency is None else await call.gateway.recall_answer(idempotency)
        if first is None:
            raise
        # It was purged since; the answer stays what it was.
        return call.answer(tasks=[str(number) for number in range(first, first + len(outer.location_and_parameters))])
    wanted = await read_submission(call, outer, job.config.defaults)
    if not wanted.tasks:
        return call.answer(tasks=[], **({"locations": []} if wanted.expanded else {}))

    async def queue() -> Answer:
        ids = await call.gateway.submit(
            name,
            wanted.tasks,
            refuse_if_stopped=wanted.refuse_if_stopped,
            if_offline=wanted.if_offline,
            idempotency=idempotency,
        )
        return await _queued(call, name, wanted, ids)

    if not wanted.expanded or idempotency is None:
        return await queue()
    if await call.gateway.recall_answer(idempotency) is not None:
        # Who was connected then is known to the memory of this process alone.
        return await call.tools.answers.once(idempotency, _forgotten)  # type: ignore[no-any-return]
    return await call.tools.answers.once(idempotency, queue)  # type: ignore[no-any-return]


async def _forgotten() -> Answer:
    raise ConflictError(
        "This Idempotency-Key was answered before the server was started again; which workers its `each` met then is"
        " not known any more. The list of the job's tasks shows them."
    )


async def _queued(call: Call, job: str, wanted: Submission, ids: range) -> Answer:
    """The answer to a submission, with what it was asked to wait for."""
    answer: dict[str, Any] = {"tasks": [str(number) for number in ids]}
    if wanted.expanded:
        answer["locations"] = [task.policy.location for task in wanted.tasks]
    if wanted.wait_seconds:
        wait = call.gateway.wait_for_tasks(
            job, [TaskId(number) for number in ids], min(wanted.wait_seconds, call.limits.wait_seconds_max)
        )
        ended = await call.waiting(wait) or []
        shown = [task for task in ended if task.state is not TaskState.CANCELLED]
        answer["results"] = rows_of(job, shown, messagepack=call.messagepack)
    return call.answer(**answer)


async def list_all(call: Call) -> Answer:
    """`GET /job/{job}/tasks/`."""
    wanted = await call.members(schemas.Page)
    page = await call.gateway.tasks(
        call.part("job"),
        after=schemas.integer(wanted.after, "after"),
        amount=schemas.integer(wanted.amount, "amount", minimum=1, maximum=call.limits.page_items_max, clamp=True),
        states=_states(wanted.state),
    )
    answer = call.answer(tasks=[_members(task) for task in page.tasks])
    if page.next:
        answer["next"] = str(page.next)
    return answer


def _states(given: str | list[str]) -> frozenset[TaskState] | None:
    names = given.split(",") if isinstance(given, str) else [name for text in given for name in text.split(",")]
    try:
        return frozenset(_STATES[name] for name in names if name) or None
    except KeyError as error:
        raise InvalidRequestError(
            f"Member `state` has {error}, which is no state; there are {', '.join(_STATES)}.", field="state"
        ) from None


async def show(call: Call) -> Answer:
    """`GET /job/{job}/tasks/{id}/`."""
    await call.members(schemas.Members)
    return call.answer(task=_members(await call.gateway.task(call.part("job"), call.task_id())))


async def cancel(call: Call) -> Answer:
    """`DELETE /job/{job}/tasks/{id}/`."""
    await call.members(schemas.Members)
    task_id = call.task_id()

    async def do() -> Answer:
        cancelled = await call.gateway.cancel_task(call.part("job"), task_id)
        return call.answer(task={"id": str(task_id)}, cancelled=cancelled)

    return await call.once(do)


def _members(task: TaskView | FinishedTask) -> dict[str, Any]:
    """What the list shows of a task; what does not apply to it is left out."""
    shown: dict[str, Any] = {"id": str(task.id), "state": task.state.name.lower()}
    if isinstance(task, TaskView):
        policy = task.policy
        shown |= {"location": policy.location, "worker": task.worker, "host": task.host, "attempts": task.attempts}
        shown |= {"priority": policy.priority, "requires": list(policy.requires)}
        if task.pending_reason:
            shown["pending_reason"] = task.pending_reason
        if task.fraction >= 0 or task.progress_text:
            shown["progress"] = {"text": task.progress_text}
            if task.fraction >= 0:
                shown["progress"]["fraction"] = task.fraction
    else:
        shown |= {"location": task.location, "worker": task.worker, "host": task.host, "attempts": task.attempts}
        shown |= {"duration": task.duration_seconds, "finished_at": task.finished_at_ms}
        if task.error_code:
            shown["error_code"] = task.error_code
    if task.start_time_ms:
        shown["start_time"] = task.start_time_ms
    if task.tag:
        shown["tag"] = task.tag
    return shown
