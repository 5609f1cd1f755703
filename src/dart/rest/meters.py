"""What REST counts of itself: answers by status, and how late the event loop is."""

import asyncio
from typing import Final

from aiohttp import web

from dart.broker.measures import LAG_BOUNDS, Histogram

LOOK_SECONDS: Final = 0.5


class Meters:
    """The numbers of one application."""

    def __init__(self) -> None:
        self.answers: dict[int, int] = {}
        """By status; those of connections that were no HTTP are left out."""
        self.lag = Histogram(LAG_BOUNDS)
        """By how many seconds a timer came too late: how long a request may have to wait for its turn."""
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look at the running loop from now on."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_SECONDS, self._look, loop, loop.time() + LOOK_SECONDS)

    def close(self) -> None:
        """Look no more; harmless when repeated."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self.lag.observe(loop.time() - due)
        self.start()

    async def count(self, _: web.Request, response: web.StreamResponse) -> None:
        """An answer begins."""
        self.answers[response.status] = self.answers.get(response.status, 0) + 1
