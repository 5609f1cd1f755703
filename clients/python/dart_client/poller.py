"""Brings the results of one job's open futures: one thread, one long poll at a time, there only while needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dart_client import futures
from dart_client.connection import path
from dart_client.errors import (
    ClosedError,
    DartError,
    LimitError,
    MalformedError,
    ServerUnreachableError,
    TaskCancelled,
    TaskLost,
    UnavailableError,
    UnknownJobError,
    UntrustedServerError,
)

if TYPE_CHECKING:
    from dart_client.connection import Connection

WAIT_SECONDS = 10.0
"""One long poll; after an empty one the poller looks whether somebody cancelled what it waits for."""
IDLE_SECONDS = 2.0
"""A poller with nothing to wait for ends after so long."""
PATIENCE_SECONDS = 300.0
"""A server away for so long fails the futures; its tasks go on all the same."""
AMOUNT = 10_000
"""Results of one answer; the server bounds its bytes."""
GATHER_SECONDS = 0.02
"""Pause between polls while many results are outstanding and few come at a time."""
GATHER_ABOVE = 256
QUICK_SECONDS = 0.05
"""A single task done within this is quick; the next one's submission waits so long for its result."""
UNPOLLED_MAX = 500
"""Results that came with submissions lie before the cursor; after so many, one poll moves it on."""
PAGE = 1000
FINISHED = frozenset({"succeeded", "failed", "cancelled", "expired", "lost"})


class Poller:
    """The open futures of one job, by task id, and the thread that settles them."""

    def __init__(self, connection: Connection, job: str, cursor: str = "0") -> None:
        self.condition = threading.Condition(threading.RLock())
        self._connection = connection
        self._job = job
        self._cursor = cursor
        self._open: dict[str, futures.TaskFuture] = {}
        self._posting = 0
        self._early: dict[str, dict[str, Any]] = {}
        self._thread: threading.Thread | None = None
        self._cancelled_seen = 0
        self._posted_at = 0.0
        self._quick = False
        self._unpolled = 0
        self._amount = AMOUNT
        self._away_since = 0.0

    # Callers: the threads that submit.

    def begin_post(self, count: int) -> float:
        """So many tasks are about to be sent; from now on unknown results are kept until their ids are known.

        Gives the seconds that the server should wait for the result before it answers: where one quick task follows
        the other, its result then comes with the answer and needs no request of its own.
        """
        with self.condition:
            self._posting += 1
            self._posted_at = time.monotonic()
            alone = count == 1 and self._posting == 1 and not self._open
            return QUICK_SECONDS if alone and self._quick and self._unpolled < UNPOLLED_MAX else 0.0

    def end_post(self, made: list[futures.TaskFuture], results: Sequence[dict[str, Any]], *, waited: bool) -> None:
        """The submission was answered: these futures have their ids now, some their results. Empty: it failed."""
        here = {result["id"]: result for result in results}
        ended = []
        with self.condition:
            self._posting -= 1
            for future in made:
                task_id = future._task_id  # noqa: SLF001 - not the property, which waits
                result = here.get(task_id) or self._early.pop(task_id, None)
                if result is None:
                    self._open[task_id] = future
                else:
                    ended.append((future, result))
            if waited:
                self._quick = bool(here)
                self._unpolled += len(here)
            if not self._posting:
                self._early.clear()
            if self._open and self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"dart results {self._job}", daemon=True)
                self._thread.start()
            self.condition.notify_all()
        if ended:
            futures.settle(self.condition, ended)

    def forget(self, task_id: str) -> None:
        """Nobody waits for this one any more."""
        with self.condition:
            self._open.pop(task_id, None)

    def fail_all(self, error: DartError) -> None:
        """No further result will come."""
        with self.condition:
            left = list(self._open.values())
            self._open.clear()
        futures.fail(self.condition, left, error)

    def join(self, seconds: float) -> None:
        """Wait for the thread to end, after the connection was closed."""
        with self.condition:
            thread = self._thread
            self.condition.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    # The thread.

    def _run(self) -> None:
        while self._needed():
            pause = self._poll_or_explain()
            if pause < 0:
                break
            self._sleep(pause)
        with self.condition:
            if self._thread is threading.current_thread():
                self._thread = None

    def _poll_or_explain(self) -> float:
        """Poll once; what goes wrong is told to the futures when nothing better can come. Gives the pause after it."""
        try:
            pause = self._poll()
        except (ServerUnreachableError, UnavailableError, LimitError) as error:
            now = time.monotonic()
            self._away_since = self._away_since or now
            if isinstance(error, UntrustedServerError) or now - self._away_since > PATIENCE_SECONDS:
                self.fail_all(error)
            return min(3.0, 0.1 + (now - self._away_since) / 2)
        except UnknownJobError:
            self.fail_all(TaskLost(f"The job {self._job} was purged at the server before this task's result came."))
            return 0.1
        except ClosedError as error:
            self.fail_all(error)
            return -1.0
        except DartError as error:
            self.fail_all(error)
            return 0.1
        self._away_since = 0.0
        return pause

    def _needed(self) -> bool:
        """Whether to go on; waits a while for new work before it says no."""
        with self.condition:
            if not self._open:
                deadline = time.monotonic() + IDLE_SECONDS
                while not self._open:
                    left = deadline - time.monotonic()
                    if left <= 0 or self._connection.closed:
                        # Under the lock, so that who submits next starts another.
                        self._thread = None
                        return False
                    self.condition.wait(left)
            return True

    def _sleep(self, seconds: float) -> None:
        """A pause that the end of the client cuts short."""
        if seconds > 0:
            self._connection.wait_closed(seconds)

    def _poll(self) -> float:
        """One long poll and what it brings; gives the pause before the next."""
        try:
            answer = self._fetch(self._amount)
        except MalformedError as error:
            self._isolate(error)
            return 0.0
        results = answer["results"]
        self._cursor = answer.get("cursor", self._cursor)
        if not results:
            self.sweep()
            return 0.0
        ended = []
        with self.condition:
            for result in results:
                future = self._open.pop(result["id"], None)
                if future is not None:
                    ended.append((future, result))
                elif self._posting:
                    self._early[result["id"]] = result
            outstanding = len(self._open)
            self._unpolled = 0
            self._quick = len(ended) == 1 and not outstanding and time.monotonic() - self._posted_at < QUICK_SECONDS
        futures.settle(self.condition, ended)
        return GATHER_SECONDS if outstanding > GATHER_ABOVE and len(results) < GATHER_ABOVE else 0.0

    def _fetch(self, amount: int, **how: Any) -> dict[str, Any]:
        """The next results after the cursor."""
        answer: dict[str, Any] = self._connection.call(
            "GET",
            path("job", self._job, "results"),
            query={"wait": WAIT_SECONDS, "after": self._cursor, "amount": amount},
            wait=WAIT_SECONDS,
            retry=False,
            **how,
        )
        return answer

    def _isolate(self, error: MalformedError) -> None:
        """A worker sent a value that cannot be read here: find the one result, so that only its own future fails."""
        if self._amount > 1:
            self._amount = 1
            return
        # JSON shows whose it is, whatever the value.
        answer = self._fetch(1, accept="application/json")
        self._cursor = answer["cursor"]
        self._amount = AMOUNT
        with self.condition:
            found = [self._open.pop(result["id"], None) for result in answer["results"]]
        futures.fail(self.condition, [future for future in found if future is not None], error)

    def sweep(self) -> None:
        """Find open futures whose tasks were cancelled or forgotten: such tasks have no result to wait for."""
        with self.condition:
            waiting = sorted(map(int, self._open))
        if not waiting:
            return
        counts = self._connection.call("GET", path("job", self._job))["job"].get("tasks", {})
        gone = counts.get("cancelled", 0)
        alive = sum(count for state, count in counts.items() if state not in FINISHED)
        if gone == self._cancelled_seen and alive >= len(waiting):
            return
        self._cancelled_seen = gone
        states = self._states(waiting)
        with self.condition:
            cancelled = [
                self._open.pop(key) for key, state in states.items() if state == "cancelled" and key in self._open
            ]
            lost = [self._open.pop(key) for key, state in states.items() if state == "" and key in self._open]
        futures.fail(self.condition, cancelled, TaskCancelled("The task was cancelled at the server."))
        futures.fail(self.condition, lost, TaskLost("The task's result was deleted at the server before it was read."))

    def _states(self, waiting: list[int]) -> dict[str, str]:
        """State by id; empty: the server knows no such task."""
        states = dict.fromkeys(map(str, waiting), "")
        after = str(waiting[0] - 1)
        while True:
            page = self._connection.call("GET", path("job", self._job, "tasks"), query={"after": after, "amount": PAGE})
            for task in page["tasks"]:
                if task["id"] in states:
                    states[task["id"]] = task["state"]
            after = page.get("next", "")
            if not after or after == "0" or int(after) > waiting[-1]:
                return states
