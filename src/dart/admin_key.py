"""The key in the state directory, as it is now: a file that its owner replaces counts from the next request on."""

import logging
from collections.abc import Callable

from dart.errors import ConfigError
from dart.state_directory import ADMIN_KEY, StateDirectory

log = logging.getLogger("dart.server")


class AdminKey:
    """The admin key of a server that runs.

    Attributes:
        version: Grows when the key is replaced.
    """

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._path = state.path / ADMIN_KEY
        self._text = state.admin_key()
        self._seen = self._look()
        self.version = 1
        self.on_replaced: Callable[[], None] = lambda: None
        """Called when another key was taken up."""

    def text(self) -> str:
        """The key. A file that is gone, damaged or open to others leaves the key before in place, with a warning."""
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            self._take_up()
        return self._text

    def _look(self) -> tuple[int, ...]:
        """What differs when the file was written or replaced; a look costs two microseconds."""
        try:
            found = self._path.lstat()
        except OSError:
            return ()
        return found.st_ino, found.st_size, found.st_mode, found.st_mtime_ns, found.st_ctime_ns

    def _take_up(self) -> None:
        try:
            text = self._state.read_admin_key()
        except FileNotFoundError:
            log.warning("%s is gone; the key that was in it counts until the server ends.", self._path)
        except ConfigError as error:
            log.warning("The admin key was not taken up, the one before counts: %s", error.message)
        else:
            if text != self._text:
                self._text = text
                self.version += 1
                log.warning("%s was replaced: the new admin key counts, the one before no more.", self._path)
                self.on_replaced()
