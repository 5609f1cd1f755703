"""CURVE keys: pairs and the files they live in, their texts, and the identity that follows from a public key.

A key file is JSON, `{"public": Z85, "secret": Z85}`, readable by its owner alone. It is written as a whole or not at
all, and never over another key: a lost key is a lost identity.
"""

import contextlib
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import NamedTuple, Self

import zmq
from zmq.utils import z85

from dart.errors import ConfigError, DamagedFileError
from dart.ids import AgentId

KEY_BYTES = 32
_TEXT_CHARS = 40
_FILE_BYTES_MAX = 4096


class KeyPair(NamedTuple):
    """A public and a secret key, 32 bytes each; the secret is not shown by `repr`."""

    public: bytes
    secret: bytes

    @classmethod
    def make(cls) -> Self:
        """A new pair from the operating system's randomness."""
        public, secret = zmq.curve_keypair()
        return cls(z85.decode(public), z85.decode(secret))

    @property
    def public_text(self) -> str:
        """The public key in Z85, as configuration and command line show it."""
        return key_text(self.public)

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public_text!r}, secret=...)"


def key_text(key: bytes) -> str:
    """32 bytes as 40 characters of Z85."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"A CURVE key has {KEY_BYTES} bytes, not {len(key)}.")
    return z85.encode(key).decode("ascii")


def key_bytes(text: str) -> bytes:
    """40 characters of Z85 as 32 bytes.

    Raises:
        ConfigError: The text is no key.
    """
    with contextlib.suppress(Exception):  # whatever the decoder makes of it, it is no key
        key = z85.decode(text.encode("ascii"))
        # Z85 has several texts for one key where a group overflows; only what comes back the same is taken.
        if len(text) == _TEXT_CHARS and len(key) == KEY_BYTES and key_text(key) == text:
            return key
    raise ConfigError(f"This is no CURVE key: a key is {_TEXT_CHARS} characters of Z85; the text has {len(text)}.")


def agent_id(public_key: bytes) -> AgentId:
    """Who an agent with this public key (32 bytes) is."""
    return AgentId(hashlib.sha256(public_key).hexdigest())


def write(path: Path, pair: KeyPair) -> None:
    """Make the key file, mode 0600 whatever the umask, durable before this returns.

    Raises:
        ConfigError: There is a file already, or it cannot be written.
    """
    content = json.dumps({"public": key_text(pair.public), "secret": key_text(pair.secret)}) + "\n"
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(8).hex()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor, not a path
                os.fchmod(descriptor, 0o600)
                file.write(content)
                file.flush()
                os.fsync(descriptor)
            # A link, not a rename: it fails where something of that name is already.
            os.link(draft, path, follow_symlinks=False)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(path.parent)
    except FileExistsError:
        raise ConfigError(f"{path} exists already; remove it first if its key is really not needed any more.") from None
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be written: {error.strerror}.") from None


def read(path: Path) -> KeyPair:
    """The pair in a key file.

    Raises:
        ConfigError: The file is missing, readable or writable by others, somebody else's, or no key file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"The key file {path} cannot be opened: {error.strerror}.") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path} is not a file; a key file is needed.")
        if status.st_mode & 0o077:
            raise ConfigError(f"{path} holds a secret key that others may read or change: chmod 600 {path}")
        if status.st_uid not in (0, os.geteuid()):
            raise ConfigError(f"{path} belongs to another user (uid {status.st_uid}): chown it to who uses it.")
        content = os.read(descriptor, _FILE_BYTES_MAX)
    finally:
        os.close(descriptor)
    return _parse(path, content)


def _parse(path: Path, content: bytes) -> KeyPair:
    advice = "restore it, or remove it and enrol a new key"
    try:
        members = json.loads(content)
        pair = KeyPair(key_bytes(members["public"]), key_bytes(members["secret"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError):
        raise DamagedFileError(f"{path} is no key file with `public` and `secret` in Z85: {advice}.") from None
    if z85.decode(zmq.curve_public(z85.encode(pair.secret))) != pair.public:
        raise DamagedFileError(f"The public key in {path} does not belong to its secret key: {advice}.")
    return pair


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
