"""The writing thread: groups, order, failure."""

import asyncio
import threading

import pytest

from dart.broker.committer import Committer
from dart.broker.core.records import LeasesClosed
from dart.errors import StoreError
from dart.ids import LeaseId


class Gate:
    """The part of a store that a committer uses; each commit waits until it is let through."""

    def __init__(self):
        self.groups = []
        self.open = threading.Event()
        self.open.set()
        self.fault = None

    def commit(self, records):
        assert self.open.wait(10)
        if self.fault is not None:
            raise self.fault
        self.groups.append([record.lease_ids[0] for record in records])

    def settle(self):
        pass


class Watch:
    """What the loop was told."""

    def __init__(self, store, rows=1_000):
        self.committed = []
        self.failed = []
        self.committer = Committer(
            store, group_records_max=rows, on_committed=self.committed.append, on_failed=self.failed.append
        )


def record(number):
    return LeasesClosed((LeaseId(number),))


async def test_what_waits_becomes_one_group():
    """The first goes alone, those that came meanwhile together, told by the last number."""
    store = Gate()
    watch = Watch(store)
    store.open.clear()
    watch.committer.put(1, [record(1)])
    for number in (2, 3, 4):
        watch.committer.put(number, [record(number)])
    store.open.set()
    await watch.committer.close()
    await asyncio.sleep(0)
    assert [number for group in store.groups for number in group] == [1, 2, 3, 4]
    assert len(store.groups) <= 2
    assert watch.committed[-1] == 4


async def test_a_group_is_bounded():
    """More than the limit waits for the next one."""
    store = Gate()
    watch = Watch(store, rows=2)
    store.open.clear()
    for number in range(1, 6):
        watch.committer.put(number, [record(number)])
    store.open.set()
    await watch.committer.close()
    assert max(map(len, store.groups)) <= 2
    assert [number for group in store.groups for number in group] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("fault", [StoreError("full"), ValueError("bug")])
async def test_after_a_failure_nothing_is_written_until_recovered(fault):
    """Later turns are void; it is told once."""
    store = Gate()
    watch = Watch(store)
    store.fault = fault
    watch.committer.put(1, [record(1)])
    await watch.committer.call(lambda: None)
    store.fault = None
    watch.committer.put(2, [record(2)])
    await watch.committer.call(watch.committer.recovered)
    watch.committer.put(3, [record(3)])
    await watch.committer.close()
    await asyncio.sleep(0)
    assert store.groups == [[3]]
    assert (watch.committed, len(watch.failed)) == ([3], 1)
    assert isinstance(watch.failed[0], StoreError)


async def test_a_call_comes_after_what_waits():
    """And gives its value or its error to the caller."""
    store = Gate()
    watch = Watch(store)
    watch.committer.put(1, [record(1)])
    assert await watch.committer.call(lambda: list(store.groups)) == [[1]]

    def fail():
        raise StoreError("no")

    with pytest.raises(StoreError):
        await watch.committer.call(fail)
    await watch.committer.close()
    await watch.committer.close()
