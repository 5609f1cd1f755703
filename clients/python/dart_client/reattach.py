"""A job whose program is new: futures of tasks that somebody submitted before, and how far all of them are."""

from __future__ import annotations

import time
from concurrent.futures import TimeoutError as FutureTimeoutError  # another than the built-in before 3.11
from itertools import islice
from typing import TYPE_CHECKING, Any

from dart_client import futures
from dart_client.bars import Bar
from dart_client.connection import path
from dart_client.errors import LimitError, TaskCancelled
from dart_client.futures import TaskFuture
from dart_client.poller import FINISHED, Poller

if TYPE_CHECKING:
    from dart_client.job import Job

PAGE = 10_000
"""Results of one answer; the server bounds its bytes."""
FUTURES_MAX = 100_000
"""As many are made at once without being asked for by number: they and their results lie in memory."""
LOOK_SECONDS = 0.25
RUNNING_MAX = 100
"""Of so many running tasks it is asked how far they are."""


def all_futures(job: Job, poller: Poller, *, after: str, amount: int | None) -> list[TaskFuture]:
    """What `Job.futures` does."""
    # From here on the poller keeps results of tasks that it does not know yet, so none falls between list and results.
    poller.begin_post(0)
    made: list[TaskFuture] = []
    results: list[dict[str, Any]] = []
    cancelled: list[TaskFuture] = []
    try:
        listed = list(islice(job.client.tasks(job.name, after=after), FUTURES_MAX + 1 if amount is None else amount))
        if amount is None and len(listed) > FUTURES_MAX:
            raise LimitError(
                f"The job {job.name} has more than {FUTURES_MAX} tasks, too many for one piece of memory. Take them "
                'piece by piece: futures(after=ID, amount=N), from `after="0"` on; or read `results()`.'
            )
        results = _results(job, {task["id"] for task in listed})
        for task in listed:
            future = TaskFuture(job, poller.condition, task["id"])
            future.location, future.tag = task["location"], task.get("tag", "")
            (cancelled if task["state"] == "cancelled" else made).append(future)
    finally:
        poller.end_post(made, results, waited=False)
    futures.fail(poller.condition, cancelled, TaskCancelled("The task was cancelled at the server."))
    return sorted([*made, *cancelled], key=lambda future: int(future.task_id))


def _results(job: Job, wanted: set[str]) -> list[dict[str, Any]]:
    """Results of these tasks, as far as there are some now; a page of others' is in memory at a time."""
    found: list[dict[str, Any]] = []
    cursor = "0"
    while True:
        answer = job.client.results(job.name, PAGE, after=cursor)
        if not answer["results"]:
            return found
        found += [result for result in answer["results"] if result["id"] in wanted]
        cursor = answer["cursor"]


def wait_with_bar(job: Job, *, label: str, timeout: float | None) -> dict[str, int]:
    """What `Job.progress` does."""
    ends_at = None if timeout is None else time.monotonic() + timeout
    connection = job.client.connection
    with Bar(0, label) as bar:
        while True:
            unsent = job.client.dispatcher.has_unsent(job.name)  # before the look, which shows what was sent since
            counts: dict[str, int] = job.client.job_info(job.name)["tasks"]
            ended = sum(count for state, count in counts.items() if state in FINISHED)
            bar.total = sum(counts.values())
            parts = 0.0
            if counts.get("running"):
                query = {"state": "running", "amount": RUNNING_MAX}
                running = connection.call("GET", path("job", job.name, "tasks"), query=query)["tasks"]
                parts = sum(task.get("progress", {}).get("fraction", 0.0) for task in running)
            bar.show(ended + parts, failed=ended - counts.get("succeeded", 0))
            if ended == bar.total and not unsent:
                return counts
            if ends_at is not None and time.monotonic() > ends_at:
                raise FutureTimeoutError(f"{bar.total - ended} tasks of the job {job.name} are open after {timeout} s")
            connection.wait_closed(LOOK_SECONDS)
