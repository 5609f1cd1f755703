"""A job: what runs where, submitted one by one, by the list, or as a stream."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Callable

from dart_client import futures
from dart_client.connection import path
from dart_client.errors import DartError, NotFoundError, TaskCancelled
from dart_client.futures import TaskFuture
from dart_client.large_results import whole
from dart_client.large_values import Sent
from dart_client.reattach import all_futures, wait_with_bar
from dart_client.results import Result, result_of
from dart_client.rounds import Round, run_round
from dart_client.submission import Entry, body_of, encode_parameter, posts, prefix_of

if TYPE_CHECKING:
    from dart_client.client import Client

LOOK_AHEAD = 10_000
"""Tasks that `map` has outstanding at most, unless told otherwise."""
MAP_CHUNK = 1000
RESULTS_PAGE = 1000
FOLLOW_SECONDS = 2.0
"""How long a follower may go on unaware that the job was stopped."""


class Job:
    """One method of one module on the workers. Made by `Client.job`; safe to use from many threads."""

    def __init__(self, client: Client, name: str, cursor: str = "0") -> None:
        self.client = client
        self.name = name
        self._connection = client.connection
        self._poller = client.poller(name, cursor)
        self._prefixes: dict[Any, bytes] = {}

    def __repr__(self) -> str:
        return f"Job({self.name!r})"

    def submit(self, parameter: Any, location: str = "", **policy: Any) -> TaskFuture:
        """Queue one task and return at once.

        Tasks submitted in quick succession travel together. A refusal by the server becomes the future's error.
        Bytes and arrays in the parameter that are larger than the client's `inline_bytes_max` are sent before it
        returns, as blobs, each once.

        Args:
            parameter: What the method is called with: any portable value.
            location: The worker that must run it; empty: any that has the capabilities.
            policy: `requires`, `after`, `priority`, `timeout`, `retries`, `retry_delay`, `lost_retries`,
                `lost_retry_delay`, `on_lost`, `if_offline`, `expires`, `tag`.

        Raises:
            ValueNotPortableError: The parameter cannot be sent; the message says which part of it.
        """
        entry = Entry(self._prefix(location, policy), encode_parameter(self.client.large.shelve(parameter)))
        future = TaskFuture(self, self._poller.condition)
        future.tag = policy.get("tag", "")
        self.client.dispatcher.put(self, future, entry, self.client.traceparent())
        return future

    def submit_many(
        self, parameters: Iterable[Any], location: str = "", *, locations: Sequence[str] | None = None, **policy: Any
    ) -> list[TaskFuture]:
        """Queue a task for each parameter; returns when the server has all of them on disk.

        Args:
            parameters: One a task.
            location: The worker for all of them, or empty.
            locations: Instead: one a task.
            policy: As for `submit`.

        Raises:
            DartError: The server refused; then none of the piece that it refused is queued.
        """
        # A list is not changed while it is read, so an object in it that comes again is the same value.
        parts: Sent | None = {} if isinstance(parameters, (list, tuple)) else None
        shelve = self.client.large.shelve
        if locations is None:
            prefix = self._prefix(location, policy)
            entries: Iterable[Entry] = (
                Entry(prefix, encode_parameter(shelve(parameter, parts))) for parameter in parameters
            )
        else:
            parameters = list(parameters)
            if len(parameters) != len(locations):
                raise ValueError(f"{len(parameters)} parameters and {len(locations)} locations; one a task is needed")
            entries = (
                Entry(self._prefix(place, policy), encode_parameter(shelve(parameter, parts)))
                for parameter, place in zip(parameters, locations)
            )
        made: list[TaskFuture] = []
        traceparent = self.client.traceparent()
        for piece in posts(entries):
            made.extend(self._post(piece, [TaskFuture(self, self._poller.condition) for _ in piece], traceparent))
        return made

    def submit_each(
        self, parameter: Any, *, worker_regex: str = "", requires: Sequence[str] = (), **policy: Any
    ) -> list[TaskFuture]:
        """Queue one task for each worker that is connected now and matches."""
        each = {"worker_regex": worker_regex, "requires": list(requires)}
        self._poller.begin_post(0)
        made: list[TaskFuture] = []
        try:
            answer = self.client.submit(self.name, [{"parameter": parameter, "each": each, **policy}])
            made = [TaskFuture(self, self._poller.condition, task_id) for task_id in answer["tasks"]]
            for future, location in zip(made, answer["locations"]):
                future.location = location
        finally:
            self._poller.end_post(made, (), waited=False)
        return made

    def map(
        self,
        parameters: Iterable[Any],
        location: str = "",
        *,
        locations: Iterable[str] | None = None,
        look_ahead: int = LOOK_AHEAD,
        timeout: float | None = None,
        **policy: Any,
    ) -> Iterator[Any]:
        """Values in the order of the parameters, which may be a stream without end.

        Args:
            parameters: Taken as needed, never more than `look_ahead` beyond the value given last.
            location: The worker for all, or empty.
            locations: Instead: one a parameter.
            look_ahead: How many tasks are outstanding at most.
            timeout: Seconds to wait for the next value.
            policy: As for `submit`.

        Raises:
            OutcomeError: A task ended without a value. Tasks not yet done are cancelled then, as they are when the
                iterator is closed early.
        """
        source = ((item, location) for item in parameters) if locations is None else zip(parameters, locations)
        return self.stream(source, look_ahead=look_ahead, patience=lambda: timeout, policy=policy)

    def stream(
        self,
        source: Iterator[tuple[Any, str]],
        *,
        look_ahead: int,
        patience: Callable[[], float | None],
        policy: dict[str, Any],
    ) -> Iterator[Any]:
        """`map` over pairs of parameter and location; `patience` gives the seconds left for the next value."""
        waiting: deque[TaskFuture] = deque()
        chunk = max(1, min(MAP_CHUNK, look_ahead))
        try:
            more = True
            while more or waiting:
                while more and len(waiting) + chunk <= look_ahead:
                    piece = list(islice(source, chunk))
                    more = len(piece) == chunk
                    waiting.extend(
                        self.submit_many([item for item, _ in piece], locations=[place for _, place in piece], **policy)
                    )
                while waiting and (not more or len(waiting) + chunk > look_ahead):
                    yield waiting.popleft().result(patience())
        finally:
            for future in waiting:
                if not future.done():
                    future.cancel()

    def round(
        self,
        parameters: Mapping[str, Any],
        *,
        quorum: int | None = None,
        deadline: float | None = None,
        cancel: bool = True,
        **policy: Any,
    ) -> Round:
        """One task for each worker named, each with its own parameter; ends when enough have answered.

        Args:
            parameters: By the worker's name.
            quorum: So many values are enough; all without it.
            deadline: Seconds after which the round ends, whoever is missing.
            cancel: Cancel the tasks of those that are late; else they go on, and their results are kept at the server.
            policy: As for `submit`.

        Raises:
            ValueError: The quorum is larger than the number of workers, or less than 1.
            DartError: The server refused the tasks; with `if_offline="fail"` also because a worker is not connected.
        """
        return run_round(self, parameters, quorum=quorum, deadline=deadline, cancel=cancel, **policy)

    def futures(self, *, after: str = "0", amount: int | None = None) -> list[TaskFuture]:
        """Futures of the tasks that the job has, in the order of their submission, whoever submitted them.

        So a program that died goes on where it was: those of tasks that are done are done, the others become so. Each
        has its `task_id`, and its `tag` says what it was for. Tasks whose result was deleted are not among them.

        Args:
            after: Only of tasks behind the one with this id.
            amount: Of at most so many. Without it of all, if those are no more than 100,000.

        Raises:
            LimitError: They are more, and no `amount` was given.
        """
        return all_futures(self, self._poller, after=after, amount=amount)

    def progress(self, *, label: str = "", timeout: float | None = None) -> dict[str, int]:
        """Wait until no task of the job is open, and show meanwhile how far it is; how many tasks ended how.

        In a terminal it is a line on stderr with count, rate and time left, in a notebook an element below the cell.
        What running tasks tell by `dart_task.progress` is a part of it. Tasks of others in this job count, too.

        Args:
            label: Stands before the bar; the job's name without it.
            timeout: Seconds after which the standard library's `TimeoutError` of futures is raised.
        """
        return wait_with_bar(self, label=label or self.name, timeout=timeout)

    def results(self, *, worker_regex: str = "", follow: bool = False) -> Iterator[Result]:
        """All results of the job, oldest first; those of others' tasks too.

        Args:
            worker_regex: Only of workers whose whole name matches.
            follow: Go on with those still to come, until the job is stopped and nothing is left.
        """
        cursor = "0"
        while True:
            answer = self.client.results(
                self.name, RESULTS_PAGE, worker_regex=worker_regex, after=cursor, wait=FOLLOW_SECONDS if follow else 0.0
            )
            cursor = answer.get("cursor", cursor)
            fetch = functools.partial(whole, self._connection)
            yield from (result_of(entry, fetch) for entry in answer["results"])
            if not answer["results"] and (not follow or answer["job"]["status"] != 1):
                return

    def status(self) -> int:
        """1: running, 2: stopped."""
        return self.client.job_status(self.name)

    def stop(self) -> None:
        """Stop it: queued tasks are cancelled, running ones interrupted; results stay readable."""
        self.client.stop_job(self.name)
        self._poller.sweep()

    def purge(self) -> None:
        """Forget definition, tasks and results."""
        self.client.purge_job(self.name)
        self._poller.fail_all(TaskCancelled(f"The job {self.name} was purged."))

    def cancel_future(self, future: TaskFuture) -> bool:
        """What `TaskFuture.cancel` does."""
        if future.done():
            return future.cancelled()
        try:
            answer = self.client.cancel_task(self.name, future.task_id)
        except NotFoundError:
            return False
        if not answer:
            return False
        self._poller.forget(future.task_id)
        futures.cancelled(self._poller.condition, future)
        return True

    def post_futures(self, waiting: list[TaskFuture], entries: list[Entry], traceparent: str) -> None:
        """Send what the dispatcher gathered; errors go into the futures."""
        start = 0
        for piece in posts(entries):
            mine = waiting[start : start + len(piece)]
            start += len(piece)
            try:
                self._post(piece, mine, traceparent)
            except DartError as error:
                futures.fail(self._poller.condition, mine, error)

    def _post(self, piece: list[Entry], made: list[TaskFuture], traceparent: str) -> list[TaskFuture]:
        """One POST; its futures get their ids and are waited for."""
        poller = self._poller
        wait = poller.begin_post(len(piece))
        query = {"wait": wait} if wait else None
        answered: list[TaskFuture] = []
        results: Sequence[dict[str, Any]] = ()
        try:
            answer = self._connection.call(
                "POST",
                path("job", self.name, "tasks"),
                body_of(piece),
                query=query,
                wait=wait,
                traceparent=traceparent,
            )
            results = answer.get("results", ())
            for future, task_id in zip(made, answer["tasks"]):
                future._task_id = task_id  # noqa: SLF001 - the SDK's own
            answered = made
        finally:
            poller.end_post(answered, results, waited=bool(wait))
        return made

    def _prefix(self, location: str, policy: dict[str, Any]) -> bytes:
        """Encoded once for each policy that is used."""
        try:
            key: Any = (location, *chain.from_iterable(sorted(policy.items())))
            return self._prefixes[key]
        except TypeError:  # a list is no key
            return prefix_of(location, policy)
        except KeyError:
            if len(self._prefixes) > 10_000:
                self._prefixes.clear()
            made = self._prefixes[key] = prefix_of(location, policy)
            return made
