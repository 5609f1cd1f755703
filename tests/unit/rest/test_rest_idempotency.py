"""`Idempotency-Key`: what makes two requests one, and the answers kept in memory."""

import asyncio
from types import SimpleNamespace

import pytest
from yarl import URL

from dart.broker.core.model import Idempotency
from dart.errors import IdempotencyConflictError, InvalidRequestError, UnavailableError
from dart.limits import Limits
from dart.rest.idempotency import Answers, idempotency_of

LATER = 1 << 50


async def digest(body=b"{}", *, key="k", method="POST", url="/job/?a=1", caller="1"):
    request = SimpleNamespace(
        headers={"Idempotency-Key": key} if key is not None else {}, method=method, rel_url=URL(url)
    )
    found = await idempotency_of(request, body, Limits(), caller_id=caller)
    return found and found.digest


async def test_a_request_is_its_caller_method_path_query_and_body():
    """The trailing slash makes no difference."""
    assert await digest() != await digest(caller="2")
    assert await digest() == await digest(url="/job?a=1")
    assert len({await digest(), await digest(b"[]"), await digest(method="PUT"), await digest(url="/job/?a=2")}) == 4
    assert await digest(key=None) is None
    large = bytes(2 << 20)
    assert await digest(large) == await digest(large) != await digest(large + b"x")


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x01", "\u00e9"])
async def test_keys_that_cannot_be_kept_are_refused(key):
    """Printable ASCII, bounded."""
    with pytest.raises(InvalidRequestError, match="Idempotency-Key"):
        await digest(key=key)


async def test_the_same_key_answers_the_same():
    """Made once; another request with it is a conflict; without key nothing is kept."""
    answers, made = Answers(10), []

    async def make():
        made.append(1)
        return len(made)

    one = Idempotency("k", b"1", LATER)
    assert [await answers.once(one, make), await answers.once(one, make)] == [1, 1]
    with pytest.raises(IdempotencyConflictError):
        await answers.once(Idempotency("k", b"2", LATER), make)
    assert [await answers.once(None, make), await answers.once(None, make)] == [2, 3]


async def test_large_answers_are_remembered_up_to_a_bound():
    """By the tasks in them, the latest in any case: whoever submits much does not fill the memory for good."""
    answers, made = Answers(100, tasks_max=10), []

    async def make():
        made.append(1)
        return {"tasks": ["1"] * 4}

    keys = [Idempotency(str(number), b"1", LATER) for number in range(5)]
    for key in keys:
        await answers.once(key, make)
    assert (len(answers._remembered), answers._tasks) == (2, 8)
    await answers.once(keys[-1], make)
    assert len(made) == 5

    async def make_many():
        return {"tasks": ["1"] * 20}

    await answers.once(Idempotency("many", b"1", LATER), make_many)
    assert (list(answers._remembered), answers._tasks) == (["many"], 20)


async def test_a_repetition_waits_for_the_first():
    """Both have the first one's answer; if it fails, the repetition tries itself."""
    answers, began, release = Answers(10), asyncio.Event(), asyncio.Event()
    outcomes = [UnavailableError("x"), "answer"]

    async def make():
        began.set()
        await release.wait()
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    one = Idempotency("k", b"1", LATER)
    first = asyncio.create_task(answers.once(one, make))
    await began.wait()
    second = asyncio.create_task(answers.once(one, make))
    third = asyncio.create_task(answers.once(one, make))
    release.set()
    with pytest.raises(UnavailableError):
        await first
    assert [await second, await third] == ["answer", "answer"]


async def test_answers_expire_and_the_oldest_go_first():
    """Memory is bounded."""
    answers = Answers(2)

    async def make():
        return object()

    old = Idempotency("old", b"1", 0)
    assert await answers.once(old, make) is not await answers.once(old, make)
    first = await answers.once(Idempotency("a", b"1", LATER), make)
    for key in "bc":
        await answers.once(Idempotency(key, b"1", LATER), make)
    assert await answers.once(Idempotency("a", b"1", LATER), make) is not first
    assert len(answers._remembered) == 2
