"""Requests done once."""

import asyncio

import pytest

from dart.broker.core.model import Idempotency
from dart.broker.idempotency import RequestsInFlight
from dart.errors import IdempotencyConflictError, UnknownJobError

KEY = Idempotency("key", b"digest", 0)
OTHER_BODY = Idempotency("key", b"other", 0)


class Bench:
    """A store of answers and an action that waits for the test."""

    def __init__(self):
        self.remembered = {}
        self.done = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.requests = RequestsInFlight(self.stored, self.keys, keys_max=10)

    async def stored(self, key):
        await asyncio.sleep(0)
        return self.remembered.get(key)

    async def keys(self, after):
        return list(enumerate(self.remembered, 1))[after:]

    async def act(self):
        self.done += 1
        self.begun.set()
        await self.go.wait()
        self.remembered["key"] = (b"digest", 7)
        return 7


async def test_without_a_key_it_is_done_each_time():
    """Nothing is remembered."""
    bench = Bench()
    bench.go.set()
    assert [await bench.requests.once(None, bench.act), await bench.requests.once(None, bench.act)] == [7, 7]
    assert bench.done == 2


async def test_the_second_waits_for_the_first():
    """And gives its answer, however it asks."""
    bench = Bench()
    asked = [asyncio.create_task(bench.requests.once(KEY, bench.act)) for _ in range(3)]
    await asyncio.sleep(0)
    looked = asyncio.create_task(bench.requests.answer(KEY))
    await asyncio.sleep(0)
    bench.go.set()
    assert [await task for task in asked] == [7, 7, 7]
    assert await looked == 7
    assert bench.done == 1


async def test_a_new_key_has_no_answer():
    """It is to be done."""
    assert await Bench().requests.answer(KEY) is None


async def test_another_body_is_a_conflict():
    """While the first is under way and when it is done."""
    bench = Bench()
    first = asyncio.create_task(bench.requests.once(KEY, bench.act))
    await asyncio.sleep(0)
    for attempt in (bench.requests.once(OTHER_BODY, bench.act), bench.requests.answer(OTHER_BODY)):
        with pytest.raises(IdempotencyConflictError):
            await attempt
    bench.go.set()
    await first
    for attempt in (bench.requests.once(OTHER_BODY, bench.act), bench.requests.answer(OTHER_BODY)):
        with pytest.raises(IdempotencyConflictError):
            await attempt


async def test_a_failed_request_can_be_repeated():
    """Nothing was done, so nothing is remembered."""
    bench = Bench()

    async def fail():
        raise UnknownJobError("no")

    with pytest.raises(UnknownJobError):
        await bench.requests.once(KEY, fail)
    bench.go.set()
    assert await bench.requests.once(KEY, bench.act) == 7


async def test_a_caller_that_goes_away_does_not_make_its_request_new():
    """What it began may be recorded any moment: the same request that comes again waits for that."""
    bench = Bench()
    first = asyncio.create_task(bench.requests.once(KEY, bench.act))
    await bench.begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    again = asyncio.create_task(bench.requests.once(KEY, bench.act))
    await asyncio.sleep(0)
    bench.go.set()
    assert await again == 7
    assert bench.done == 1
