"""What happens, as it happens: Server-Sent Events, each reader at its own pace behind a cursor."""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from dart.broker.core.happenings import (
    Happening,
    JobChanged,
    TaskEnded,
    TaskMoved,
    TaskPrinted,
    TaskProgressed,
    TasksQueued,
    WorkerChanged,
)
from dart.broker.core.model import TaskState
from dart.broker.event_ring import CHANGES, Cursor, Entry, EventRing, Missed
from dart.broker.waiters import set_in_time
from dart.errors import InvalidRequestError
from dart.rest import names, schemas
from dart.rest.bodies import EVENT_STREAM
from dart.rest.call import Answer, Call
from dart.rest.caller import Caller
from dart.rest.member_types import EVENT_KINDS

LAST_EVENT_ID = "Last-Event-ID"
RETRY_MILLISECONDS = 2000
"""How long a browser waits before it comes back."""
GATHER_SECONDS = 0.02
"""What happens within this leaves in one piece."""
LOOK_SECONDS = 1.0
"""How often a quiet stream looks whether its reader is still there."""
_EVENTS_A_PIECE = 500
_KEPT_FRAME_BYTES_MAX = 4096
"""Larger ones are made again for each reader, rather than kept."""
_PLACE = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})")
_encode = msgspec.json.Encoder().encode


async def of_all(call: Call) -> Answer:
    """`GET /events/`: what happens, as Server-Sent Events; with `Last-Event-ID` from where a reader was."""
    return await _stream(call, None)


async def of_job(call: Call) -> Answer:
    """`GET /job/{job}/events/`: what happens to a job and its tasks, as Server-Sent Events."""
    return await _stream(call, call.part("job"))


async def _stream(call: Call, job: str | None) -> web.StreamResponse:
    asked = await call.members(schemas.EventsWanted)
    follow = schemas.flag(asked.follow, "follow")
    if asked.worker:
        names.check_name(asked.worker, "worker", call.limits)
    kinds = _kinds(asked.events)
    wanted = _wanted(call.caller, job, asked.worker, kinds)
    changes_only = bool(kinds) and kinds <= _KINDS_OF_CHANGES
    cursor = _cursor(call, asked.after, changes_only=changes_only)
    if job is not None:
        await call.gateway.job(job)  # refuses unknown ones
    with call.gateway.events.watch() as woken:
        response = web.StreamResponse(headers={"Content-Type": EVENT_STREAM, "X-Accel-Buffering": "no"})
        await response.prepare(call.request)
        stream = _Stream(call, response, wanted, cursor, changes_only=changes_only)
        closing = asyncio.ensure_future(call.tools.closing.wait())
        gone = asyncio.ensure_future(call.tools.keys.until_gone(call.caller))
        for end in (closing, gone):
            end.add_done_callback(lambda _: woken.set())
        try:
            await stream.begin()
            while not closing.done() and not gone.done():
                woken.clear()
                if not await stream.go_on() and not follow:
                    break
                await stream.rest(woken)
            await response.write_eof()
        except (ConnectionError, TimeoutError):
            # The reader is gone, or takes nothing: it comes back with its last id, or not at all.
            if call.request.transport is not None:
                call.request.transport.abort()
        finally:
            for end in (closing, gone):
                end.cancel()
    return response


class _Stream:
    """One reader behind its cursor. Its methods raise `ConnectionError` or `TimeoutError` when it is gone."""

    def __init__(
        self,
        call: Call,
        response: web.StreamResponse,
        wanted: Callable[[Happening], bool],
        cursor: Cursor,
        *,
        changes_only: bool,
    ) -> None:
        self._call = call
        self._response = response
        self._wanted = wanted
        self._cursor = cursor
        self._changes_only = changes_only
        self._quiet_seconds = call.limits.event_quiet_seconds
        self._written_at = 0.0
        self._more = False

    async def begin(self) -> None:
        """Tell the reader where it is."""
        await self._write(b"retry: %d\n%b\n" % (RETRY_MILLISECONDS, _id(self._cursor)))

    async def go_on(self) -> bool:
        """Write what has happened since; whether there is more at once."""
        ring = self._call.gateway.events
        entries, cursor, missed = ring.read(self._cursor, _EVENTS_A_PIECE, changes_only=self._changes_only)
        self._cursor = cursor
        piece = [] if missed is None else [_missed(missed)]
        piece += [_frame(entry, cursor.epoch) for entry in entries if self._wanted(entry.happening)]
        if not piece and asyncio.get_running_loop().time() - self._written_at >= self._quiet_seconds:
            # With the id: what was left out for this reader is nothing that it missed.
            piece = [b": quiet\n%b\n" % _id(cursor)]
        if piece:
            await self._write(b"".join(piece))
        transport = self._call.request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the reader is gone")
        self._more = len(entries) == _EVENTS_A_PIECE
        return self._more

    async def rest(self, woken: asyncio.Event) -> None:
        """Until something happens, or for a while; and a little longer, for what happens together to leave together."""
        if not self._more:
            ends_at = asyncio.get_running_loop().time() + min(LOOK_SECONDS, self._quiet_seconds)
            await set_in_time(woken, ends_at)
        await asyncio.sleep(GATHER_SECONDS)

    async def _write(self, data: bytes) -> None:
        self._written_at = asyncio.get_running_loop().time()
        async with asyncio.timeout(self._call.limits.request_seconds_max):
            await self._response.write(data)


def _cursor(call: Call, after: str, *, changes_only: bool) -> Cursor:
    """Where to begin: a browser that comes back says so in a header, which is newer than what its URL says."""
    ring = call.gateway.events
    begin, come_back = _place(ring, after, changes_only=changes_only), call.request.headers.get(LAST_EVENT_ID)
    return _place(ring, come_back, changes_only=changes_only) if come_back else begin


def _place(ring: EventRing, place: str, *, changes_only: bool) -> Cursor:
    if place == "now":
        return ring.now()
    if place == "oldest":
        return ring.oldest(changes_only=changes_only)
    found = _PLACE.fullmatch(place)
    if found is None:
        raise InvalidRequestError(
            f"`after` and the header {LAST_EVENT_ID} take `now`, `oldest` or the id of an event, not {place[:60]!r}.",
            field="after",
        )
    return Cursor(found[1], int(found[2]))


def _kinds(asked: str) -> frozenset[str]:
    """What kinds of events this reader asked for; empty: all."""
    kinds = frozenset(filter(None, asked.split(",")))
    unknown = kinds - set(EVENT_KINDS)
    if unknown:
        raise InvalidRequestError(
            f"Member `events` has {min(unknown)[:60]!r}; there are {', '.join(EVENT_KINDS)}.", field="events"
        )
    return kinds


def _wanted(caller: Caller, job: str | None, worker: str, kinds: frozenset[str]) -> Callable[[Happening], bool]:
    """Whether this reader asked for something and may see it."""
    jobs, workers = caller.jobs, caller.workers

    def wanted(happening: Happening) -> bool:
        where = happening.location or happening.worker
        return (
            (job is None or happening.job == job)
            and (not worker or worker in {happening.worker, where})
            and (not kinds or _kind(happening) in kinds)
            and (jobs.is_open or not happening.job or caller.sees_job(happening.job))
            and (workers.is_open or isinstance(happening, JobChanged) or (bool(where) and caller.sees_worker(where)))
        )

    return wanted


# ---- bytes ----


def _id(cursor: Cursor) -> bytes:
    return b"id: %b-%d\n" % (cursor.epoch.encode(), cursor.number)


def _event(cursor: Cursor, kind: str, members: dict[str, Any]) -> bytes:
    # JSON has no raw line ends, whatever a task printed: nothing of it can begin a line of the stream.
    return b"%bevent: %b\ndata: %b\n\n" % (_id(cursor), kind.encode(), _encode(members))


def _missed(missed: Missed) -> bytes:
    members: dict[str, Any] = {"reason": missed.reason}
    if missed.amount >= 0:
        members["amount"] = missed.amount
    return _event(missed.place, "missed", members)


def _frame(entry: Entry, epoch: str) -> bytes:
    """The event as it is written, made once for all who read it."""
    if entry.frame is not None:
        return entry.frame
    happening = entry.happening
    members = {**_members(happening), "at": entry.at_ms}
    made = _event(Cursor(epoch, entry.number), _kind(happening), members)
    if len(made) <= _KEPT_FRAME_BYTES_MAX:
        entry.frame = made
    return made


def _kind(happening: Happening) -> str:
    if isinstance(happening, TaskEnded) and happening.state is TaskState.CANCELLED:
        return "task"  # it has no result
    return _KINDS[type(happening)]


_KINDS: dict[type, str] = {
    TasksQueued: "queued",
    TaskMoved: "task",
    TaskEnded: "result",
    TaskProgressed: "progress",
    TaskPrinted: "log",
    WorkerChanged: "worker",
    JobChanged: "job",
}
_KINDS_OF_CHANGES = frozenset(_KINDS[change] for change in CHANGES)


def _members(happening: Happening) -> dict[str, Any]:
    """What an event says; what does not apply is left out."""
    match happening:
        case WorkerChanged():
            shown: dict[str, Any] = {"worker": happening.worker, "state": happening.state}
            shown |= {"agent": happening.agent_id, "host": happening.host, "slots": happening.slots}
            return shown | ({"reason": happening.reason} if happening.reason else {})
        case JobChanged():
            return {"job": happening.job, "state": happening.state}
        case TasksQueued():
            first, last = str(happening.first_id), str(happening.last_id)
            shown = {"job": happening.job, "location": happening.location, "amount": happening.amount}
            return shown | {"first": first, "last": last}
        case _:
            shown = {"job": happening.job, "task": str(happening.id), "location": happening.location}
            if happening.worker:
                shown["worker"] = happening.worker
            return shown | _of_task(happening)


def _of_task(happening: TaskMoved | TaskEnded | TaskProgressed | TaskPrinted) -> dict[str, Any]:
    match happening:
        case TaskPrinted():
            return {"lines": happening.lines}
        case TaskProgressed():
            return {"fraction": happening.fraction, "text": happening.text}
        case TaskMoved():
            return {"state": happening.state.name.lower()}
        case TaskEnded():
            shown: dict[str, Any] = {"state": happening.state.name.lower(), "attempts": happening.attempts}
            shown |= {"host": happening.host, "duration": happening.duration_seconds}
            if happening.start_time_ms:
                shown["start_time"] = happening.start_time_ms
            if happening.error_code:
                shown["error_code"] = happening.error_code
            if happening.tag:
                shown["tag"] = happening.tag
            return shown
