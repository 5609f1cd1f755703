"""Results: read, waited for, streamed when there are many, forgotten."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from dart.broker.core.model import TaskState
from dart.broker.core.views import JobView
from dart.broker.gateway import FinishedTask
from dart.errors import TooLargeError, UnknownJobError, UnknownTaskError
from dart.rest import reach, schemas
from dart.rest.bodies import JSON
from dart.rest.call import REQUEST_ID, Answer, Call
from dart.rest.json_values import LARGE_BYTES, is_large_text, pieces_of_text
from dart.rest.member_types import Integer
from dart.rest.rows import row_of, row_with, rows_of

_log = logging.getLogger("dart.rest")
NOW = "now"
"""In place of a cursor: only results recorded from here on."""
_RETRY_SECONDS = 0.2
_encode = msgspec.json.Encoder().encode


class _Wanted(NamedTuple):
    job: JobView
    workers: tuple[str, ...] | None
    after: int
    amount: int


async def list_all(call: Call) -> Answer:
    """`GET /job/{job}/results/`: its results, oldest first; with `after` or `wait`, as they come."""
    asked = await call.members(schemas.ResultsWanted)
    by_cursor = asked.wait is not msgspec.UNSET or asked.after is not msgspec.UNSET
    after = await _cursor(call, asked.after)
    wait = 0.0 if isinstance(asked.wait, msgspec.UnsetType) else schemas.seconds(asked.wait, "wait")
    amount = call.limits.page_items_max if by_cursor else 0
    if not isinstance(asked.amount, msgspec.UnsetType):
        amount = schemas.integer(asked.amount, "amount", clamp=True)
    wanted = await _wanted(call, asked.worker_regex, after, amount)
    if by_cursor:
        page = await _page_or_wait(call, asked.worker_regex, wanted, wait)
        cursor = str(page[-1].sequence if page else after)
        rows = await rows_of(wanted.job.name, page, messagepack=call.messagepack)
        return call.answer(results=rows, job=_job(wanted.job), cursor=cursor)
    return await _all(call, wanted)


async def _cursor(call: Call, asked: Integer | msgspec.UnsetType) -> int:
    if asked == NOW:
        return await call.gateway.latest_sequence()
    return 0 if isinstance(asked, msgspec.UnsetType) else schemas.integer(asked, "after")


async def _wanted(call: Call, pattern: str, after: int, amount: int) -> _Wanted:
    """The job as it is now, and its workers that the pattern matches."""
    job = await call.gateway.job(call.part("job"))
    rule = call.caller.workers
    seen = job.workers if rule.is_open else tuple(name for name in job.workers if call.caller.sees_worker(name))
    workers = None if rule.is_open else seen
    if pattern:
        workers = call.tools.patterns.match(pattern, seen, scope=(job.id, rule))
    return _Wanted(job, workers, after, amount)


def _job(job: JobView) -> dict[str, Any]:
    return {"id": str(job.id), "status": int(job.status)}


async def _pages(call: Call, wanted: _Wanted) -> AsyncIterator[list[FinishedTask]]:
    pages = call.gateway.results(wanted.job, workers=wanted.workers, after=wanted.after, amount=wanted.amount)
    async for page in pages:
        call.refuse_if_gone()
        yield page


async def _page_or_wait(call: Call, pattern: str, wanted: _Wanted, seconds: float) -> list[FinishedTask]:
    """Results after the cursor, as many as one answer takes; waits for the first of them."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + min(seconds, call.limits.wait_seconds_max)
    woken = False
    while not (page := await _one_page(call, wanted)):
        left = ends_at - loop.time()
        # A server that stops wakes all who wait, with nothing.
        if left <= 0 or wanted.amount == 0 or call.tools.closing.is_set() or (woken and call.gateway.ready()):
            break
        woken = True
        await call.waiting(call.gateway.wait_for_results(wanted.job, after=wanted.after, seconds=left))
        wanted = await _wanted(call, pattern, wanted.after, wanted.amount)
        if wanted.workers is not None and not (page := await _one_page(call, wanted)):
            # Something came that does not match; it will be there at once again, so look less often.
            await call.waiting(asyncio.sleep(min(_RETRY_SECONDS, max(0.0, ends_at - loop.time()))))
    return page


async def _one_page(call: Call, wanted: _Wanted) -> list[FinishedTask]:
    gathered: list[FinishedTask] = []
    size = 0
    if wanted.amount == 0 or wanted.workers == ():
        return gathered
    async for page in _pages(call, wanted):
        gathered += page
        size += sum(len(row.payload) for row in page)
        if size >= call.limits.answer_page_bytes_max:
            break
    return gathered


async def _all(call: Call, wanted: _Wanted) -> Answer:
    """All that was asked for, in one answer: a small one at once, a large one as it is read from the store."""
    if wanted.amount == 0 or wanted.workers == ():
        return call.answer(results=[], job=_job(wanted.job))
    pages = _pages(call, wanted)
    first: list[FinishedTask] = await anext(pages, [])
    second = await anext(pages, []) if first and len(first) < wanted.amount else []
    size = sum(len(row.payload) for row in first)
    if not second and (call.messagepack or size < LARGE_BYTES):
        rows = await rows_of(wanted.job.name, first, messagepack=call.messagepack)
        return call.answer(results=rows, job=_job(wanted.job))
    if call.messagepack:
        return await _gathered(call, wanted, [*first, *second], pages)
    return await _streamed(call, wanted, (first, second), pages)


async def _gathered(
    call: Call, wanted: _Wanted, rows: list[FinishedTask], pages: AsyncIterator[list[FinishedTask]]
) -> Answer:
    """MessagePack says how long a list is before the list, so it cannot be streamed; hence a bound."""
    size = sum(len(row.payload) for row in rows)
    async for page in pages:
        rows += page
        size += sum(len(row.payload) for row in page)
        if size > call.limits.body_bytes_max:
            raise TooLargeError(
                f"The results have more than {call.limits.body_bytes_max} bytes; ask for them with `after` and the"
                " `cursor` of each answer, or as JSON."
            )
    return call.answer(results=await rows_of(wanted.job.name, rows, messagepack=True), job=_job(wanted.job))


async def _streamed(
    call: Call,
    wanted: _Wanted,
    begin: Sequence[list[FinishedTask]],
    pages: AsyncIterator[list[FinishedTask]],
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": JSON})
    await response.prepare(call.request)
    stream = _Stream(call, response, wanted.job.name)
    try:
        await stream.write(b'{"results":[')
        for page in begin:
            await stream.write_page(page)
        async for page in pages:
            await stream.write_page(page)
        await stream.write(b'],"job":' + _encode(_job(wanted.job)))
        if call.warnings:
            await stream.write(b',"warnings":' + _encode(call.warnings))
        await stream.write(b"}")
        await response.write_eof()
    except Exception:  # noqa: BLE001 - our fault or the network's, logged
        # The head is out: all that can be said now is an answer that visibly breaks off.
        _log.exception("the answer to request %s broke off", REQUEST_ID.get())
        if call.request.transport is not None:
            call.request.transport.abort()
    return response


class _Stream:
    """Writes rows with commas between them; a reader that takes nothing for too long is cut off."""

    def __init__(self, call: Call, response: web.StreamResponse, job: str) -> None:
        self._response = response
        self._job = job
        self._seconds = call.limits.request_seconds_max
        self._comma = b""

    async def write(self, data: bytes) -> None:
        async with asyncio.timeout(self._seconds):
            await self._response.write(data)

    async def write_page(self, page: Sequence[FinishedTask]) -> None:
        small: list[bytes] = []
        size = 0
        for task in page:
            if is_large_text(task.payload):
                await self._write_small(small)
                await self._write_large(task)
            else:
                small.append(_encode(row_of(self._job, task, messagepack=False)))
                size += len(small[-1])
            if size >= LARGE_BYTES:
                await self._write_small(small)
                size = 0
        await self._write_small(small)

    async def _write_small(self, rows: list[bytes]) -> None:
        if rows:
            await self.write(self._comma + b",".join(rows))
            await asyncio.sleep(0)
            self._comma = b","
            rows.clear()

    async def _write_large(self, task: FinishedTask) -> None:
        """One row around a value that is too large to be encoded at a go."""
        mark = b"\x00"  # stands for the value; JSON text cannot have it
        before, _, after = _encode(row_with(self._job, task, msgspec.Raw(mark))).partition(mark)
        await self.write(self._comma + before)
        self._comma = b","
        for piece in pieces_of_text(task.payload):
            if isinstance(piece, bytes):
                if piece:
                    await self.write(piece)
                await asyncio.sleep(0)
            elif piece:
                after = b',"encoding":"base64"' + after
        await self.write(after)


async def show(call: Call) -> Answer:
    """`GET /job/{job}/results/{id}/`: one result; a task without one (open, cancelled, deleted) is unknown here."""
    await call.members(schemas.Members)
    task = await call.gateway.task(call.part("job"), call.task_id())
    if not isinstance(task, FinishedTask) or task.state is TaskState.CANCELLED or not reach.sees(call.caller, task):
        raise UnknownTaskError(
            f"Job {call.part('job')!r} has no result {call.part('id')}.", job=call.part("job"), task=call.part("id")
        )
    (row,) = await rows_of(call.part("job"), [task], messagepack=call.messagepack)
    return call.answer(result=row)


async def delete(call: Call) -> Answer:
    """`DELETE /job/{job}/results/{id}/`: forgets one result; unknown ids and jobs are no error, nor is repeating it."""
    await call.members(schemas.Members)
    await call.idempotency()
    try:
        task_id = call.task_id()
    except UnknownTaskError:
        return call.answer()
    try:
        allowed = await reach.may_touch(call, task_id)
    except UnknownJobError:
        return call.answer()
    if allowed:
        await call.gateway.delete_result(call.part("job"), task_id)
    return call.answer()
