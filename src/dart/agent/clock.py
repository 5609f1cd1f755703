"""The one clock of an agent."""

import time


class Clock:
    """Unix time that does not jump: the wall's at the start, then what has passed since."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Seconds."""
        return self._offset + time.monotonic()
