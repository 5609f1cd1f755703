"""The broker with real sockets, by an agent that speaks raw frames and a caller of the gateway."""

import asyncio

import pytest

from dart.broker.core.model import Idempotency, TaskState
from dart.errors import (
    IdempotencyConflictError,
    JobExistsError,
    LimitError,
    UnknownJobError,
    UnknownTaskError,
)
from dart.ids import TaskId
from dart.limits import Limits
from dart.wire.messages import Ack
from harness.broker_stack import CONFIG, broker, specs, until


async def everything(pages):
    return [row async for page in pages for row in page]


async def results_of(stack, name):
    return await everything(stack.gateway.results(await stack.gateway.job(name), workers=None, after=0, amount=10**6))


async def test_a_task_goes_round():
    """Submission, TASKS, RESULTS, ACK, result: one way through all parts."""
    async with broker() as stack, await stack.agent() as agent:
        await stack.gateway.define_job("job", CONFIG)
        await agent.join()
        agent.credit(10)
        ids = await stack.gateway.submit("job", specs(b"\x01", b"\x02", location="w"))
        leases = await agent.leases(2)
        assert [(lease.ref.task_id, lease.parameter, lease.module_path) for lease in leases] == [
            (ids[0], b"\x01", "module"),
            (ids[1], b"\x02", "module"),
        ]
        agent.answer(*leases)
        ack = await agent.receive(Ack)
        assert {ref.task_id for ref in ack.attempts} == set(ids)
        assert [(row.id, row.worker, row.payload, row.state) for row in await results_of(stack, "job")] == [
            (ids[0], "w", b"\x01", TaskState.SUCCEEDED),
            (ids[1], "w", b"\x02", TaskState.SUCCEEDED),
        ]
        assert (await stack.gateway.job("job")).counts == {TaskState.SUCCEEDED: 2}


async def test_large_values_pass_unchanged():
    """Parameters and results far above the size of one small frame."""
    value = bytes(range(256)) * 20_000
    async with broker() as stack, await stack.agent() as agent:
        await stack.gateway.define_job("job", CONFIG)
        await agent.join()
        agent.credit(10)
        await stack.gateway.submit("job", specs(value))
        leases = await agent.leases(1)
        assert bytes(leases[0].parameter) == value
        agent.answer(*leases)
        await agent.receive(Ack)
        assert [row.payload for row in await results_of(stack, "job")] == [value]


async def test_a_large_submission_comes_in_slices_and_as_a_whole():
    """Its ids are consecutive; the loop runs between the slices; nothing of it is visible before the last."""
    async with broker(limits=Limits(slice_tasks_max=50)) as stack:
        await stack.gateway.define_job("job", CONFIG)
        submission = asyncio.create_task(stack.gateway.submit("job", specs(*[b"x"] * 1_020)))
        seen = set()
        while not submission.done():
            seen.add(sum((await stack.gateway.job("job")).counts.values()))
            await asyncio.sleep(0)
        ids = await submission
        assert len(ids) == 1_020
        assert 0 in seen
        await until(lambda: len(stack.service.reactor.state.tasks) == 1_020)
        assert (await stack.gateway.job("job")).counts == {TaskState.QUEUED: 1_020}


async def test_a_submission_whose_caller_leaves_is_void():
    """Nothing of it stays, in the core or in the store."""
    async with broker(limits=Limits(slice_tasks_max=10)) as stack:
        await stack.gateway.define_job("job", CONFIG)
        submission = asyncio.create_task(stack.gateway.submit("job", specs(*[b"x"] * 5_000)))
        await until(lambda: stack.service.reactor.state.submissions)
        submission.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submission
        await stack.gateway.stop_job("job")
        assert stack.service.reactor.state.submissions == {}
        assert (await stack.gateway.job("job")).counts == {}


async def test_an_empty_submission_has_no_ids():
    """It is no error, but for an unknown job."""
    async with broker() as stack:
        await stack.gateway.define_job("job", CONFIG)
        assert len(await stack.gateway.submit("job", [])) == 0
        with pytest.raises(UnknownJobError):
            await stack.gateway.submit("none", [])


async def test_an_idempotency_key_makes_a_repetition_harmless():
    """At the same time or later: the same ids; with another body: a conflict."""
    key = Idempotency("key", b"digest", 2**52)
    async with broker() as stack:
        await stack.gateway.define_job("job", CONFIG)
        assert await stack.gateway.recall_answer(key) is None
        first, second = await asyncio.gather(
            stack.gateway.submit("job", specs(b"x"), idempotency=key),
            stack.gateway.submit("job", specs(b"x"), idempotency=key),
        )
        assert first == second == await stack.gateway.submit("job", specs(b"x"), idempotency=key)
        assert await stack.gateway.recall_answer(key) == first[0]
        assert (await stack.gateway.job("job")).counts == {TaskState.QUEUED: 1}
        with pytest.raises(IdempotencyConflictError):
            await stack.gateway.submit("job", specs(b"y"), idempotency=key._replace(digest=b"other"))
        define = Idempotency("define", b"d", 2**52)
        await stack.gateway.define_job("second", CONFIG, define)
        await stack.gateway.define_job("second", CONFIG, define)
        with pytest.raises(JobExistsError):
            await stack.gateway.define_job("second", CONFIG)


async def test_a_long_poll_ends_with_the_first_result():
    """It waits for what comes after its cursor, not longer, and not at all for what is there."""
    async with broker() as stack, await stack.agent() as agent:
        await stack.gateway.define_job("job", CONFIG)
        job = await stack.gateway.job("job")
        await stack.gateway.wait_for_results(job, after=0, seconds=0.05)
        await agent.join()
        agent.credit(10)
        ids = await stack.gateway.submit("job", specs(b"x"))
        wait = asyncio.create_task(stack.gateway.wait_for_results(job, after=0, seconds=30))
        tasks = asyncio.create_task(stack.gateway.wait_for_tasks("job", ids, seconds=30))
        leases = await agent.leases(1)
        assert not wait.done()
        agent.answer(*leases)
        async with asyncio.timeout(10):
            await wait
            assert [task.id for task in await tasks] == list(ids)
            await stack.gateway.wait_for_results(job, after=0, seconds=30)
        assert await stack.gateway.wait_for_tasks("job", [TaskId(10**9)], seconds=30) == []


async def test_long_polls_are_bounded_and_end_with_the_server():
    """One too many is refused; a stopping server keeps nobody waiting."""
    async with broker(limits=Limits(waiters_max=1)) as stack:
        await stack.gateway.define_job("job", CONFIG)
        job = await stack.gateway.job("job")
        wait = asyncio.create_task(stack.gateway.wait_for_results(job, after=0, seconds=30))
        await asyncio.sleep(0)
        with pytest.raises(LimitError):
            await stack.gateway.wait_for_results(job, after=0, seconds=30)
        stack.gateway.stop()
        async with asyncio.timeout(10):
            await wait
        assert stack.gateway.ready() == "the server is stopping"


async def test_tasks_are_listed_open_and_finished_together():
    """By id, in pages, in the states asked for; one alone too; cancelling tells whether it was in time."""
    async with broker() as stack, await stack.agent() as agent:
        await stack.gateway.define_job("job", CONFIG)
        await agent.join()
        agent.credit(1)
        ids = await stack.gateway.submit("job", specs(b"0", b"1", b"2", b"3", b"4"))
        leases = await agent.leases(1)
        agent.answer(*leases)
        await agent.receive(Ack)
        assert await stack.gateway.cancel_task("job", TaskId(ids[4])) is True
        assert await stack.gateway.cancel_task("job", TaskId(ids[0])) is False
        with pytest.raises(UnknownTaskError):
            await stack.gateway.cancel_task("job", TaskId(10**9))
        page = await stack.gateway.tasks("job", after=0, amount=3)
        assert [(task.id, task.state) for task in page.tasks] == [
            (ids[0], TaskState.SUCCEEDED),
            (ids[1], TaskState.QUEUED),
            (ids[2], TaskState.QUEUED),
        ]
        rest = await stack.gateway.tasks("job", after=page.next, amount=3)
        assert ([task.id for task in rest.tasks], rest.next) == ([ids[3], ids[4]], 0)
        queued = await stack.gateway.tasks("job", after=0, amount=9, states=frozenset({TaskState.QUEUED}))
        assert [task.id for task in queued.tasks] == list(ids[1:4])
        assert (await stack.gateway.task("job", TaskId(ids[1]))).state is TaskState.QUEUED
        assert (await stack.gateway.task("job", TaskId(ids[0]))).payload == b"0"
        with pytest.raises(UnknownTaskError):
            await stack.gateway.task("job", TaskId(10**9))
        for call in (stack.gateway.tasks("none", after=0, amount=1), stack.gateway.task("none", TaskId(1))):
            with pytest.raises(UnknownJobError):
                await call


async def test_jobs_are_stopped_and_purged():
    """Stopping cancels what is open, purging forgets; forgetting a result of nobody is no error."""
    async with broker() as stack:
        await stack.gateway.define_job("a", CONFIG)
        await stack.gateway.define_job("b", CONFIG)
        await stack.gateway.submit("a", specs(b"x", b"y"))
        assert await stack.gateway.stop_job("a") == 2
        assert [job.name for job in await stack.gateway.jobs(after="", amount=10)] == ["a", "b"]
        assert [job.name for job in await stack.gateway.jobs(after="a", amount=10)] == ["b"]
        await stack.gateway.delete_result("a", TaskId(5))
        assert await stack.gateway.purge_jobs(["a", "none"]) == 1
        with pytest.raises(UnknownJobError):
            await stack.gateway.job("a")


async def test_results_come_in_pages_bounded_in_bytes():
    """No page much above the bound, each row once, not more than asked for."""
    limits = Limits(answer_page_bytes_max=25)
    async with broker(limits=limits) as stack, await stack.agent() as agent:
        await stack.gateway.define_job("job", CONFIG)
        await agent.join()
        agent.credit(10)
        await stack.gateway.submit("job", specs(*[b"0123456789"] * 7))
        leases = await agent.leases(7)
        agent.answer(*leases)
        await agent.receive(Ack)
        job = await stack.gateway.job("job")
        pages = [len(page) async for page in stack.gateway.results(job, workers=None, after=0, amount=100)]
        assert sum(pages) == 7
        assert max(pages) <= 3
        assert len(await everything(stack.gateway.results(job, workers=None, after=0, amount=4))) == 4
        assert await everything(stack.gateway.results(job, workers=("other",), after=0, amount=4)) == []


async def test_a_submission_cancelled_at_its_first_slice_is_void():
    """Also when the caller never learned its ids."""
    async with broker(limits=Limits(slice_tasks_max=10)) as stack:
        await stack.gateway.define_job("job", CONFIG)
        submission = asyncio.create_task(stack.gateway.submit("job", specs(*[b"x"] * 100)))
        await asyncio.sleep(0)
        submission.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submission
        await stack.gateway.submit("job", specs(b"y"))
        await until(lambda: not stack.service.reactor.state.submissions)
        assert (await stack.gateway.job("job")).counts == {TaskState.QUEUED: 1}


async def test_a_submission_refused_on_its_way_tells_the_first_reason():
    """The job is purged between two slices."""
    async with broker(limits=Limits(slice_tasks_max=10)) as stack:
        await stack.gateway.define_job("job", CONFIG)
        submission = asyncio.create_task(stack.gateway.submit("job", specs(*[b"x"] * 5_000)))
        await until(lambda: stack.service.reactor.state.submissions)
        await stack.gateway.purge_jobs(["job"])
        with pytest.raises(UnknownJobError):
            await submission
        assert not stack.service.reactor.state.submissions
