"""One timer: calls when the core's next deadline has come."""

import asyncio
from collections.abc import Callable

SECONDS_MIN = 0.001
"""A deadline in the past is served after this, so that it cannot starve the loop."""


class Alarm:
    """Set again after each turn."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None

    def set(self, deadline: float | None, now: float) -> None:
        """Call at this time of the core's clock, and at no earlier one set before; None: not at all."""
        if deadline == self._deadline and self._timer is not None:
            return
        self.stop()
        self._deadline = deadline
        if deadline is not None:
            self._timer = self._loop.call_later(max(SECONDS_MIN, deadline - now), self._ring)

    def stop(self) -> None:
        """Do not call."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self._call()
