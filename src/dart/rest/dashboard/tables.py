"""What the page at `/` shows: the server in numbers, workers and jobs a part at a time."""

from typing import Any

from dart.broker.overview import JobRow, WorkerRow
from dart.errors import InvalidRequestError
from dart.rest import schemas
from dart.rest.call import Answer, Call
from dart.rest.dashboard.schemas import (
    JOB_ORDERS,
    WORKER_ORDERS,
    WORKER_STATES,
    JobsWanted,
    OverviewWanted,
    WorkersWanted,
)


async def overview(call: Call) -> Answer:
    """`GET /overview/`: the server in numbers, and what they were in the last minutes."""
    wanted = await call.members(OverviewWanted)
    since = schemas.integer(wanted.since, "since")
    return call.answer(now=call.tools.history.now(), history=call.tools.history.since(since))


async def workers(call: Call) -> Answer:
    """`GET /overview/workers/`: workers, those that are not connected included, a part of the list at a time."""
    wanted = await call.members(WorkersWanted)
    found = await call.gateway.overview.workers(
        sees=call.caller.sees_worker,
        match=_sought(call, wanted.match),
        state=schemas.choice(wanted.only, "only", WORKER_STATES),
        order=schemas.choice(wanted.order, "order", WORKER_ORDERS),
        offset=schemas.integer(wanted.offset, "offset"),
        amount=_amount(call, wanted.amount),
    )
    return call.answer(workers=[_worker(row) for row in found.rows], total=found.total)


async def jobs(call: Call) -> Answer:
    """`GET /overview/jobs/`: jobs, a part of the list at a time."""
    wanted = await call.members(JobsWanted)
    found = await call.gateway.overview.jobs(
        sees=None if call.caller.jobs.is_open else call.caller.sees_job,
        match=_sought(call, wanted.match),
        is_open=schemas.flag(wanted.open, "open"),
        order=schemas.choice(wanted.order, "order", JOB_ORDERS),
        offset=schemas.integer(wanted.offset, "offset"),
        amount=_amount(call, wanted.amount),
    )
    return call.answer(jobs=[_job(row) for row in found.rows], total=found.total)


def _amount(call: Call, wanted: Any) -> int:
    return schemas.integer(wanted, "amount", minimum=1, maximum=call.limits.page_items_max, clamp=True)


def _sought(call: Call, text: str) -> str:
    if len(text) > call.limits.name_chars_max:
        raise InvalidRequestError(
            f"Member `match` has {len(text)} characters; at most {call.limits.name_chars_max} are allowed (limit "
            "name_chars_max).",
            field="match",
        )
    return text.strip()


def _worker(row: WorkerRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "connected": row.connected,
        "hosts": list(row.hosts),
        "architectures": list(row.architectures),
        "versions": list(row.versions),
        "count": row.slots,
        "busy": row.busy,
        "draining": row.draining,
        "loads": list(row.loads),
        **({"last_contact": row.last_contact_ms} if row.last_contact_ms else {}),
    }


def _job(row: JobRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "status": int(row.status),
        "standing": row.standing,
        "module_path": row.module_path,
        "method": row.method,
        "defined_at": row.defined_at_ms,
        "tasks": {state.name.lower(): amount for state, amount in row.counts.items()},
    }
