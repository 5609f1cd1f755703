"""`concurrent.futures.Executor` over functions that live on the workers."""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Callable

from dart_client.job import LOOK_AHEAD, Job
from dart_client.sending import push_function

if TYPE_CHECKING:
    from dart_client.client import Client
    from dart_client.futures import TaskFuture


class Executor(concurrent.futures.Executor):
    """Runs *named* functions on workers, wherever a program takes an executor.

    The function itself is not sent: its module must lie on the workers, below their `module_prefix`. It is named by a
    text, `"models/train:step"`, or by the function as imported here, `models.train.step`. It takes one parameter.
    Each function becomes a job, `executor:models.train:step`.

    With `push` the source of its module is sent to the workers before the first call, and that very source is what
    runs. Their owners must take modules, and the key must be an administrator's. Of a module within a package it is
    that one file; of a function of the main program, or of a notebook, it is the function alone, which then has to
    import within itself what it needs.

    >>> with Executor(client, requires=["gpu"]) as executor:  # doctest: +SKIP
    ...     losses = list(executor.map(models.train.step, batches))
    ...     await loop.run_in_executor(executor, models.train.step, batch)

    Args:
        client: Which server; it stays open when the executor is shut down.
        location: The worker for all tasks; empty: any.
        job_prefix: What the names of the jobs begin with.
        push: Send the source of the functions to the workers.
        policy: As for `Job.submit`: `requires`, `timeout`, `retries` ...
    """

    def __init__(
        self, client: Client, *, location: str = "", job_prefix: str = "executor", push: bool = False, **policy: Any
    ) -> None:
        self._client = client
        self._push = push
        self._location = location
        self._job_prefix = job_prefix
        self._policy = policy
        self._jobs: dict[Any, Job] = {}
        self._lock = threading.Lock()
        self._over = False
        self._made: weakref.WeakSet[TaskFuture] = weakref.WeakSet()

    def job(self, function: str | Callable[[Any], Any]) -> Job:
        """The job of a function, defined at its first use.

        Raises:
            ValueError: It has no name that a worker could know it by, or with `push` no source.
            ForbiddenError: With `push`: a worker did not take it.
            RuntimeError: The executor was shut down.
        """
        pushed = None if isinstance(function, str) or not self._push else function
        known_by = pushed or name_of(function)
        with self._lock:
            if self._over:
                raise RuntimeError("The executor was shut down; make a new one.")
            if known_by not in self._jobs:
                named = push_function(self._client, pushed, self._location) if pushed else name_of(function)
                self._jobs[known_by] = self._client.job(
                    f"{self._job_prefix}:{':'.join(named).replace('/', '.')}", *named
                )
            return self._jobs[known_by]

    # The base class takes callables only, and any number of arguments.
    def submit(self, fn: str | Callable[[Any], Any], /, *args: Any, **kwargs: Any) -> TaskFuture:
        """Queue one call and return at once.

        Args:
            fn: The function, or its name.
            args: One: the parameter.
            kwargs: None; what a function needs goes into the parameter.
        """
        future = self.job(fn).submit(_only("parameter", args, kwargs), self._location, **self._policy)
        self._made.add(future)
        return future

    def map(
        self,
        fn: str | Callable[[Any], Any],
        /,
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,  # noqa: ARG002 - batches are made by themselves
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Values in the order of the parameters, which may be a stream without end.

        Args:
            fn: The function, or its name.
            iterables: One, of parameters.
            timeout: Seconds from this call until the last value.
            chunksize: Means nothing here.
            buffersize: How many tasks are outstanding at most; 10,000 without it.
        """
        ends_at = None if timeout is None else time.monotonic() + timeout
        parameters = _only("iterable of parameters", iterables, {})
        return self.job(fn).stream(
            ((parameter, self._location) for parameter in parameters),
            look_ahead=buffersize or LOOK_AHEAD,
            patience=lambda: None if ends_at is None else max(0.0, ends_at - time.monotonic()),
            policy=self._policy,
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the base's
        """Take no more calls; wait for those that were submitted, or cancel them first."""
        with self._lock:
            self._over = True
            made = list(self._made)
        if cancel_futures:
            for future in made:
                future.cancel()
        if wait:
            concurrent.futures.wait(made)


def name_of(function: str | Callable[[Any], Any]) -> tuple[str, str]:
    """Module path and method that name a function on the workers.

    Raises:
        ValueError: There is no such name: a lambda, a method, a function within another or of the main program.
    """
    if isinstance(function, str):
        module, colon, method = function.rpartition(":")
        if not (module and colon and method):
            raise ValueError(f"{function!r} names no function; write it as MODULE:FUNCTION, like models/train:step.")
        return module, method
    module = getattr(function, "__module__", None) or ""
    method = getattr(function, "__qualname__", "")
    if not module or module == "__main__" or not method.isidentifier():
        raise ValueError(
            f"{function!r} has no name on the workers: functions are not sent, they lie there in a module. Put it at "
            "the top of a module below the workers' module_prefix and import it from there, or write MODULE:FUNCTION; "
            "or let Executor(client, push=True) send its source, if the workers' owners allow it."
        )
    return module.replace(".", "/"), method


def _only(what: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if len(args) != 1 or kwargs:
        raise TypeError(
            f"A task has one {what}, {len(args) + len(kwargs)} were given; join them in one list or dictionary."
        )
    return args[0]
