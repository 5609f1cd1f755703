"""Submissions from the body to the tasks: each parameter is a value that an agent can read, or all are refused."""

import json
from types import SimpleNamespace

import msgpack

from dart.broker.core.access import Scope
from dart.broker.core.model import TaskSpec
from dart.errors import DartError
from dart.limits import Limits
from dart.rest.caller import Caller
from dart.rest.patterns import Patterns
from dart.rest.submission import read_outer, read_submission
from dart.wire import values
from fuzz.fuzz_bodies import EXAMPLES
from fuzz.vectors import values as value_vectors

LIMITS = Limits(tasks_per_request_max=50)
TAGGED = {"__dart__": "array", "dtype": "<f8", "shape": [2], "base64": "AAAAAAAA8D8AAAAAAADwPw=="}
WORKERS = [
    SimpleNamespace(name=name, cover=lambda needed: not needed or needed == ("gpu",)) for name in ("alice", "bob")
]


class _Call:
    """As much of a call as a submission needs; its gateway knows two workers."""

    def __init__(self, body: bytes, *, is_messagepack: bool) -> None:
        async def read() -> bytearray:
            return bytearray(body)

        async def workers() -> list[SimpleNamespace]:
            return WORKERS

        self.body = SimpleNamespace(read=read, is_messagepack=is_messagepack, bytes=body)
        self.limits = LIMITS
        self.warnings: list[str] = []
        self.request = SimpleNamespace(query={})
        self.tools = SimpleNamespace(patterns=Patterns(LIMITS))
        self.gateway = SimpleNamespace(standing_jobs=dict, workers=workers)
        self.caller = Caller("id", "somebody", Scope.SUBMIT)

    def note_unknown(self, names: list[str]) -> None:
        self.warnings += names


def seeds() -> list[bytes]:
    found = []
    for example in (*EXAMPLES[1:3], {"location_and_parameters": [{"location": "w", "parameter": TAGGED}]}):
        found += [b"\x00" + json.dumps(example).encode(), b"\x01" + msgpack.packb(example)]
    head = b"\x01\x81\xb7location_and_parameters\x91\x81\xa9parameter"
    return [*found, *(head + value for value in value_vectors()[::6])]


async def _read(call: _Call) -> list[TaskSpec]:
    outer = await read_outer(call)  # type: ignore[arg-type]
    return list((await read_submission(call, outer, {})).tasks)  # type: ignore[arg-type]


def _done(coroutine) -> list[TaskSpec]:
    """Run without a loop: what it waits for is its turn only."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value


def check(data: bytes) -> None:
    if not data:
        return
    try:
        tasks = _done(_read(_Call(data[1:], is_messagepack=bool(data[0] % 2))))
    except DartError as error:
        assert error.message
        return
    assert len(tasks) <= LIMITS.tasks_per_request_max * len(WORKERS)
    for task in tasks:
        values.decode(task.parameter, opaque=True)
        assert task.tag.isprintable()
