"""One result as the server keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from dart_client.errors import DartError, failure_of


def _itself(value: Any) -> Any:
    return value


class Result(NamedTuple):
    """An outcome of a task; cancelled tasks have none."""

    id: str
    """The task's id and the result's."""
    job: str
    worker: str
    """Name of the worker that did it; the location, or empty, where it was lost or expired."""
    host: str
    location: str
    """Where it was asked to run; empty: anywhere."""
    start_time: int
    """Unix ms, by the worker's clock."""
    duration: float
    """Seconds."""
    answer: dict[str, Any]
    """All members, as the server gave them."""
    whole: Callable[[Any], Any] = _itself
    """Fetches the large parts of a value."""

    @property
    def succeeded(self) -> bool:
        """Whether the method returned something that can be read."""
        return self.failure() is None

    def failure(self) -> DartError | None:
        """What `value` raises; None: there is a value."""
        return failure_of(self.answer)

    def value(self) -> Any:
        """What the method returned; raises `TaskError`, `TaskLost` or `TaskExpired` otherwise, or `MalformedError`."""
        failure = self.failure()
        if failure is not None:
            raise failure
        return self.whole(self.answer["success"])


def result_of(answer: dict[str, Any], whole: Callable[[Any], Any] = _itself) -> Result:
    """From one entry of the server's answer."""
    return Result(
        id=answer["id"],
        job=answer["job"],
        worker=answer["worker"],
        host=answer["host"],
        location=answer["location"],
        start_time=answer["start_time"],
        duration=answer["duration"],
        answer=answer,
        whole=whole,
    )
