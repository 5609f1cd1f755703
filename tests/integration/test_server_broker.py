"""The broker with real sockets, by an agent that speaks raw frames and a caller of the gateway."""

import asyncio
import threading

import pytest
import zmq

from dart.broker import transport
from dart.broker.core.model import Idempotency, TaskState
from dart.broker.core.records import LeaseAdded, TasksAdded
from dart.broker.store.memory import MemoryStore
from dart.errors import (
    IdempotencyConflictError,
    JobExistsError,
    LimitError,
    StoreError,
    UnavailableError,
    UnknownJobError,
    UnknownTaskError,
    UnknownWorkerError,
)
from dart.ids import TaskId
from dart.limits import Limits
from dart.wire import codec, curve
from dart.wire.messages import Ack, Bye, Drain, Error, ErrorCode, Heartbeat, Welcome
from harness.broker_stack import CONFIG, broker, specs, until
from harness.raw_agent import RawAgent


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


async def test_an_unenrolled_key_is_refused():
    """ZAP admits enrolled keys only."""
    async with broker() as stack, RawAgent(stack.url, stack.keys.public, curve.KeyPair.make()) as stranger:
        assert await stranger.handshake() != zmq.EVENT_HANDSHAKE_SUCCEEDED
        assert stack.admission.refused == 1


@pytest.mark.parametrize(
    "frames",
    [[b"\xc1garbage", b"more"], [b""], [b"\x94\x01\x01\x01"], [b"x"] * 400],
    ids=["garbage", "empty", "short", "many"],
)
async def test_garbage_is_answered_by_error(frames):
    """What cannot be read ends the session with a coded complaint; the broker and other agents go on."""
    async with broker() as stack, await stack.agent() as agent:
        await agent.join()
        agent.socket.send_multipart(frames)
        assert (await agent.receive(Error)).code == ErrorCode.MALFORMED
        assert stack.transport.malformed == 1
        agent.credit(1)
        assert (await agent.receive(Error)).code == ErrorCode.SAY_HELLO
        async with await stack.agent("other") as other:
            assert isinstance(await other.join(), Welcome)


async def test_a_frame_that_is_missing_voids_the_session():
    """A gap in the running numbers is healed by a new session only."""
    async with broker() as stack, await stack.agent() as agent:
        await agent.join()
        agent.sent += 1
        agent.credit(1)
        assert (await agent.receive(Error)).code == ErrorCode.SAY_HELLO


async def test_parameters_come_from_the_store_when_the_cache_is_full():
    """Frames keep their order while parameters are read."""
    async with broker(limits=Limits(cache_bytes_max=0)) as stack, await stack.agent(slots=4) as agent:
        await stack.gateway.define_job("job", CONFIG)
        await agent.join()
        parameters = [bytes([number]) * 10 for number in range(50)]
        ids = await stack.gateway.submit("job", specs(*parameters))
        agent.credit(1000)
        leases = await agent.leases(50)
        assert {lease.ref.task_id: lease.parameter for lease in leases} == dict(zip(ids, parameters, strict=True))
        numbers = [frame.sequence for frame in agent.received]
        assert numbers == list(range(1, len(numbers) + 1))


async def test_a_failed_commit_is_503_and_the_state_is_what_the_store_has():
    """The turn is void, agents say HELLO again, and the next submission works."""
    store = MemoryStore()
    async with broker(store) as stack, await stack.agent() as agent:
        await stack.gateway.define_job("job", CONFIG)
        kept = await stack.gateway.submit("job", specs(b"kept"))
        await agent.join()
        store.fail_next = True
        with pytest.raises(UnavailableError) as refused:
            await stack.gateway.submit("job", specs(b"void"))
        assert refused.value.details["retry_after"] > 0
        assert (await agent.receive(Error)).code == ErrorCode.SAY_HELLO
        await until(lambda: not stack.gateway.ready())
        later = await stack.gateway.submit("job", specs(b"later"))
        assert (await stack.gateway.job("job")).counts == {TaskState.QUEUED: 2}
        async with RawAgent(stack.url, stack.keys.public, agent.keys, slots=2) as again:
            await again.join()
            again.credit(10)
            leases = await again.leases(2)
        assert [lease.ref.task_id for lease in leases] == [kept[0], later[0]]


async def test_while_the_store_cannot_write_everything_is_refused(caplog):
    """Callers are told at once; as soon as a probe succeeds all goes on."""
    store = MemoryStore()
    async with broker(store) as stack:
        await stack.gateway.define_job("job", CONFIG)
        store.failing = True
        with pytest.raises(UnavailableError):
            await stack.gateway.submit("job", specs(b"x"))
        assert "store" in stack.gateway.ready()
        for call in (stack.gateway.submit("job", specs(b"x")), stack.gateway.job("job"), stack.gateway.workers()):
            with pytest.raises(UnavailableError):
                await call
        await until(lambda: "still cannot be written" in caplog.text)
        store.failing = False
        await until(lambda: not stack.gateway.ready())
        assert len(await stack.gateway.submit("job", specs(b"x"))) == 1


async def test_a_fault_of_the_core_costs_one_turn(monkeypatch):
    """An exception in the core is answered by 503 and a core built anew."""
    async with broker() as stack:
        await stack.gateway.define_job("job", CONFIG)
        core = stack.service.reactor

        def fail(event, now):
            raise RuntimeError("planted")

        monkeypatch.setattr(core, "handle", fail)
        with pytest.raises(UnavailableError):
            await stack.gateway.submit("job", specs(b"x"))
        await until(lambda: not stack.gateway.ready())
        assert stack.service.reactor is not core
        assert (await stack.gateway.job("job")).name == "job"


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


async def test_workers_are_told_pinged_and_drained():
    """Views join the agents of a name; a ping takes one round trip to each."""
    async with broker() as stack, await stack.agent("w", slots=2) as one, await stack.agent("w", slots=3) as two:
        await one.join(capabilities=("gpu",))
        await two.join(capabilities=("camera",))
        worker = await stack.gateway.worker("w")
        assert (worker.slots, worker.capabilities, len(worker.agents)) == (5, ("camera", "gpu"), 2)
        assert [known.name for known in await stack.gateway.workers()] == ["w"]
        with pytest.raises(UnknownWorkerError):
            await stack.gateway.worker("nobody")

        ping = asyncio.create_task(stack.gateway.ping(["w"], 0.5))
        while (asked := await one.receive(Heartbeat)).nonce == 0:
            pass
        one.send(Heartbeat(asked.nonce, reply=True, load=0.0))
        answered = {pong.agent_id: pong.milliseconds for pong in await ping}
        assert sorted(value >= 0 for value in answered.values()) == [False, True]
        with pytest.raises(UnknownWorkerError):
            await stack.gateway.ping(["nobody"], 0.1)

        assert await stack.gateway.drain("w") == 2
        await one.receive(Drain)
        await two.receive(Drain)


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


async def test_agents_are_told_when_the_server_ends():
    """BYE goes to all of them."""
    async with broker() as stack:
        agent = await stack.agent()
        await agent.join()
    async with agent:
        await agent.receive(Bye)


async def test_what_waits_for_the_store_is_bounded(monkeypatch):
    """Over the limit callers get 503 and agents have to wait; both go on when the store has caught up."""
    store, released = MemoryStore(), threading.Event()
    real_commit = store.commit

    def slow_commit(records):
        assert released.wait(10)
        real_commit(records)

    async with broker(store, Limits(outbox_bytes_max=1_000)) as stack, await stack.agent() as agent:
        await stack.gateway.define_job("job", CONFIG)
        await agent.join()
        monkeypatch.setattr(store, "commit", slow_commit)
        big = asyncio.create_task(stack.gateway.submit("job", specs(b"x" * 2_000)))
        await until(lambda: stack.service.crowded)
        with pytest.raises(UnavailableError, match="outbox_bytes_max"):
            await stack.gateway.submit("job", specs(b"y"))
        agent.credit(10)
        assert not agent.socket.poll(100)
        released.set()
        assert [lease.ref.task_id for lease in await agent.leases(1)] == list(await big)
        assert len(await stack.gateway.submit("job", specs(b"y"))) == 1


async def test_nothing_is_shown_before_it_is_durable(monkeypatch):
    """While a commit is under way neither reply nor view nor TASKS nor ACK goes out."""
    store, released = MemoryStore(), threading.Event()
    real_commit = store.commit

    def slow_commit(records):
        assert released.wait(10)
        real_commit(records)

    async with broker(store) as stack, await stack.agent() as agent:
        await stack.gateway.define_job("job", CONFIG)
        await agent.join()
        agent.credit(10)
        monkeypatch.setattr(store, "commit", slow_commit)
        submit = asyncio.create_task(stack.gateway.submit("job", specs(b"x")))
        view = asyncio.create_task(stack.gateway.job("job"))
        done, _ = await asyncio.wait([submit], timeout=0.2)
        assert not done
        second_view = asyncio.create_task(stack.gateway.job("job"))
        done, _ = await asyncio.wait([second_view], timeout=0.1)
        assert not done
        assert not agent.socket.poll(0)
        released.set()
        ids = await submit
        assert (await second_view).counts == {TaskState.LEASED: 1}
        assert (await view).counts in ({}, {TaskState.QUEUED: 1}, {TaskState.LEASED: 1})
        assert [lease.ref.task_id for lease in await agent.leases(1)] == list(ids)


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


async def test_a_large_submission_waits_for_the_store(monkeypatch):
    """Its slices come no faster than they can be written, so that memory stays bounded."""
    store = MemoryStore()
    highest = 0
    real_commit = store.commit

    def watched_commit(records):
        nonlocal highest
        highest = max(highest, sum(len(record.rows) for record in records if isinstance(record, TasksAdded)))
        real_commit(records)

    monkeypatch.setattr(store, "commit", watched_commit)
    async with broker(store, Limits(slice_tasks_max=10, outbox_bytes_max=40_000)) as stack:
        await stack.gateway.define_job("job", CONFIG)
        assert len(await stack.gateway.submit("job", specs(*[b"x" * 100] * 2_000))) == 2_000
    assert 0 < highest <= 120


async def test_a_slice_above_the_bound_of_what_waits_is_taken_by_itself():
    """However small `outbox_bytes_max`: each slice waits until the one before it is written, none is refused."""
    async with broker(limits=Limits(slice_tasks_max=10, outbox_bytes_max=500)) as stack:
        await stack.gateway.define_job("job", CONFIG)
        assert len(await stack.gateway.submit("job", specs(*[b"x" * 100] * 100))) == 100


async def test_an_agent_that_is_gone_is_noticed_at_the_next_send():
    """Its session ends; its lease time runs."""
    async with broker(limits=Limits(heartbeat_seconds=0.2, silence_seconds=60.0)) as stack:
        async with await stack.agent() as agent:
            await agent.join()
        await until(lambda: not stack.service.reactor.state.sessions)


async def test_connections_are_remembered_up_to_a_bound():
    """One too many makes the oldest begin anew, nothing else."""
    async with broker(limits=Limits(agents_max=1)) as stack:
        keys = curve.KeyPair.make()
        for _ in range(5):
            async with await stack.agent(keys=keys) as agent:
                assert isinstance(await agent.join(), Welcome)
        assert len(stack.transport._peers) <= 2


async def test_a_stop_while_the_store_cannot_write_ends():
    """There is nothing to wait for."""
    store = MemoryStore()
    async with asyncio.timeout(10):
        async with broker(store) as stack:
            await stack.gateway.define_job("job", CONFIG)
            store.failing = True
            with pytest.raises(UnavailableError):
                await stack.gateway.submit("job", specs(b"x"))


async def test_lazy_records_are_written_in_time(monkeypatch):
    """A lease is in the store soon although nothing else is written."""
    store = MemoryStore()
    leases = []
    real_commit = store.commit

    def watched_commit(records):
        leases.extend(record for record in records if isinstance(record, LeaseAdded))
        real_commit(records)

    monkeypatch.setattr(store, "commit", watched_commit)
    async with broker(store) as stack, await stack.agent() as agent:
        await stack.gateway.define_job("job", CONFIG)
        await agent.join()
        ids = await stack.gateway.submit("job", specs(b"x"))
        agent.credit(1)
        await agent.leases(1)
        await until(lambda: leases)
        assert [ref.task_id for ref in leases[0].attempts] == list(ids)


async def test_a_read_that_fails_is_told():
    """The error is the store's, and the broker goes on."""

    class Unreadable(MemoryStore):
        def parameters(self, ids):
            raise StoreError("no")

    async with broker(Unreadable(), Limits(cache_bytes_max=0)) as stack, await stack.agent() as agent:
        await stack.gateway.define_job("job", CONFIG)
        await agent.join()
        agent.credit(1)
        await stack.gateway.submit("job", specs(b"x"))
        await until(lambda: not stack.service.reactor.state.sessions)
        agent.credit(1)
        assert (await agent.receive(Error)).code == ErrorCode.SAY_HELLO
        assert len(await stack.gateway.submit("job", specs(b"y"))) == 1


@pytest.mark.parametrize(
    "request_parts",
    [
        [],
        [b"1.0", b"7"],
        [b"1.0", b"7", b"dart", b"1.2.3.4", b"", b"PLAIN", b"user", b"password"],
        [b"1.0", b"7", b"other", b"1.2.3.4", b"", b"CURVE", b"k" * 32],
        [b"2.0", b"7", b"dart", b"1.2.3.4", b"", b"CURVE", b"k" * 32],
        [b"1.0", b"7", b"dart", b"\xff", b"", b"CURVE", b"short"],
        [b"1.0", b"7", b"dart", b"1.2.3.4", b"", b"CURVE"],
        [b"1.0", b"7", b"dart", b"1.2.3.4", b"", b"CURVE", b"k" * 32],
    ],
)
async def test_admission_refuses_what_it_does_not_know(request_parts):
    """Whatever the mechanism, the domain or the key."""
    async with broker() as stack:
        assert stack.admission.answer(request_parts)[2] == b"400"


async def test_an_agent_that_does_not_read_loses_its_session(monkeypatch, caplog):
    """It may fill its own pipe, not the broker's memory."""
    caplog.set_level("INFO", logger="dart.broker")
    monkeypatch.setattr(transport, "SEND_HIGH_WATER_MARK", 4)
    keys = curve.KeyPair.make()
    async with broker(limits=Limits(batch_bytes_max=1 << 20)) as stack:
        await stack.gateway.enroll(keys.public, "w")
        await stack.gateway.define_job("job", CONFIG)
        async with RawAgent(stack.url, stack.keys.public, keys, slots=64, receive_high_water_mark=4) as agent:
            await agent.join()
            agent.credit(64, 1 << 30)
            await stack.gateway.submit("job", specs(*[b"x" * (1 << 20)] * 64))
            await until(lambda: not stack.service.reactor.state.sessions)
            assert "it does not read what it is sent" in caplog.text


async def test_a_message_that_cannot_be_made_ends_one_session_only(monkeypatch, caplog):
    """A fault of ours with one frame holds nobody up."""
    async with broker() as stack, await stack.agent() as agent:
        await agent.join()
        real_encode = codec.encode

        def encode(frame, *, limits):
            if isinstance(frame.message, Drain):
                raise TypeError("planted")
            return real_encode(frame, limits=limits)

        monkeypatch.setattr(codec, "encode", encode)
        assert await stack.gateway.drain("w") == 1
        await until(lambda: not stack.service.reactor.state.sessions)
        assert "Drain could not be made" in caplog.text


async def test_agents_may_come_by_the_newer_protocol_of_the_internet():
    """IPv6, where the host has it."""
    context = zmq.Context()
    gate = transport.Transport(context, keys=curve.KeyPair.make(), limits=Limits(), deliver=lambda _events: None)
    try:
        assert gate.bind("::1", 0) > 0
    finally:
        gate.close()
        context.term()
