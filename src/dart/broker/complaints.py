"""Log lines that strangers could multiply: a few a minute, then a count of what was left out."""

import logging
import time

BURST = 10
WINDOW_SECONDS = 60.0


class Complaints:
    """Writes warnings to a logger, at most `BURST` in `WINDOW_SECONDS`; `total` counts all of them."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._window_began = 0.0
        self._written = 0
        self._left_out = 0
        self.total = 0

    def warn(self, text: str) -> None:
        """Log this, unless there was too much of it lately."""
        self.total += 1
        now = time.monotonic()
        if now - self._window_began >= WINDOW_SECONDS:
            if self._left_out:
                self._logger.warning("%d more such warnings were left out.", self._left_out)
            self._window_began, self._written, self._left_out = now, 0, 0
        if self._written < BURST:
            self._written += 1
            self._logger.warning("%s", text)
        else:
            self._left_out += 1
