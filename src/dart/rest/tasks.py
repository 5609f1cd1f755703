"""Tasks: submitted, listed, looked at, cancelled."""

from typing import Any

from dart.broker.core.model import Idempotency, TaskState
from dart.broker.core.views import TaskView
from dart.broker.gateway import FinishedTask
from dart.errors import ConflictError, InvalidRequestError, UnknownJobError
from dart.ids import TaskId
from dart.rest import reach, schemas
from dart.rest.call import Answer, Call
from dart.rest.member_types import Flag
from dart.rest.rows import rows_of
from dart.rest.submission import Submission, read_outer, read_submission

_STATES = {state.name.lower(): state for state in TaskState if state is not TaskState.STAGED}


async def submit(call: Call) -> Answer:
    """`POST /job/{job}/tasks/`: queues a task for each entry."""
    name = call.part("job")
    outer = await read_outer(call)
    idempotency = await call.idempotency()
    try:
        job = await call.gateway.job_now(name)
    except UnknownJobError:
        first = None if idempotency is None else await call.gateway.recall_answer(idempotency)
        if first is None:
            raise
        # It was purged since; the answer stays what it was.
        return call.answer(tasks=[str(number) for number in range(first, first + len(outer.location_and_parameters))])
    with call.tools.traces.request("dart.submit", call.request.headers.get("traceparent", ""), job=name) as traceparent:
        wanted = await read_submission(call, outer, job.config.defaults, traceparent)
        if not wanted.tasks:
            await call.gateway.job(name)
            return call.answer(tasks=[], **({"locations": []} if wanted.expanded else {}))

        cursor = await _cursor(call, outer.cursor, idempotency)
        if wanted.expanded and idempotency is not None and await call.gateway.recall_answer(idempotency) is not None:
            # Who was connected then is known to the memory of this process alone.
            queued = await call.tools.answers.once(idempotency, _forgotten)
        else:
            queued = await _queue(call, name, wanted, idempotency)
    return call.answer(**queued, **cursor, **(await _awaited(call, name, wanted, queued["tasks"])))


async def _cursor(call: Call, asked: Flag, idempotency: Idempotency | None) -> dict[str, str]:
    """Where to read on for results of what is queued next, if the caller asked for it; a repetition tells nothing."""
    if not schemas.flag(call.request.query.get("cursor", asked), "cursor"):
        return {}
    latest = await call.gateway.latest_sequence()
    # Looked at in this order: what is not known now had no results when the cursor was read.
    if idempotency is not None and await call.gateway.recall_answer(idempotency) is not None:
        return {}
    return {"cursor": str(latest)}


async def _queue(call: Call, job: str, wanted: Submission, idempotency: Idempotency | None) -> dict[str, Any]:
    """Submit; what the answer says of it."""

    async def submit_all() -> dict[str, Any]:
        ids = await call.gateway.submit(
            job,
            wanted.tasks,
            refuse_if_stopped=wanted.refuse_if_stopped,
            if_offline=wanted.if_offline,
            idempotency=idempotency,
        )
        tasks = [str(number) for number in ids]
        if not wanted.expanded:
            return {"tasks": tasks}
        return {"tasks": tasks, "locations": [task.policy.location for task in wanted.tasks]}

    if not wanted.expanded:
        # The broker remembers the first id and the body says how many follow.
        return await submit_all()
    answer: dict[str, Any] = await call.finish(idempotency, call.tools.answers.once(idempotency, submit_all))
    return answer


async def _forgotten() -> dict[str, Any]:
    raise ConflictError(
        "This Idempotency-Key was answered before the server was started again; which workers its `each` met then is"
        " not known any more. The list of the job's tasks shows them."
    )


async def _awaited(call: Call, job: str, wanted: Submission, ids: list[str]) -> dict[str, Any]:
    """Results of these tasks, if the caller asked to wait for them; cancelled ones have none."""
    if not wanted.wait_seconds:
        return {}
    seconds = min(wanted.wait_seconds, call.limits.wait_seconds_max)
    ended = await call.waiting(call.gateway.wait_for_tasks(job, [TaskId(int(number)) for number in ids], seconds)) or []
    shown = [task for task in ended if task.state is not TaskState.CANCELLED]
    return {"results": await rows_of(job, shown, messagepack=call.messagepack)}


async def list_all(call: Call) -> Answer:
    """`GET /job/{job}/tasks/`: its tasks by id, page by page."""
    wanted = await call.members(schemas.Page)
    page = await call.gateway.tasks(
        call.part("job"),
        after=schemas.integer(wanted.after, "after"),
        amount=schemas.integer(wanted.amount, "amount", minimum=1, maximum=call.limits.page_items_max, clamp=True),
        states=_states(wanted.state),
    )
    answer = call.answer(tasks=[shown_task(task) for task in page.tasks if reach.sees(call.caller, task)])
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
    """`GET /job/{job}/tasks/{id}/`: one task."""
    await call.members(schemas.Members)
    task = await call.gateway.task(call.part("job"), call.task_id())
    if not reach.sees(call.caller, task):
        raise reach.unknown(call, call.task_id())
    shown = shown_task(task)
    if isinstance(task, FinishedTask) and task.state is not TaskState.CANCELLED:
        shown["result_bytes"] = len(task.payload)
    return call.answer(task=shown)


async def cancel(call: Call) -> Answer:
    """`DELETE /job/{job}/tasks/{id}/`: cancels it."""
    await call.members(schemas.Members)
    task_id = call.task_id()

    async def do() -> Answer:
        if not await reach.may_touch(call, task_id):
            raise reach.unknown(call, task_id)
        cancelled = await call.gateway.cancel_task(call.part("job"), task_id)
        return call.answer(task={"id": str(task_id)}, cancelled=cancelled)

    return await call.once(do)


def shown_task(task: TaskView | FinishedTask) -> dict[str, Any]:
    """What lists show of a task; what does not apply to it is left out."""
    shown: dict[str, Any] = {"id": str(task.id), "state": task.state.name.lower()}
    if isinstance(task, TaskView):
        policy = task.policy
        shown |= {"location": policy.location, "worker": task.worker, "host": task.host, "attempts": task.attempts}
        shown |= {"priority": policy.priority, "requires": list(policy.requires)}
        if task.after:
            shown["after"] = list(task.after)
        if task.pending_reason:
            shown["pending_reason"] = task.pending_reason
        if task.pending_reasons:
            shown["pending_reasons"] = list(task.pending_reasons)
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
