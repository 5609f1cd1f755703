"""`POST /job/{job}/tasks/`: from the body to task specifications, a slice of the loop's time at a go."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from dart.broker.core.model import IfOffline, TaskSpec
from dart.broker.core.views import WorkerView
from dart.errors import (
    DartError,
    ForbiddenError,
    InvalidRequestError,
    LimitError,
    TooLargeError,
    UnknownJobError,
    ValueNotPortableError,
)
from dart.rest import json_values, names, schemas
from dart.rest.bodies import decode, decode_as
from dart.rest.call import Call
from dart.rest.large_texts import portable_text
from dart.rest.policies import Policies, one_if_offline
from dart.wire import values

_BIN_HEADS: Final = frozenset({0xC4, 0xC5, 0xC6})
_LARGE_BYTES: Final = 1 << 20
_STRUCTURED_BYTES: Final = 64 * 1024
"""Lists and maps from here on are turned in a thread: some steps of that are Python's, element by element."""
_COUNT_BYTES: Final = 4 << 20
_BREATH_SECONDS: Final = 0.001
_ANY_JSON: Final = msgspec.json.Decoder()
_NIL: Final = b"\xc0"
_TEXT_HEADS: Final = frozenset({*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB, *_BIN_HEADS, ord('"')})
"""First bytes of a text or of bytes, in MessagePack and in JSON."""
_TAG: Final = b'"' + json_values.TAG.encode() + b'"'
_ENTRY_JSON: Final = msgspec.json.Decoder(schemas.OpaqueTask)
_ENTRY_MESSAGEPACK: Final = msgspec.msgpack.Decoder(schemas.OpaqueTask)
_LENIENT_JSON: Final = msgspec.json.Decoder(schemas.LenientOpaqueTask)
_LENIENT_MESSAGEPACK: Final = msgspec.msgpack.Decoder(schemas.LenientOpaqueTask)


class Submission(NamedTuple):
    """What a body asks for."""

    tasks: Sequence[TaskSpec]
    if_offline: IfOffline
    refuse_if_stopped: bool
    wait_seconds: float
    entries: int
    expanded: bool
    """Whether `each` made tasks of workers; then `tasks` depends on who is connected."""


async def read_outer(call: Call) -> schemas.Submission:
    """The body but for its entries, which stay bytes."""
    body = await call.body.read()
    messagepack = call.body.is_messagepack
    await check_amount(call)
    outer, unknown = decode_as(body, schemas.Submission, messagepack=messagepack, is_strict=False)
    call.note_unknown(unknown)
    if len(outer.location_and_parameters) > call.limits.tasks_per_request_max:
        raise LimitError(
            f"{len(outer.location_and_parameters)} tasks are too many for one request; at most"
            f" {call.limits.tasks_per_request_max} are allowed (limit tasks_per_request_max)."
        )
    return outer


async def read_submission(
    call: Call, outer: schemas.Submission, defaults: dict[str, Any], traceparent: str = ""
) -> Submission:
    """All of it; the tasks belong to the `traceparent`.

    Raises:
        DartError: Some entry is not acceptable; the message says which. Then none is.
    """
    wait = call.request.query.get("wait", outer.wait)
    reader = _Reader(call, defaults, traceparent)
    if len(call.body.bytes) > _LARGE_BYTES:
        await asyncio.sleep(_BREATH_SECONDS)
    for start in range(0, len(outer.location_and_parameters), call.limits.slice_tasks_max):
        for number, raw in enumerate(outer.location_and_parameters[start : start + call.limits.slice_tasks_max], start):
            task = reader.read(raw, number)
            if memoryview(raw).nbytes > _LARGE_BYTES:
                # Each step with a large entry holds the loop; in between others get through, which takes them turns.
                await asyncio.sleep(_BREATH_SECONDS)
            try:
                if memoryview(task.parameter).nbytes < _STRUCTURED_BYTES:
                    parameter = reader.turn(task.parameter, call.limits.value_bytes_max)
                else:
                    parameter = await parameter_of(task.parameter, call)
                if isinstance(task.each, msgspec.UnsetType):
                    reader.add(task, parameter)
                else:
                    await reader.add_each(task, task.each, parameter)
            except (InvalidRequestError, UnknownJobError, ForbiddenError, ValueNotPortableError) as error:
                raise _at(error, number) from None
        await asyncio.sleep(0)
    return Submission(
        tasks=reader.tasks,
        if_offline=one_if_offline(reader.if_offline),
        refuse_if_stopped=schemas.choice(outer.if_stopped, "if_stopped", ("run", "fail")) == "fail",
        wait_seconds=schemas.seconds(wait, "wait"),
        entries=len(outer.location_and_parameters),
        expanded=reader.expanded,
    )


class _Reader:
    """Turns entries into tasks."""

    def __init__(self, call: Call, defaults: dict[str, Any], traceparent: str) -> None:
        self.tasks: list[TaskSpec] = []
        self.if_offline: set[IfOffline] = set()
        self.expanded = False
        self._call = call
        check_job = call.caller.check_job
        standing = call.gateway.standing_jobs()
        self._policies = Policies(defaults, call.limits, standing, check_job, traceparent=traceparent)
        self._bound = not call.caller.workers.is_open
        self._messagepack = call.body.is_messagepack
        self._strict: Any = _ENTRY_MESSAGEPACK if self._messagepack else _ENTRY_JSON
        self._lenient: Any = _LENIENT_MESSAGEPACK if self._messagepack else _LENIENT_JSON
        self.turn = _turn(call)
        self._workers: list[WorkerView] | None = None

    def add(self, task: schemas.NewTask, parameter: bytes) -> None:
        """Add the task of this entry."""
        if self._bound:
            self._call.caller.check_location(task.location)
        policy, if_offline = self._policies.of(task)
        if task.tag:
            names.check_tag(task.tag, "tag", self._call.limits)
        self.if_offline.add(if_offline)
        self.tasks.append(TaskSpec(policy, parameter, task.tag))

    async def add_each(self, task: schemas.NewTask, each: schemas.Each, parameter: bytes) -> None:
        """Add a task for each worker connected now that the entry's `each` matches."""
        if self._workers is None:
            workers = await self._call.gateway.workers()
            self._workers = [worker for worker in workers if self._call.caller.sees_worker(worker.name)]
        self.expanded = True
        if task.location:
            raise InvalidRequestError("An entry has `location` or `each`, not both.", field="each")
        found = tuple(worker.name for worker in self._workers)
        if each.worker_regex:
            found = self._call.tools.patterns.match(each.worker_regex, found, scope=found)
        needed = names.check_requires(each.requires, "each.requires", self._call.limits)
        chosen = [w.name for w in self._workers if w.name in found and w.cover(needed)]
        names.check_tag(task.tag, "tag", self._call.limits)
        for location in chosen:
            policy, if_offline = self._policies.of(task, location)
            self.if_offline.add(if_offline)
            self.tasks.append(TaskSpec(policy, parameter, task.tag))

    def read(self, raw: msgspec.Raw, number: int) -> schemas.NewTask:
        """The entry as a type; members that nobody knows are warned of."""
        try:
            return self._strict.decode(raw)  # type: ignore[no-any-return]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            where = f"location_and_parameters[{number}]"
            # An old program may send members that nobody knows; anything else wrong is wrong here too.
            task: schemas.NewTask = decode(raw, self._lenient, messagepack=self._messagepack, where=where)
            if not self._call.warnings and isinstance(error, msgspec.ValidationError):
                self._call.warnings.append(f"{schemas.invalid(error, where=where).message} It was ignored.")
            return task


async def check_amount(call: Call) -> None:
    """Refuse a JSON body of so many values that making them would take much more memory than the body has bytes."""
    body, most = call.body.bytes, call.limits.json_values_max
    if call.body.is_messagepack or len(body) <= most:
        return
    amount = 0
    for start in range(0, len(body), _COUNT_BYTES):
        amount += sum(body.count(mark, start, start + _COUNT_BYTES) for mark in (b",", b"[", b"{"))
        if amount > most:
            raise TooLargeError(
                f"The body has more than {most} commas and brackets (limit json_values_max). Send less at a time, or"
                " MessagePack, or many numbers as one array."
            )
        await asyncio.sleep(0)


async def parameter_of(raw: msgspec.Raw, call: Call) -> bytes:
    """A parameter as it came, turned into a portable value."""
    size = memoryview(raw).nbytes
    turn = _turn(call)
    if size >= _LARGE_BYTES and memoryview(raw)[0] == ord('"') and not call.body.is_messagepack:
        return await portable_text(memoryview(raw), call.limits.value_bytes_max)
    if size < _STRUCTURED_BYTES or memoryview(raw)[0] in _TEXT_HEADS:
        return turn(raw, call.limits.value_bytes_max)
    return await asyncio.to_thread(turn, raw, call.limits.value_bytes_max)


def _turn(call: Call) -> Callable[[msgspec.Raw, int], bytes]:
    return _from_messagepack if call.body.is_messagepack else _from_json


def _from_json(raw: msgspec.Raw, bytes_max: int) -> bytes:
    data = memoryview(raw)
    if not data.nbytes:
        return _NIL
    value = decode(raw, _ANY_JSON, messagepack=False)
    # Scalars, among them the large texts of old programs, have no tags to look for.
    may_have_tags = type(value) in (dict, list) and _TAG in bytes(data)
    return json_values.encode_parameter(value, may_have_tags=may_have_tags, bytes_max=bytes_max)


def _from_messagepack(raw: msgspec.Raw, bytes_max: int) -> bytes:
    return checked_value(bytes(raw) or _NIL, bytes_max)


def checked_value(data: bytes, bytes_max: int) -> bytes:
    """A parameter that came as MessagePack, or an error that says why it is no portable value."""
    if len(data) > bytes_max:
        raise TooLargeError(f"A parameter has {len(data)} bytes; at most {bytes_max} are allowed.")
    # The decoder of the request has checked the framing, and that is all there is to a bin.
    if data[0] not in _BIN_HEADS:
        _check_value(data)
    return data


def _check_value(data: bytes) -> None:
    """Whether these bytes are a portable value: told now, rather than by the agent later."""
    try:
        values.decode(data, opaque=True)
    except values.BadValue as error:
        raise InvalidRequestError(f"Member `parameter` is no portable value: {error}", field="parameter") from None


def _at(error: DartError, number: int) -> DartError:
    """The same complaint, saying in which entry."""
    where = f"location_and_parameters[{number}]"
    field = error.details.get("field", "parameter")
    return type(error)(f"{where}: {error.message}", **{**error.details, "field": f"{where}.{field}"})
