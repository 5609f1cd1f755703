"""The one clock: Unix time that does not jump while the process runs."""

import time


class Clock:
    """Wall time at the start plus what has passed since; setting the host's clock does not move it."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Seconds since 1970."""
        return self._offset + time.monotonic()
