"""Coverage of child processes, where it is not worth its time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "COVERAGE_PROCESS_CONFIG"


@contextmanager
def children_unmeasured() -> Iterator[None]:
    """Processes that are started within measure nothing."""
    kept = os.environ.pop(VARIABLE, None)
    try:
        yield
    finally:
        if kept is not None:
            os.environ[VARIABLE] = kept
