"""Jobs: defined, listed, asked for their status, stopped, forgotten."""

import asyncio
from typing import Any

import msgspec

from dart.broker.core.model import JobConfig, JobStatus, Retention
from dart.broker.core.views import JobView
from dart.errors import ForbiddenError, InvalidRequestError, UnknownJobError
from dart.rest import names, policies, schemas
from dart.rest.call import Answer, Call
from dart.rest.standing import standing_of
from dart.rest.submission import check_amount


async def define(call: Call) -> Answer:
    """`POST /job/`: defines a job."""
    await call.body.read()
    await check_amount(call)
    wanted = await call.members(schemas.NewJob)
    for member in schemas.JOB_MEMBERS_TO_COME:
        if getattr(wanted, member) not in (schemas.NULL, schemas.NIL):
            raise InvalidRequestError(
                f"Member `{member}` is not offered by this version of the server; leave it away.", field=member
            )
    name = names.check_name(wanted.name, "name", call.limits)
    call.caller.check_job(name)
    defaults = _defaults(wanted, call)
    config = JobConfig(
        names.check_module_path(wanted.module_path, call.limits),
        names.check_method(wanted.method, call.limits),
        defaults,
        await standing_of(call, wanted, defaults),
        _retention(wanted.retention),
    )
    idempotency = await call.idempotency()
    await call.gateway.define_job(name, config, idempotency)
    return call.answer(job={"name": name, "status": int(JobStatus.RUNNING)})


def _retention(wanted: schemas.Retention) -> Retention:
    return Retention(
        schemas.seconds(wanted.seconds, "retention.seconds"),
        schemas.integer(wanted.results, "retention.results"),
        schemas.integer(wanted.bytes, "retention.bytes"),
    )


def _defaults(wanted: schemas.NewJob, call: Call) -> dict[str, str | int | float | list[str]]:
    """The defaults of its tasks as they are kept: checked now, so that no submission fails for them."""
    given = {name: getattr(wanted, name) for name in policies.MEMBERS}
    found = {name: value for name, value in given.items() if value is not msgspec.UNSET}
    return policies.check_members(found, call.limits)


async def show(call: Call) -> Answer:
    """`GET /job/{job}/`: its definition, and how far it is."""
    await call.members(schemas.Members)
    return call.answer(job=_members(await call.gateway.job(call.part("job"))))


async def status(call: Call) -> Answer:
    """`GET /job/{job}/status/`: whether it runs."""
    await call.members(schemas.Members)
    job = await call.gateway.job(call.part("job"))
    return call.answer(job={"name": job.name, "status": int(job.status)})


async def list_all(call: Call) -> Answer:
    """`GET /job/`: all jobs by name, page by page."""
    wanted = await call.members(schemas.JobPage)
    amount = schemas.integer(wanted.amount, "amount", minimum=1, maximum=call.limits.page_items_max, clamp=True)
    found = await _seen(call, wanted.after, amount)
    answer = call.answer(jobs=[_members(job) for job in found])
    if len(found) >= amount:
        answer["next"] = found[-1].name
    return answer


async def _seen(call: Call, after: str, amount: int) -> list[JobView]:
    """Jobs by name that the caller may see."""
    rule = call.caller.jobs
    if rule.is_open:
        return await call.gateway.jobs(after=after, amount=amount)
    found: list[JobView] = []
    while True:
        page = await call.gateway.jobs(after=after, amount=call.limits.page_items_max)
        found += [job for job in page if call.caller.sees_job(job.name)]
        if len(found) >= amount or len(page) < call.limits.page_items_max:
            return found[:amount]
        after = page[-1].name
        await asyncio.sleep(0)


async def stop(call: Call) -> Answer:
    """`DELETE /job/{job}/`: stops it, or with `purge` forgets it, results and all."""
    wanted = await call.members(schemas.StopJob)
    name = call.part("job")
    purge = schemas.flag(wanted.purge, "purge")
    if call.caller.jobs.is_open and not call.caller.workers.is_open:
        raise ForbiddenError(
            f"The key {call.caller.name} is bound to workers and not to jobs, so it may not stop jobs: others have"
            " tasks in them. A key that is bound to jobs, too, may stop those.",
            job=name,
        )

    async def do() -> Answer:
        if purge:
            if not await call.gateway.purge_jobs([name]):
                raise UnknownJobError(f"There is no job {name!r}.", job=name)
            return call.answer(job={"name": name, "status": int(JobStatus.UNKNOWN)})
        cancelled = await call.gateway.stop_job(name)
        return call.answer(job={"name": name, "status": int(JobStatus.STOPPED)}, cancelled=cancelled)

    return await call.once(do)


def _members(job: JobView) -> dict[str, Any]:
    return {
        "id": str(job.id),
        "name": job.name,
        "status": int(job.status),
        "standing": job.config.standing is not None,
        "config": _config(job.config),
        "defined_at": job.defined_at_ms,
        "tasks": {state.name.lower(): count for state, count in job.counts.items()},
    }


def _config(config: JobConfig) -> dict[str, Any]:
    """What was given in the definition, as far as it can be shown."""
    shown: dict[str, Any] = {"module_path": config.module_path, "method": config.method, **config.defaults}
    if config.standing is not None:
        shown |= {"standing": True, "worker_regex": config.standing.worker_regex}
    seconds, results, payload_bytes = config.retention
    retention = {"seconds": seconds, "results": results, "bytes": payload_bytes}
    if any(config.retention):
        shown["retention"] = {name: bound for name, bound in retention.items() if bound}
    return shown
