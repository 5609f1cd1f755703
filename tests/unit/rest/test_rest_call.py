"""What a handler is given: waiting that ends with the server, and work that outlives its caller."""

import asyncio
from dataclasses import replace

import pytest

from dart.broker.core.model import Idempotency
from dart.errors import InvalidRequestError, JobExistsError, UnavailableError
from dart.limits import Limits
from dart.rest import patterns
from dart.rest.auth import KeyRing, Scope
from dart.rest.call import Call, Tools
from dart.rest.idempotency import Answers
from dart.rest.patterns import Patterns
from dart.rest.signal import Signal
from dart.undisturbed import Undisturbed
from harness.held_keys import HeldKeys
from harness.rest_stack import FixedKey

IDEMPOTENCY = Idempotency("k", b"1", 1 << 50)


def call():
    ring = KeyRing(FixedKey(), HeldKeys(), Limits())
    tools = Tools(None, ring, Limits(), Patterns(Limits()), Answers(10), Signal(), Undisturbed(), None)
    return Call(None, tools, None, None, ring.caller(FixedKey().text(), Scope.ADMIN), messagepack=False)


async def test_waiting_ends_with_what_is_waited_for():
    """Its value, or its error."""

    async def refuse():
        raise UnavailableError("x")

    assert await call().waiting(asyncio.sleep(0, 5)) == 5
    with pytest.raises(UnavailableError):
        await call().waiting(refuse())


@pytest.mark.parametrize("refuses", [False, True])
async def test_waiting_ends_with_the_server(refuses):
    """None, also where the broker refuses because it stops; nothing is left running."""
    it = call()

    async def wait():
        await it.tools.closing.wait()
        if refuses:
            raise UnavailableError("stopping")
        await asyncio.Event().wait()

    waiting = asyncio.create_task(it.waiting(wait()))
    await asyncio.sleep(0)
    it.tools.closing.set()
    assert await waiting is None
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_work_with_a_key_outlives_its_caller():
    """And an error that nobody is left to hear disturbs nobody."""
    it, go, ended = call(), asyncio.Event(), []

    async def work():
        await go.wait()
        ended.append(1)
        raise JobExistsError("x")

    caller = asyncio.create_task(it.finish(IDEMPOTENCY, work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    (task,) = it.tools.undisturbed.tasks
    go.set()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert (ended, it.tools.undisturbed.tasks) == ([1], set())


async def test_work_without_a_key_ends_with_its_caller():
    """Nobody will ask for it again."""
    it = call()
    caller = asyncio.create_task(it.finish(None, asyncio.Event().wait()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert it.tools.undisturbed.tasks == set()


async def test_work_that_is_cancelled_at_the_end_of_the_process():
    """The loop cancels what is left."""
    it = call()
    caller = asyncio.create_task(it.finish(IDEMPOTENCY, asyncio.Event().wait()))
    await asyncio.sleep(0)
    (task,) = it.tools.undisturbed.tasks
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert it.tools.undisturbed.tasks == set()


def test_a_pattern_that_needs_too_much_memory_is_refused(monkeypatch):
    """The library says so in the midst of matching."""

    class Greedy:
        def fullmatch(self, *_, **__):
            raise MemoryError

    monkeypatch.setattr(patterns, "compile_pattern", lambda *_: Greedy())
    with pytest.raises(InvalidRequestError, match="complex"):
        Patterns(replace(Limits(), patterns_cached_max=1)).match("x", ["a"], scope=1)
