"""File descriptors of the process: as many as the system allows, and some of them for REST alone.

libzmq accepts on the agents' port without a bound of its own. Silent connections there, which it drops only after
their handshake time, could take every descriptor; so the limit stays a little below what is allowed, and is lifted
for the instant in which REST accepts.
"""

import logging
import resource
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("dart.descriptors")


class Descriptors:
    """Raises the process's limit of open files.

    Args:
        reserve: How many to keep back for REST; at most half of what is allowed.
    """

    def __init__(self, *, reserve: int) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._hard = hard
        self._soft = hard if hard == resource.RLIM_INFINITY else hard - min(reserve, hard // 2)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._soft, hard))
        except (ValueError, OSError) as error:
            log.warning("The limit of open files stays at %d: %s.", soft, error)
            self._soft = self._hard = soft

    @contextmanager
    def spare(self) -> Iterator[None]:
        """Within it, what is kept back may be used."""
        if self._soft == self._hard:
            yield
            return
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self._soft, hard))
