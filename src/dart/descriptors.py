"""File descriptors of the process, shared out: what REST may need is never taken by the agents' port.

libzmq accepts on the agents' port without a bound of its own, and silent connections there last for their handshake
time. The limit of open files holds for the whole process, so it is kept at what the agents' port may take and what
REST has taken; `broker/flood.py` shuts the port when that is used up, and only then is the rest let out.
"""

import logging
import os
import resource

from dart.limits import Limits

BACKLOG_MAX = 1024
BACKLOG_MIN = 16
FILES = 64
"""Kept free, where there are enough, for files that the server opens while connections pour in."""

log = logging.getLogger("dart.descriptors")


class Descriptors:
    """Sets the process's limit of open files, and moves it with what REST takes.

    Args:
        limits: How many connections there may be on either side.
    """

    def __init__(self, limits: Limits) -> None:
        _, self._hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        useful = 2 * limits.agents_max + limits.connections_max + BACKLOG_MAX + FILES
        self._most = useful if self._hard == resource.RLIM_INFINITY else min(self._hard, useful)
        self._rest = 0
        self._all = False
        self._files = min(FILES, self._most // 8)
        self.backlog = min(BACKLOG_MAX, max(BACKLOG_MIN, self._most // 16))
        """Connections that may wait for libzmq: so many it still takes after its port was shut."""
        self.rest_max = min(limits.connections_max, (self._most - self.backlog - self._files) // 2)
        """Connections that REST can have at once."""
        self._agents = self._most - self.backlog - self.rest_max
        if self.rest_max < limits.connections_max:
            log.warning(
                "Only %d of %d REST connections (limit connections_max) fit into %d open files; raise ulimit -n.",
                self.rest_max,
                limits.connections_max,
                self._most,
            )
        self._apply()

    @property
    def scarce(self) -> bool:
        """Whether hardly any are left of what the agents' port may take.

        The kernel gives the lowest number that is free, and the limit is one on numbers: so that number tells.
        """
        try:
            lowest = os.dup(0)
        except OSError:
            return True
        os.close(lowest)
        return lowest >= self._shared - self._files

    @property
    def plenty(self) -> bool:
        """Whether enough are free again for the port to be opened."""
        try:
            lowest = os.dup(0)
        except OSError:
            return False
        os.close(lowest)
        return lowest < self._shared - self._files - self._agents // 8

    @property
    def _shared(self) -> int:
        return min(self._most, self._agents + self._rest)

    def rest_takes(self, connections: int) -> None:
        """REST has so many, or is about to."""
        self._rest = connections
        if not self._all:
            self._apply()

    def let_out(self) -> None:
        """All may be used: the agents' port is shut."""
        self._all = True
        self._apply()

    def keep_back(self) -> None:
        """As at the beginning."""
        self._all = False
        self._apply()

    def _apply(self) -> None:
        wanted = self._most if self._all else self._shared
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, self._hard))
        except (ValueError, OSError) as error:
            log.warning("The limit of open files cannot be set to %d: %s.", wanted, error)
