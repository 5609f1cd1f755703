"""Rounds: one task for each of many workers, until enough have answered or the time is over."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeoutError  # another than the built-in before 3.11
from concurrent.futures import as_completed
from typing import TYPE_CHECKING, Any, NamedTuple

from dart_client.errors import DartError

if TYPE_CHECKING:
    from dart_client.job import Job


class Round(NamedTuple):
    """What came of it, by the workers' names."""

    values: dict[str, Any]
    """Of those that answered, in that order."""
    errors: dict[str, DartError]
    """Of those whose task failed, was lost or expired."""
    stragglers: tuple[str, ...]
    """Those that had not answered when the round ended."""
    reached: bool
    """Whether as many values came as were wanted."""
    seconds: float


def run_round(
    job: Job, parameters: Mapping[str, Any], *, quorum: int | None, deadline: float | None, cancel: bool, **policy: Any
) -> Round:
    """What `Job.round` does."""
    wanted = len(parameters) if quorum is None else quorum
    if not 0 < wanted <= len(parameters):
        raise ValueError(f"quorum is {wanted}; it must be 1 to {len(parameters)}, the number of workers of the round.")
    began = time.monotonic()
    made = job.submit_many(parameters.values(), locations=list(parameters), **policy)
    open_futures: dict[Any, str] = dict(zip(made, parameters))
    values: dict[str, Any] = {}
    errors: dict[str, DartError] = {}
    try:
        left = None if deadline is None else max(0.0, deadline - (time.monotonic() - began))
        for future in as_completed(made, timeout=left):
            name = open_futures.pop(future)
            try:
                values[name] = future.result()
            except DartError as error:
                errors[name] = error
            if len(values) >= wanted:
                break
    except FutureTimeoutError:
        pass
    finally:
        if cancel:
            for future in open_futures:
                future.cancel()
    return Round(values, errors, tuple(open_futures.values()), len(values) >= wanted, time.monotonic() - began)
