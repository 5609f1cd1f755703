"""Sends single submissions: what comes while one POST is under way goes together in the next."""

from __future__ import annotations

import threading
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from dart_client.submission import TASKS_MAX, Entry

if TYPE_CHECKING:
    from dart_client.futures import TaskFuture
    from dart_client.job import Job

IDLE_SECONDS = 2.0
"""A dispatcher with nothing to send ends after so long; the next submission starts another."""


class Dispatcher:
    """One thread a client. An idle one sends the first task at once, so batching costs no waiting."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: dict[tuple[Job, str], deque[tuple[TaskFuture, Entry]]] = {}
        self._under_way: Job | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, job: Job, future: TaskFuture, entry: Entry, traceparent: str) -> None:
        """Send it as soon as the POST before it is answered, with others that belong to the same."""
        with self._condition:
            self._waiting.setdefault((job, traceparent), deque()).append((future, entry))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dart submissions", daemon=True)
                self._thread.start()
            else:
                self._condition.notify()

    def has_unsent(self, name: str) -> bool:
        """Whether tasks of the job of this name were submitted and their POST is not answered yet."""
        with self._condition:
            jobs = [job for job, _ in self._waiting]
            return any(job is not None and job.name == name for job in (*jobs, self._under_way))

    def close(self, seconds: float) -> None:
        """End after the POST under way; what waits is failed by the closed connection."""
        with self._condition:
            self._closed = True
            thread = self._thread
            self._condition.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    def _run(self) -> None:
        while True:
            with self._condition:
                self._under_way = None
                if not self._waiting:
                    self._condition.wait_for(lambda: self._waiting or self._closed, IDLE_SECONDS)
                if not self._waiting:
                    self._thread = None
                    return
                (job, traceparent), queue = next(iter(self._waiting.items()))
                batch = list(islice(queue, TASKS_MAX))
                for _ in batch:
                    queue.popleft()
                if not queue:
                    del self._waiting[job, traceparent]
                self._under_way = job
            job.post_futures([future for future, _ in batch], [entry for _, entry in batch], traceparent)
