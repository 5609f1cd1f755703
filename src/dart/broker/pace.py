"""How long a store that cannot be written is left alone between two attempts."""

import math

RETRY_SECONDS_MIN = 0.1
RETRY_SECONDS_MAX = 5.0
"""Between attempts to write again after a failed commit; doubles."""
FORGOTTEN_SECONDS = 30.0
"""After a success that held so long the next failure begins with the shortest wait."""


class Pace:
    """Waits that double while attempts fail, and also while successes do not last."""

    def __init__(self) -> None:
        self.seconds = RETRY_SECONDS_MIN
        """The next wait."""
        self._succeeded_at = -math.inf

    def first_wait(self, now: float) -> float:
        """Before the first attempt: none, unless the last success was short."""
        if now > self._succeeded_at + FORGOTTEN_SECONDS:
            self.seconds = RETRY_SECONDS_MIN
            return 0.0
        return self.next_wait()

    def next_wait(self) -> float:
        """After an attempt that failed."""
        wait = self.seconds
        self.seconds = min(2 * wait, RETRY_SECONDS_MAX)
        return wait

    def succeeded(self, now: float) -> None:
        """An attempt did."""
        self._succeeded_at = now
