"""An agent's home directory: private, used by one process at a time, with a file that tells which."""

import fcntl
import json
import os
from pathlib import Path

from dart.agent.config import state_root
from dart.agent.enrol import write_private
from dart.errors import ConfigError

LOCK_FILE = "agent.lock"
PROCESS_FILE = "agent.json"


class Home:
    """A locked home directory.

    Args:
        path: Made if it is missing, 0700.

    Raises:
        ConfigError: Another agent uses it, or it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._lock = os.open(path / LOCK_FILE, flags, 0o600)
        except OSError as error:
            raise ConfigError(f"The home directory {path} cannot be used: {error.strerror}.") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigError(
                f"Another agent runs in the home directory {path}; stop it, or give this one another --home."
            ) from None

    def announce(self, **members: str | int) -> None:
        """Tell `dart agent status` and `stop` of this process."""
        members = {"pid": os.getpid(), **members}
        write_private(self.path / PROCESS_FILE, json.dumps(members) + "\n")

    def close(self) -> None:
        """Take back the announcement and let another agent in."""
        (self.path / PROCESS_FILE).unlink(missing_ok=True)
        os.close(self._lock)


def secret_folders(home: Path, state_directory: str) -> tuple[Path, ...]:
    """What is kept from tasks beside the home: other agents of this user, and a server's state if there is one here."""
    folders = [Path(state_directory)] if state_directory else []
    root = state_root(os.environ).resolve()
    if root in home.parents:
        folders.append(root)
    return tuple(folder for folder in folders if folder.is_dir())
