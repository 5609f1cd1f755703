"""The cache of parameters."""

from dart.broker.core.model import TaskPolicy, TaskState
from dart.broker.core.records import JobForgotten, SubmissionClosed, SubmissionOpened, TaskFinished, TasksAdded
from dart.broker.parameters import ENTRY_BYTES, PAGE_BYTES, PAGE_TASKS, ParameterCache
from dart.ids import JobId, TaskId

JOB, OTHER = JobId(1), JobId(2)


def added(job, first, *parameters):
    return TasksAdded(job, TaskId(first), tuple((TaskPolicy(), "", parameter) for parameter in parameters))


def finished(job, task):
    return TaskFinished(
        id=TaskId(task), job_id=job, state=TaskState.CANCELLED, worker="", host="", location="", tag="", attempts=0,
        start_time_ms=0, duration_seconds=0.0, error_code=0, payload=b"", finished_at_ms=0,
    )  # fmt: skip


def test_parameters_are_given_once():
    """From the submission to the first lease."""
    cache = ParameterCache(bytes_max=10_000)
    cache.watch([added(JOB, 10, b"a", b"b")])
    assert cache.take([TaskId(10), TaskId(11), TaskId(12)]) == {10: b"a", 11: b"b"}
    assert cache.take([TaskId(10)]) == {}
    assert (cache.bytes, len(cache)) == (0, 0)


def test_it_is_bounded_and_keeps_the_oldest():
    """What waits longest is leased first."""
    cache = ParameterCache(bytes_max=2 * (ENTRY_BYTES + 1) + PAGE_BYTES)
    cache.watch([added(JOB, 10, b"a", b"b", b"c")])
    assert cache.take([TaskId(10), TaskId(11), TaskId(12)]) == {10: b"a", 11: b"b"}


def test_pages_count_and_go_with_their_last_task():
    """Neighbours share one, others cost one of their own, and what is held is never more than was counted."""
    cache = ParameterCache(bytes_max=10_000)
    first = 10 * PAGE_TASKS - 1
    cache.watch([added(JOB, first, b"", b"b", b"cc")])
    assert (cache.bytes, len(cache)) == (3 * ENTRY_BYTES + 3 + 2 * PAGE_BYTES, 3)
    assert cache.take([TaskId(first)]) == {first: b""}
    assert cache.bytes == 2 * ENTRY_BYTES + 3 + PAGE_BYTES
    assert cache.take([TaskId(first + 2), TaskId(first + 1)]) == {first + 1: b"b", first + 2: b"cc"}
    assert (cache.bytes, len(cache)) == (0, 0)


def test_finished_tasks_leave():
    """A cancelled task needs no parameter."""
    cache = ParameterCache(bytes_max=10_000)
    cache.watch([added(JOB, 10, b"a"), finished(JOB, 10), finished(JOB, 99)])
    assert (cache.bytes, len(cache)) == (0, 0)


def test_void_submissions_leave():
    """Their tasks will never be leased or finished; those of complete ones stay."""
    cache = ParameterCache(bytes_max=10_000)
    cache.watch([SubmissionOpened(TaskId(10), TaskId(12)), added(JOB, 10, b"a", b"b"), added(JOB, 20, b"c")])
    cache.watch([SubmissionOpened(TaskId(30), TaskId(31)), added(JOB, 30, b"d"), added(JOB, 31, b"e")])
    cache.watch([SubmissionClosed(TaskId(10), complete=False), SubmissionClosed(TaskId(30), complete=True)])
    assert cache.take([TaskId(task_id) for task_id in (10, 11, 20, 30, 31)]) == {20: b"c", 30: b"d", 31: b"e"}
    assert cache.bytes == 0


def test_forgotten_jobs_leave():
    """With all their tasks, and no others."""
    cache = ParameterCache(bytes_max=10_000)
    cache.watch([added(JOB, 10, b"a"), added(OTHER, 20, b"b")])
    cache.watch([JobForgotten(JOB)])
    assert cache.take([TaskId(10), TaskId(20)]) == {20: b"b"}


def test_clear_forgets_all():
    """As when a core is built anew."""
    cache = ParameterCache(bytes_max=10_000)
    cache.watch([added(JOB, 10, b"a")])
    cache.clear()
    assert (cache.take([TaskId(10)]), cache.bytes) == ({}, 0)
