"""Goes on clearing away what was forgotten while nothing else is written."""

import asyncio
from collections.abc import Callable

from dart.broker.store.base import Store

PAUSE_SECONDS = 0.05
"""Between groups that only clear away: others come first."""


class Tidying:
    """Has empty groups written as long as the store asks for them.

    Args:
        store: Tells whether it is untidy.
        write: Has an empty group written.
    """

    def __init__(self, store: Store, write: Callable[[], None]) -> None:
        self._store = store
        self._write = write
        self._timer: asyncio.TimerHandle | None = None

    def committed(self) -> None:
        """A group was written."""
        if self._store.untidy and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._go)

    def stop(self) -> None:
        """Write no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go(self) -> None:
        self._timer = None
        self._write()
