"""Shuts the agents' port while connections there have used up the descriptors that they may."""

import asyncio
import logging

from dart.broker.transport import Transport
from dart.complaints import Complaints
from dart.descriptors import Descriptors

SHUT_SECONDS = 0.5
"""At least: what waited to be accepted is in by then, and counted."""

log = logging.getLogger("dart.broker.flood")


class FloodGate:
    """Looks after the descriptors in the running loop, whenever the transport looks at its connections.

    Args:
        descriptors: What there is.
        transport: Bound.
    """

    def __init__(self, descriptors: Descriptors, transport: Transport) -> None:
        self._descriptors = descriptors
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._complaints = Complaints(log)
        self._complaints.later = self._loop.call_later
        self._shut_since: float | None = None
        transport.intake.on_look = self._look

    @property
    def shut(self) -> int:
        """How often the port was shut so far."""
        return self._complaints.total

    def close(self) -> None:
        """Look no more; harmless when repeated."""
        self._transport.intake.on_look = lambda: None
        self._complaints.close()

    def relieve(self) -> bool:
        """REST found no descriptor: shut the agents' port and let out what is kept. Whether that changed anything."""
        if self._shut_since is not None:
            return False
        try:
            self._transport.shut()
        except OSError as error:
            self._complaints.warn(f"The agents' port cannot be shut: {error.strerror}.")
            return False
        self._shut_since = self._loop.time()
        self._descriptors.let_out()
        self._complaints.warn(
            "The agents' port takes no new connections until some of those there are have ended: they hold all the "
            "descriptors they may. If these are agents, raise the limit of open files (ulimit -n)."
        )
        return True

    def _look(self) -> None:
        if self._shut_since is None:
            if self._descriptors.scarce:
                self.relieve()
        elif self._loop.time() - self._shut_since >= SHUT_SECONDS and self._descriptors.plenty:
            self._shut_since = None
            self._descriptors.keep_back()
            self._transport.open()
