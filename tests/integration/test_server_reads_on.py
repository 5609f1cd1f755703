"""A store that cannot be written: what is durable can still be read, and nothing else is done."""

import pytest

from dart.broker.core.model import TaskState
from dart.broker.store.memory import MemoryStore
from dart.errors import UnavailableError
from harness.broker_stack import CONFIG, broker, specs, until


async def test_reads_go_on_and_writes_are_refused():
    """Jobs, tasks and the server itself; nobody is connected meanwhile; with room again all is as before."""
    store = MemoryStore()
    async with broker(store) as stack:
        await stack.gateway.define_job("j", CONFIG)
        ids = await stack.gateway.submit("j", specs(b"1", b"2"))
        agent = await stack.agent()
        await agent.join()
        store.failing = True
        with pytest.raises(UnavailableError):
            await stack.gateway.submit("j", specs(b"3"))
        await until(lambda: stack.service._image is not None)
        assert (await stack.gateway.job("j")).counts == {TaskState.QUEUED: 2}
        assert [task.id for task in (await stack.gateway.tasks("j", after=0, amount=9)).tasks] == list(ids)
        assert await stack.gateway.workers() == []
        assert stack.gateway.server().open_tasks == 2
        assert "cannot be written" in stack.gateway.ready()
        with pytest.raises(UnavailableError, match="cannot be written"):
            await stack.gateway.define_job("k", CONFIG)
        store.failing = False
        await until(lambda: not stack.gateway.ready())
        assert stack.service._image is None
        assert (await stack.gateway.job("j")).counts == {TaskState.QUEUED: 2}
        await stack.gateway.define_job("k", CONFIG)
        agent.close()


async def test_a_store_that_cannot_be_read_either_refuses_all(caplog):
    """With the trouble in the log, until it can."""

    class Gone(MemoryStore):
        def look(self):
            if self.failing:
                raise OSError("no disk at all")
            return super().look()

    store = Gone()
    async with broker(store) as stack:
        await stack.gateway.define_job("j", CONFIG)
        store.failing = True
        with pytest.raises(UnavailableError):
            await stack.gateway.define_job("k", CONFIG)
        await until(lambda: "cannot be read either" in caplog.text)
        with pytest.raises(UnavailableError):
            await stack.gateway.job("j")
        store.failing = False
        await until(lambda: not stack.gateway.ready())
        await stack.gateway.job("j")


async def test_a_disk_that_is_nearly_full_takes_no_submission():
    """All of a sliced one is void; results and small changes still go in."""

    class Small(MemoryStore):
        left = 1 << 30

        def room(self):
            return self.left

    store = Small()
    async with broker(store) as stack:
        await stack.gateway.define_job("j", CONFIG)
        await stack.gateway.submit("j", specs(b"1"))
        store.left = stack.service._limits.store_spare_bytes + 10
        with pytest.raises(UnavailableError, match="store_spare_bytes"):
            await stack.gateway.submit("j", specs(b"x" * 11))
        await stack.gateway.submit("j", specs(b"x"))
        with pytest.raises(UnavailableError, match="store_spare_bytes"):
            await stack.gateway.submit("j", specs(*[b"x"] * 700))
        assert (await stack.gateway.job("j")).counts == {TaskState.QUEUED: 2}
        await stack.gateway.define_job("k", CONFIG)
