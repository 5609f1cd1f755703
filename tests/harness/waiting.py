"""Waiting for something to become true, with a reason when it does not."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    predicate: Callable[[], T],
    *,
    timeout: float = 10.0,
    explain: Callable[[], object] | str = "",
    interval: float = 0.02,
) -> T:
    """The predicate's first true value; an AssertionError with the explanation after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s: {explain() if callable(explain) else explain}")
        time.sleep(interval)
