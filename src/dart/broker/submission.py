"""A submission in slices: each short enough that the loop runs on in between, visible as a whole with the last."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from dart.broker.core.events import SubmissionAbandoned, TasksSubmitted
from dart.broker.core.model import Idempotency, IfOffline, TaskSpec
from dart.broker.room import check_room
from dart.broker.service import Service
from dart.errors import DartError

SLICES_AHEAD = 2
"""Slices of one submission that may wait for their commit: one that is written, and one that is ready by then."""


async def submit(
    service: Service,
    job: str,
    tasks: Sequence[TaskSpec],
    *,
    slice_tasks_max: int,
    spare_bytes: int,
    refuse_if_stopped: bool,
    if_offline: IfOffline,
    idempotency: Idempotency | None,
) -> int:
    """Submit tasks; the first of their consecutive ids.

    A caller that is cancelled on the way leaves nothing behind, unless the last slice was given already.
    """
    total = len(tasks)

    def ask(start: int, submission: int) -> asyncio.Future[Any]:
        piece = tuple(tasks[start : start + slice_tasks_max])
        waiting = service.waiting_bytes + sum(len(task.parameter) for task in piece)
        check_room(service.store, payload_bytes=waiting, spare_bytes=spare_bytes)
        return service.ask(
            lambda token: TasksSubmitted(
                token=token,
                job=job,
                tasks=piece,
                total=total,
                submission=submission,
                last=start + slice_tasks_max >= total,
                refuse_if_stopped=refuse_if_stopped,
                if_offline=if_offline,
                idempotency=idempotency,
            )
        )

    def abandon_when_told(reply: asyncio.Future[Any]) -> None:
        if not reply.cancelled() and reply.exception() is None:
            service.post([SubmissionAbandoned(reply.result())])

    first_reply = ask(0, 0)
    if total <= slice_tasks_max:
        only: int = await first_reply
        return only
    try:
        first: int = await asyncio.shield(first_reply)
    except asyncio.CancelledError:
        first_reply.add_done_callback(abandon_when_told)
        raise
    refused: list[BaseException] = []
    try:
        last = await _further_slices(service, ask, first, range(slice_tasks_max, total, slice_tasks_max), refused)
    except BaseException:
        service.post([SubmissionAbandoned(first)])
        raise
    try:
        await last
    except DartError as error:
        # Slices after a refused one are refused too: the first refusal is the reason.
        raise (refused[0] if refused else error) from None
    return first


async def _further_slices(
    service: Service,
    ask: Callable[[int, int], asyncio.Future[Any]],
    first: int,
    starts: range,
    refused: list[BaseException],
) -> asyncio.Future[Any]:
    """Give all other slices; the reply to the last of them. Refusals are collected as they come.

    Few are on their way to the disk at once: commits go in order, and whoever submits a single task meanwhile would
    wait for all that are before it.
    """
    ahead: deque[asyncio.Future[Any]] = deque()

    def look_at(reply: asyncio.Future[Any]) -> None:
        error = None if reply.cancelled() else reply.exception()
        if error is not None:
            refused.append(error)

    for start in starts:
        # First the turn of the slice before this one, or what that weighs would not be seen.
        await asyncio.sleep(0)
        if service.crowded:
            await service.durable()
        if len(ahead) == SLICES_AHEAD:
            await asyncio.wait([ahead.popleft()])
        if refused:
            raise refused[0]
        reply = ask(start, first)
        reply.add_done_callback(look_at)
        ahead.append(reply)
    return reply
