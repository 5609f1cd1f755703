"""The server's state directory: its lock, its secrets, and the file by which local programs find a server.

Everything in it is for its owner alone: 0600 in a 0700 directory, whatever the umask says.
"""

import contextlib
import fcntl
import json
import os
import secrets
import stat
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from dart.errors import ConfigError, DamagedFileError
from dart.private_files import check_private_files, make_private_directory

ADMIN_KEY = "admin.key"
CERTIFICATE = "server.crt"
CERTIFICATE_KEY = "server.key"
BROKER_KEY = "broker.key"
PEPPER = "key.pepper"
DATABASE = "dart.db"
BLOBS = "blobs"
"""A folder of large values, named by their SHA-256."""
SERVER_FILE = "server.json"
LOCK_FILE = "server.lock"
SECRET_BYTES_MAX = 64 * 1024

_KEY_START = "dart_"
_MADE_KEY_CHARS = len(_KEY_START) + 43
"""43 characters are 32 random bytes."""
_PEPPER_BYTES = 32
_OWN_KEY_CHARS_MIN = 16
"""Of a key that the owner wrote there by hand."""


class LocalServer(NamedTuple):
    """A server of this machine, as its state directory tells of it."""

    url: str
    fingerprint: str
    """SHA-256 of its certificate in hex; empty without TLS."""
    agents_url: str
    server_public_key: str
    """Of the broker's CURVE pair, in Z85."""
    pid: int
    key: str
    """The admin key."""


def default_path() -> Path:
    """`DART_STATE_DIR`, or `dart/server` in the user's state directory, where the SDK looks for it, too."""
    configured = os.environ.get("DART_STATE_DIR")
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "dart" / "server"


def find_local_server(path: Path | None = None) -> LocalServer | None:
    """The server that runs on this state directory; None if none does.

    Raises:
        ConfigError: The directory is another user's, or its files are damaged.
    """
    path = path or default_path()
    try:
        told = json.loads(read_secret(path / SERVER_FILE))
        key = read_secret(path / ADMIN_KEY).strip()
        return LocalServer(
            url=str(told["url"]),
            fingerprint=str(told["fingerprint"]),
            agents_url=str(told["agents_url"]),
            server_public_key=str(told["server_public_key"]),
            pid=int(told["pid"]),
            key=key,
        )
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise DamagedFileError(f"{path / SERVER_FILE} cannot be read; stop the server and start it again.") from None


class StateDirectory:
    """An open, locked state directory.

    Args:
        path: Made if it is missing.

    Raises:
        ConfigError: It is in use by another server, open to others, or cannot be made.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()
        make_private_directory(self.path, "The state directory")
        check_private_files(self.path, lambda _name: True)
        try:
            self._lock = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"The state directory {self.path} cannot be used: {error.strerror}.") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigError(
                f"Another server uses the state directory {self.path}; stop it, or give another --state-dir."
            ) from None
        (self.path / SERVER_FILE).unlink(missing_ok=True)  # a killed server left it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the server file and let another server in; harmless when repeated."""
        if self._lock >= 0:
            (self.path / SERVER_FILE).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    def admin_key(self) -> str:
        """The first admin key; made at the first start."""
        try:
            return self.read_admin_key()
        except FileNotFoundError:
            key = f"{_KEY_START}{secrets.token_urlsafe(32)}"
            write_secret(self.path / ADMIN_KEY, f"{key}\n")
            return key

    def read_admin_key(self) -> str:
        """The admin key that is there, or `FileNotFoundError`."""
        path = self.path / ADMIN_KEY
        key = read_secret(path).strip()
        cut = len(key) < (_MADE_KEY_CHARS if key.startswith(_KEY_START) else _OWN_KEY_CHARS_MIN)
        if cut or not key.isprintable():
            raise DamagedFileError(
                f"{path} holds no key, or was cut short: bring back a copy of it, or delete it, and the server makes a "
                "new key at its next start."
            )
        return key

    def pepper(self) -> bytes:
        """The secret that makes guessing useless for who has the database alone; made at the first start."""
        path = self.path / PEPPER
        try:
            pepper = read_secret(path).strip()
        except FileNotFoundError:
            pepper = secrets.token_hex(_PEPPER_BYTES)
            write_secret(path, f"{pepper}\n")
        try:
            found = bytes.fromhex(pepper)
        except ValueError:
            found = b""
        if len(found) != _PEPPER_BYTES:
            raise DamagedFileError(
                f"{path} is damaged or was cut short: bring back a copy of it, or delete it; then keys whose text "
                "somebody chose must be added again."
            )
        return found

    def announce(
        self, *, url: str, fingerprint: str, agents_url: str, server_public_key: str, former_server_public_key: str = ""
    ) -> None:
        """Let local programs find the server."""
        told = {
            "url": url,
            "fingerprint": fingerprint,
            "agents_url": agents_url,
            "server_public_key": server_public_key,
            "former_server_public_key": former_server_public_key,
            "pid": os.getpid(),
        }
        write_secret(self.path / SERVER_FILE, json.dumps(told, indent=1) + "\n")


def write_secret(path: Path, text: str) -> None:
    """Write a file for its owner alone, as a whole or not at all.

    Raises:
        ConfigError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None


def read_secret(path: Path) -> str:
    """Read such a file.

    Raises:
        FileNotFoundError: It is not there.
        ConfigError: Others could read it, it is no plain file, or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is no plain file; remove it.")
        if status.st_mode & 0o077:
            raise ConfigError(
                f"{path} can be read by other users (mode {stat.S_IMODE(status.st_mode):04o}): if one of them may have "
                f"done so, delete it and start again; otherwise: chmod 600 {path}"
            )
        try:
            return file.read(SECRET_BYTES_MAX).decode()
        except UnicodeDecodeError:
            raise DamagedFileError(
                f"{path} is damaged: bring back a copy of it, or delete it, and a new one is made at the next start."
            ) from None
