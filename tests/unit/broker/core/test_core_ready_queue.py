"""The queues of tasks that wait."""

import pytest

from dart.broker.core.capabilities import Capabilities
from dart.broker.core.lifecycle import new_task
from dart.broker.core.model import Job, JobConfig, JobStatus, TaskPolicy
from dart.broker.core.ready_queue import ReadyQueues
from dart.ids import JobId, TaskId


@pytest.fixture
def jobs():
    return [Job(JobId(n), f"job{n}", JobConfig("m", "f", {}), JobStatus.RUNNING, 0) for n in range(3)]


def task(job, number, priority=0, location="w", requires=()):
    return new_task(TaskId(number), job, TaskPolicy(location, requires, priority), "", 1)


def drain(ready, queue):
    numbers = []
    while queue.size:
        head = queue.head()
        popped = ready.pop(queue)
        assert popped is head
        numbers.append(popped.id)
    return numbers


def test_first_come_first_served(jobs):
    """Tasks of one job and priority leave in the order they came."""
    ready = ReadyQueues()
    for number in range(1, 6):
        ready.push(task(jobs[0], number))
    assert ready.size == 5
    assert drain(ready, ready.get(("w", ()))) == [1, 2, 3, 4, 5]
    assert ready.size == 0
    assert ready.get(("w", ())) is None
    assert not list(ready)


def test_front_goes_first(jobs):
    """A task that comes back passes those of its job, not those of a higher priority."""
    ready = ReadyQueues()
    ready.push(task(jobs[0], 1))
    ready.push(task(jobs[0], 2, priority=5))
    ready.push(task(jobs[0], 3), front=True)
    assert drain(ready, ready.get(("w", ()))) == [2, 3, 1]


def test_higher_priority_first(jobs):
    """Priorities go before jobs and age."""
    ready = ReadyQueues()
    for number, priority in enumerate((0, -1, 7, 3), 1):
        ready.push(task(jobs[number % 3], number, priority))
    queue = ready.get(("w", ()))
    assert queue.priority() == 7
    assert drain(ready, queue) == [3, 4, 1, 2]


def test_jobs_take_turns(jobs):
    """A job of many tasks does not hold up the next one: each in its turn gives one."""
    ready = ReadyQueues()
    for number in range(1, 5):
        ready.push(task(jobs[0], number))
    ready.push(task(jobs[1], 5))
    ready.push(task(jobs[1], 6))
    ready.push(task(jobs[2], 7))
    assert drain(ready, ready.get(("w", ()))) == [1, 5, 7, 2, 6, 3, 4]


def test_removed_tasks_are_gone(jobs):
    """Tasks leave from the front, the middle and the end; sizes are right at once."""
    ready = ReadyQueues()
    tasks = [task(jobs[0], number) for number in range(1, 8)]
    for one in tasks:
        ready.push(one)
    queue = ready.get(("w", ()))
    for index in (3, 0, 6, 1):
        ready.remove(tasks[index])
    assert (queue.size, ready.size) == (3, 3)
    assert [one.id for one in queue] == [3, 5, 6]
    assert drain(ready, queue) == [3, 5, 6]
    assert ready.get(("w", ())) is None


def test_last_removed_empties_the_queue(jobs):
    """A queue whose last task is removed is gone, with its priorities."""
    ready = ReadyQueues()
    low, high, other = task(jobs[0], 1), task(jobs[0], 2, priority=1), task(jobs[1], 3)
    for one in (low, high, other):
        ready.push(one)
    ready.remove(high)
    assert ready.get(("w", ())).priority() == 0
    ready.remove(low)
    assert [one.id for one in ready.get(("w", ()))] == [3]
    ready.remove(other)
    assert not list(ready)
    assert ready.matching("w", frozenset()) == []


def test_removed_and_pushed_again(jobs):
    """A task that was removed from the middle and comes back is there once, in its new place."""
    ready = ReadyQueues()
    tasks = [task(jobs[0], number) for number in range(1, 5)]
    for one in tasks:
        ready.push(one)
    ready.remove(tasks[2])
    ready.push(tasks[2], front=True)
    ready.remove(tasks[1])
    fresh = task(jobs[0], 9)
    ready.push(fresh)
    assert ready.size == 4
    assert drain(ready, ready.get(("w", ()))) == [3, 1, 4, 9]


def test_memory_does_not_grow_with_removals(jobs):
    """Dead entries never make up much more than half of a lane, whatever is removed."""
    ready = ReadyQueues()
    keeper = task(jobs[0], 1)
    ready.push(keeper)
    for number in range(2, 5000):
        one = task(jobs[0], number)
        ready.push(one)
        ready.remove(one)
    queue = ready.get(("w", ()))
    (lane,) = queue._levels[0].values()
    assert len(lane.tasks) < 100
    assert queue.size == len(lane) == 1
    assert drain(ready, queue) == [1]


def test_a_lane_may_die_all_at_once(jobs):
    """Compaction of a lane without a living task leaves nothing behind."""
    ready = ReadyQueues()
    tasks = [task(jobs[0], number) for number in range(1, 101)]
    for one in tasks:
        ready.push(one)
    for one in reversed(tasks):
        ready.remove(one)
    assert (ready.size, list(ready)) == (0, [])


def test_matching_is_by_location_and_capabilities(jobs):
    """An agent serves its name's queues and those of any name, where it has all that is required."""
    ready = ReadyQueues()
    for number, (location, requires) in enumerate(
        [("w", ()), ("w", ("gpu",)), ("", ()), ("", ("fpga", "gpu")), ("v", ())], 1
    ):
        ready.push(task(jobs[0], number, location=location, requires=requires))

    def served(name, *capabilities):
        return [queue.head().id for queue in ready.matching(name, Capabilities(capabilities))]

    assert served("w") == [1, 3]
    assert served("w", "gpu") == [1, 2, 3]
    assert served("w", "gpu", "fpga") == [1, 2, 3, 4]
    assert served("x", "fpga") == [3]
    assert list(ready.changed) == [("w", ()), ("w", ("gpu",)), ("", ()), ("", ("fpga", "gpu")), ("v", ())]


def test_served_tells_whose_turn_it_is(jobs):
    """A queue remembers when it last gave a task, so that queues can take turns."""
    ready = ReadyQueues()
    for number in range(1, 4):
        ready.push(task(jobs[0], number))
        ready.push(task(jobs[0], 10 + number, location=""))
    first, second = ready.get(("w", ())), ready.get(("", ()))
    ready.pop(first)
    ready.pop(second)
    assert 0 < first.served < second.served
