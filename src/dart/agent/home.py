"""An agent's home directory: private, used by one process at a time, with a file that tells which."""

import fcntl
import json
import os
from fnmatch import fnmatch
from pathlib import Path

from dart.agent.config import state_root
from dart.agent.enrol import write_private
from dart.errors import ConfigError
from dart.private_files import check_private_files, make_private_directory

LOCK_FILE = "agent.lock"
PROCESS_FILE = "agent.json"
SPOOL = "spool"
_OURS = ("agent.key", "agent.json", "agent.lock", "enrolment.json", "audit.jsonl*", "scratch.path", "log_*.txt*", ".*")
"""What an agent writes there; configuration, policy and modules are the owner's, who may show them to everybody."""


class Home:
    """A locked home directory.

    Args:
        path: Made if it is missing, 0700.

    Raises:
        ConfigError: Another agent uses it, it cannot be made, or others than its owner may read what is in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        make_private_directory(path, "The home directory")
        check_private_files(path, _is_ours)
        make_private_directory(path / SPOOL, "The spool")
        check_private_files(path / SPOOL, lambda _name: True)
        try:
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


def _is_ours(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _OURS)
