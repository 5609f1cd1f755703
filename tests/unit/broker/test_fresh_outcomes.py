"""Outcomes for those who wait for them."""

from dart.broker.core.model import TaskState
from dart.broker.core.records import TaskFinished
from dart.broker.fresh_outcomes import BYTES_MAX, TASKS_MAX, FreshOutcomes
from dart.ids import JobId, TaskId


def finished(task_id, payload=b"v"):
    return TaskFinished(TaskId(task_id), JobId(1), TaskState.SUCCEEDED, "w", "h", "l", "t", 1, 5, 0.5, 0, payload, 9)


def test_each_who_waits_sees_the_outcomes_of_his_tasks():
    """And of no others; after he left, nothing is kept."""
    fresh = FreshOutcomes()
    one, both = fresh.watch([1]), fresh.watch([1, 2])
    fresh.taken([finished(1), finished(2), finished(3)], void=False)
    assert (list(one), list(both)) == ([1], [1, 2])
    assert (one[1].id, one[1].payload, one[1].finished_at_ms, one[1].worker) == (1, b"v", 9, "w")
    fresh.leave([1], one)
    fresh.taken([finished(1, b"again")], void=False)
    assert (one[1].payload, both[1].payload) == (b"v", b"again")
    fresh.leave([1, 2], both)
    assert not fresh._watching


def test_many_tasks_and_large_outcomes_are_left_to_the_store():
    """Memory for those who wait is bounded."""
    fresh = FreshOutcomes()
    many = fresh.watch(range(TASKS_MAX + 1))
    large = fresh.watch([1])
    fresh.taken([finished(1, bytes(BYTES_MAX + 1))], void=False)
    assert (many, large) == ({}, {})
    fresh.leave(range(TASKS_MAX + 1), many)
    assert list(fresh._watching) == [1]


def test_what_became_void_is_not_told():
    """A failed commit: it never happened, and may happen otherwise."""
    fresh = FreshOutcomes()
    seen = fresh.watch([1])
    fresh.taken([finished(1)], void=True)
    assert seen == {}
    fresh.taken([finished(1, b"second")], void=False)
    assert seen[1].payload == b"second"
