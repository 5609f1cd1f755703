"""Log lines that others could multiply: a few a minute of each, then a count of what was left out."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

BURST = 10
"""Lines about one subject in a window."""
WINDOW_SECONDS = 60.0
SUBJECTS_MAX = 1000
"""Further ones share the lines of nobody in particular."""


@dataclass(slots=True)
class _Window:
    began: float
    written: int = 0
    left_out: int = 0


class Complaints:
    """Writes to a logger, at most `BURST` lines about one subject in `WINDOW_SECONDS`.

    What was left out is told when the window is over, also if the flood has stopped: by `tell`, which `later` is
    asked to call, or which the owner calls himself.

    Attributes:
        total: All complaints so far, those left out included.
        later: As `call_later` of a loop; None: the owner calls `tell` now and then.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._windows: dict[str, _Window] = {}
        """By subject, oldest first."""
        self._timed = False
        self.later: Callable[[float, Callable[[], None]], object] | None = None
        self.total = 0

    def warn(self, text: str, about: str = "") -> None:
        """Log this as a warning, unless there was too much about this subject lately."""
        self.say(logging.WARNING, text, about)

    def say(self, level: int, text: str, about: str = "") -> None:
        """Likewise with another level."""
        self.total += 1
        self._end_windows()
        window = self._windows.get(about)
        if window is None:
            if len(self._windows) >= SUBJECTS_MAX:
                about = ""
            window = self._windows.setdefault(about, _Window(self._clock()))
        if window.written < BURST:
            window.written += 1
            self._logger.log(level, "%s", text)
        else:
            window.left_out += 1
            self._wake_later()

    def tell(self) -> None:
        """Say how much was left out in windows that are over."""
        self._timed = False
        self._end_windows()
        if any(window.left_out for window in self._windows.values()):
            self._wake_later()

    def close(self) -> None:
        """Say it of all, at the end."""
        for about in list(self._windows):
            self._end(about)

    def _end_windows(self) -> None:
        over = self._clock() - WINDOW_SECONDS
        while self._windows:
            about, window = next(iter(self._windows.items()))
            if window.began > over:
                return
            self._end(about)

    def _end(self, about: str) -> None:
        window = self._windows.pop(about)
        if window.left_out:
            whose = f" about {about[:16]}" if about else ""
            self._logger.warning("%d more such lines%s were left out.", window.left_out, whose)

    def _wake_later(self) -> None:
        if self.later is not None and not self._timed:
            self._timed = True
            self.later(WINDOW_SECONDS, self.tell)
