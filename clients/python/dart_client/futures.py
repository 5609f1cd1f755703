"""Futures of tasks: `concurrent.futures.Future` in all that one can do with it, made and settled many at a time.

All futures of a job share one condition. So thousands of them are settled under one lock with one wake-up, and
making one costs no lock of its own. `concurrent.futures.wait` and `as_completed` work: they take each future's
condition, and this one may be taken repeatedly by the same thread.
"""

# ruff: noqa: SLF001 - the functions below the class are its methods over many at a time

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError  # another than the built-in before 3.11
from concurrent.futures._base import (
    CANCELLED,
    CANCELLED_AND_NOTIFIED,
    FINISHED,
    PENDING,
)
from threading import Condition
from typing import TYPE_CHECKING, Any, Callable

from dart_client.connection import Encoded
from dart_client.errors import DartError, failure_of
from dart_client.large_results import whole

if TYPE_CHECKING:
    from dart_client.job import Job

_OVER = frozenset({CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED})


class TaskFuture(Future):  # type: ignore[type-arg]  # Python 3.9 can subscript it, its value is Any anyway
    """What one task will return.

    `result()` gives the value or raises `TaskError`, `TaskLost`, `TaskExpired`, `TaskCancelled`, or the error of the
    submission. `cancel()` cancels the task at the server.
    """

    job: Job
    _task_id: str
    answer: dict[str, Any] | None
    """The result with all its members, once it is there."""
    location: str
    """The worker that `submit_each` chose, or that a task found by `Job.futures` was for; empty otherwise."""
    tag: str
    """The task's, if it has one."""

    def __init__(self, job: Job, condition: Condition, task_id: str = "") -> None:
        # Not the parent's __init__, which makes a lock a future; these are the members that it sets.
        self._condition = condition
        self._state = PENDING
        self._result = None
        self._exception = None
        self._waiters = []
        self._done_callbacks: list[Callable[[Any], object]] = []
        self.job = job
        self._task_id = task_id
        self.answer = None
        self.location = ""
        self.tag = ""

    @property
    def task_id(self) -> str:
        """The task's id; waits until the server has given it. The submission's error, if it failed."""
        if not self._task_id:
            with self._condition:
                self._await(lambda: bool(self._task_id) or self._state in _OVER, None)
            if not self._task_id:
                raise self._exception or CancelledError()
        return self._task_id

    @property
    def worker(self) -> str:
        """Who did it; empty until it is done."""
        return str((self.answer or {}).get("worker", ""))

    def cancel(self) -> bool:
        """Cancel the task at the server; False if it was finished already."""
        return self.job.cancel_future(self)

    def result(self, timeout: float | None = None) -> Any:
        """The value, waiting at most `timeout` seconds; then its large parts are fetched, if it came without them."""
        if self._state != FINISHED:
            self._wait_for_end(timeout)
        if self._exception is not None:
            try:
                raise self._exception
            finally:
                self = None  # type: ignore[assignment]  # noqa: PLW0642 - as in the parent: no cycle with the traceback
        if Encoded.seen:
            self._result = whole(self.job.client.connection, self._result)
        return self._result

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error, or None, waiting at most `timeout` seconds."""
        if self._state != FINISHED:
            self._wait_for_end(timeout)
        return self._exception

    def _wait_for_end(self, timeout: float | None) -> None:
        with self._condition:
            over = self._await(lambda: self._state in _OVER, timeout)
            if self._state in {CANCELLED, CANCELLED_AND_NOTIFIED}:
                raise CancelledError
        if not over:
            raise FutureTimeoutError(f"task {self._task_id or '(not submitted yet)'} is not done after {timeout} s")

    def _await(self, reached: Callable[[], bool], timeout: float | None) -> bool:
        """Wait under the shared condition, which wakes for other futures too."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not reached():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._condition.wait(left)
        return True


def settle(condition: Condition, ended: Iterable[tuple[TaskFuture, dict[str, Any]]]) -> None:
    """Give many futures their results and wake whoever waits, once. Futures that are over already stay as they are."""
    callbacks: list[TaskFuture] = []
    with condition:
        for future, answer in ended:
            if future._state in _OVER:
                continue
            future.answer = answer
            future._exception = failure_of(answer)
            if future._exception is None:
                future._result = answer["success"]
            _finish(future, callbacks)
        condition.notify_all()
    _call_back(callbacks)


def fail(condition: Condition, futures: Iterable[TaskFuture], error: DartError) -> None:
    """End futures that will never have a result, all with the same error."""
    callbacks: list[TaskFuture] = []
    with condition:
        for future in futures:
            if future._state not in _OVER:
                future._exception = error
                _finish(future, callbacks)
        condition.notify_all()
    _call_back(callbacks)


def cancelled(condition: Condition, future: TaskFuture) -> None:
    """End one future as cancelled by its owner."""
    with condition:
        if future._state in _OVER:
            return
        future._state = CANCELLED_AND_NOTIFIED
        for waiter in future._waiters:
            waiter.add_cancelled(future)
        condition.notify_all()
    future._invoke_callbacks()  # type: ignore[attr-defined]


def _finish(future: TaskFuture, callbacks: list[TaskFuture]) -> None:
    """The state, and those who wait through `concurrent.futures.wait`; the condition is held."""
    future._state = FINISHED
    if future._waiters:
        for waiter in future._waiters:
            if future._exception is None:
                waiter.add_result(future)
            else:
                waiter.add_exception(future)
    if future._done_callbacks:
        callbacks.append(future)


def _call_back(callbacks: list[TaskFuture]) -> None:
    """Callbacks run outside the lock, as in the standard library."""
    for future in callbacks:
        future._invoke_callbacks()  # type: ignore[attr-defined]
