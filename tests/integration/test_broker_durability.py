"""The broker and its store: durable before visible, bounded, and what happens when the store fails."""

import asyncio
import threading

import pytest

from dart.broker.core.model import TaskState
from dart.broker.core.records import LeaseAdded, TasksAdded
from dart.broker.store.memory import MemoryStore
from dart.broker.submission import SLICES_AHEAD
from dart.errors import (
    StoreError,
    UnavailableError,
)
from dart.limits import Limits
from dart.wire.messages import Error, ErrorCode
from harness.broker_stack import CONFIG, broker, specs, until
from harness.raw_agent import RawAgent


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

        def fail(events, now):
            raise RuntimeError("planted")

        monkeypatch.setattr(core, "handle_all", fail)
        with pytest.raises(UnavailableError):
            await stack.gateway.submit("job", specs(b"x"))
        await until(lambda: not stack.gateway.ready())
        assert stack.service.reactor is not core
        assert (await stack.gateway.job("job")).name == "job"


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


async def test_a_large_submission_leaves_the_disk_to_others(monkeypatch):
    """While a commit is under way few slices of it are queued for the next: what comes meanwhile is not far behind."""
    store, released, groups = MemoryStore(), threading.Event(), []
    real_commit = store.commit

    def slow_commit(records):
        assert released.wait(10)
        groups.append([len(record.rows) for record in records if isinstance(record, TasksAdded)])
        real_commit(records)

    async with broker(store, Limits(slice_tasks_max=10)) as stack:
        await stack.gateway.define_job("job", CONFIG)
        monkeypatch.setattr(store, "commit", slow_commit)
        large = asyncio.create_task(stack.gateway.submit("job", specs(*[b"x"] * 200)))
        await until(lambda: stack.service.reactor.state.highest_id >= 200)
        for _ in range(100):
            await asyncio.sleep(0)
        small = asyncio.create_task(stack.gateway.submit("job", specs(b"y")))
        await asyncio.sleep(0)
        released.set()
        assert len(await small) == 1
        place = next(index for index, group in enumerate(groups) if 1 in group)
        assert sum(sum(group) for group in groups[: place + 1]) <= 10 * (SLICES_AHEAD + 1) + 1
        assert len(await large) == 200
        assert max(len(group) for group in groups) <= SLICES_AHEAD + 1


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
