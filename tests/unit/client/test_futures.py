"""Futures of tasks behave as those of the standard library, though they share a condition."""

import concurrent.futures
import threading
from types import SimpleNamespace

import pytest

from dart_client import ClosedError, MalformedError, TaskCancelled, TaskError, TaskFuture, futures

JOB = SimpleNamespace(client=SimpleNamespace(connection=None))
"""Of futures whose results have no large parts, so that nothing is fetched."""


@pytest.fixture
def condition():
    return threading.Condition(threading.RLock())


def make(condition, *ids):
    return [TaskFuture(JOB, condition, task_id) for task_id in ids]


def later(action):
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def test_results_and_errors_arrive(condition):
    """A success is the value, an error is raised typed, with the result's members at hand."""
    good, bad = make(condition, "1", "2")
    failed = {"error": "Traceback: boom", "error_code": 0, "worker": "w"}
    futures.settle(condition, [(good, {"success": 5, "worker": "w"}), (bad, failed)])
    assert (good.result(), good.exception(), good.worker, good.done()) == (5, None, "w", True)
    with pytest.raises(TaskError, match="boom") as caught:
        bad.result()
    assert caught.value.result is failed
    assert isinstance(bad.exception(), TaskError)


def test_what_is_no_value_fails_its_future(condition):
    """An agent may send any bytes: they are no dictionary that the method returned, and one that it returned is."""
    damaged, honest = make(condition, "1", "2")
    told = {"__dart__": "damaged", "reason": "no such type", "base64": "wQ=="}
    result = {"success": told, "encoding": "damaged", "worker": "w"}
    futures.settle(condition, [(damaged, result), (honest, {"success": told, "worker": "w"})])
    with pytest.raises(MalformedError, match=r"'w' answered with bytes that are no value \(no such type") as caught:
        damaged.result()
    assert caught.value.details["result"] is damaged.answer is result
    assert honest.result() == told


def test_a_second_outcome_is_ignored(condition):
    """The first one stays."""
    (future,) = make(condition, "1")
    futures.settle(condition, [(future, {"success": 1})])
    futures.settle(condition, [(future, {"success": 2})])
    futures.fail(condition, [future], ClosedError("late"))
    futures.cancelled(condition, future)
    assert future.result() == 1


def test_waiting_ends_with_its_time(condition):
    """`result(timeout)` raises the standard library's TimeoutError."""
    (future,) = make(condition, "1")
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(timeout=0.01)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.exception(timeout=0)


def test_a_wake_up_for_another_future_does_not_end_the_waiting(condition):
    """All share a condition, so each looks at its own state again."""
    mine, other = make(condition, "1", "2")
    thread = later(lambda: futures.settle(condition, [(other, {"success": 0})]))
    thread.join()
    thread = later(lambda: futures.settle(condition, [(mine, {"success": 1})]))
    assert mine.result(timeout=5) == 1
    thread.join()


def test_wait_and_as_completed_work(condition):
    """The standard library's functions see results, errors and cancellations."""
    many = make(condition, *"12345")
    futures.settle(condition, [(many[0], {"success": 0})])

    def finish():
        futures.settle(condition, [(many[1], {"success": 1}), (many[2], {"error": "e"})])
        futures.fail(condition, [many[3]], TaskCancelled("stopped"))
        futures.cancelled(condition, many[4])

    thread = later(finish)
    done, left = concurrent.futures.wait(many, timeout=5)
    thread.join()
    assert (done, left) == (set(many), set())
    assert set(concurrent.futures.as_completed(many, timeout=5)) == set(many)
    assert many[4].cancelled()
    with pytest.raises(concurrent.futures.CancelledError):
        many[4].result()
    with pytest.raises(TaskCancelled):
        many[3].result()


def test_callbacks_run_once_each(condition):
    """Before and after the outcome, for results, errors and cancellations."""
    called = []
    many = make(condition, "1", "2", "3")
    for future in many:
        future.add_done_callback(called.append)
    futures.settle(condition, [(many[0], {"success": 0})])
    futures.fail(condition, [many[1]], ClosedError("x"))
    futures.cancelled(condition, many[2])
    many[0].add_done_callback(called.append)
    assert called == [*many, many[0]]


def test_the_id_waits_for_the_submission(condition):
    """`task_id` blocks until it is known, and raises the submission's error if it never will be."""
    known, failed, gone = make(condition, "", "", "")

    def submit():
        with condition:
            known._task_id = "7"
            condition.notify_all()
        futures.fail(condition, [failed], ClosedError("no server"))
        futures.cancelled(condition, gone)

    thread = later(submit)
    assert known.task_id == "7"
    with pytest.raises(ClosedError):
        _ = failed.task_id
    with pytest.raises(concurrent.futures.CancelledError):
        _ = gone.task_id
    thread.join()
