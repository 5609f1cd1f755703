"""How an agent becomes known to a server: its key pair, and enrolment with a local server or by a join token.

The state directory of a server on this machine tells where REST is, what its certificate is, and holds the admin key;
who may read that directory may enrol agents. Elsewhere a join token tells all that.
"""

import contextlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dart.agent.enrol_call import post
from dart.errors import ConfigError, DamagedFileError, HostUnreachableError
from dart.wire import curve

if TYPE_CHECKING:
    from dart.wire.join_token import JoinText

SERVER_FILE = "server.json"
ADMIN_KEY_FILE = "admin.key"
ENROLMENT_FILE = "enrolment.json"
KEY_FILE = "agent.key"
_FILE_BYTES_MAX = 64 * 1024


class LocalServer(NamedTuple):
    """What a server's state directory says of it."""

    url: str
    fingerprint: str
    agents_url: str
    server_public_key: str
    """Z85."""
    former_server_public_key: str = ""
    """While the broker's key changes: the one that is still valid too."""


class Enrolment(NamedTuple):
    """What an agent keeps of its enrolment."""

    name: str
    agents_url: str
    server_public_key: str
    """Z85."""
    store_id: str
    state_directory: str
    """Of the local server it enrolled with; empty: none."""
    token_id: str = ""
    """Of the join token it enrolled by; empty: none."""
    moved: bool = False
    """Whether address and key were changed by the server since."""
    next_port: int = 0
    """Where on the same host the server wants it to connect from now on; 0: nowhere else."""
    next_server_public_key: str = ""
    """Z85: the server's key there."""
    revoked: bool = False
    """The server said that this key was revoked."""


def own_keys(home: Path) -> curve.KeyPair:
    """The agent's key pair, made at its first start."""
    path = home / KEY_FILE
    if path.exists():
        return curve.read(path)
    if (home / ENROLMENT_FILE).exists():
        raise DamagedFileError(
            f"{path} is missing, which the server knows this agent by: bring back a copy of it, or remove "
            f"{home / ENROLMENT_FILE} to enrol anew with another key. Results in the spool are kept."
        )
    pair = curve.KeyPair.make()
    curve.write(path, pair)
    return pair


def read_enrolment(home: Path) -> Enrolment | None:
    """The enrolment kept in `home`; None if there is none.

    Raises:
        ConfigError: The file cannot be understood.
    """
    path = home / ENROLMENT_FILE
    members = _read_members(path)
    if members is None:
        return None
    known = {**Enrolment._field_defaults, **members}  # files of earlier versions have fewer members
    try:
        enrolment = Enrolment(*(known[field] for field in Enrolment._fields))
        curve.key_bytes(enrolment.server_public_key)
        if enrolment.next_port:
            curve.key_bytes(enrolment.next_server_public_key)
    except (KeyError, TypeError, AttributeError, ConfigError):
        raise DamagedFileError(f"{path} cannot be understood; remove it and start again to enrol anew.") from None
    return enrolment


def keep_enrolment(home: Path, enrolment: Enrolment) -> None:
    """Replace what is kept, durably. Raises `ConfigError`."""
    write_private(home / ENROLMENT_FILE, json.dumps(enrolment._asdict(), indent=1) + "\n")


def forget_key(home: Path) -> None:
    """Remove enrolment and key: the next enrolment makes another one."""
    for path in (home / ENROLMENT_FILE, home / KEY_FILE):  # in this order: a key without enrolment is a beginning
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"{path} cannot be removed: {error.strerror}.") from None


def find_server(state_directory: Path) -> LocalServer:
    """The server that runs with this state directory.

    Raises:
        HostUnreachableError: None runs.
        ConfigError: Its file cannot be read.
    """
    path = state_directory / SERVER_FILE
    members = _read_members(path)
    if members is None:
        raise HostUnreachableError(
            f"No server runs with the state directory {state_directory} (there is no {SERVER_FILE}): start it with "
            "`dart server start`, or name its directory with --state-dir."
        )
    try:
        known = {**LocalServer._field_defaults, **members}
        return LocalServer(*(str(known[field]) for field in LocalServer._fields))
    except KeyError as error:
        raise ConfigError(
            f"{path} lacks the member {error}: was it written by another version of the server?"
        ) from None


def enrol(home: Path, name: str, state_directory: Path) -> Enrolment:
    """Make this agent's key known to the local server under `name`, and keep what the server answers.

    Raises:
        HostUnreachableError: The server does not answer.
        ForbiddenError: The server refuses.
        ConfigError: Files or answer cannot be understood.
    """
    server = find_server(state_directory)
    key = read_secret(state_directory / ADMIN_KEY_FILE, "The admin key").strip()
    body = {"name": name, "public_key": own_keys(home).public_text}
    answer = post(server.url, server.fingerprint, "/enroll/", body, key=key)
    enrolment = _understood(answer, name)._replace(state_directory=str(state_directory))
    keep_enrolment(home, enrolment)
    return enrolment


def enrol_by_token(home: Path, name: str, token: "JoinText", text: str) -> Enrolment:
    """Make this agent's key known under `name` to the server that the token names, and keep what it answers.

    With the same key and token it may be repeated: the server answers the same again.

    Args:
        home: Where key and enrolment are.
        name: Of the worker.
        token: What the token says.
        text: The token as it was given.

    Raises:
        HostUnreachableError: The server does not answer.
        ForbiddenError: It shows another certificate, or refuses.
        ConfigError: Files or answer cannot be understood.
    """
    body = {"token": text.strip(), "name": name, "public_key": own_keys(home).public_text}
    answer = post(token.url, token.fingerprint, "/enroll/", body)
    enrolment = _understood(answer, name)._replace(token_id=token.id)
    keep_enrolment(home, enrolment)
    return enrolment


def _understood(answer: dict[str, Any], name: str) -> Enrolment:
    try:
        enrolment = Enrolment(
            name=name,
            agents_url=str(answer["agent"]),
            server_public_key=str(answer["server_public_key"]),
            store_id=str(answer.get("store_id", "")),
            state_directory="",
        )
        curve.key_bytes(enrolment.server_public_key)
    except KeyError as error:
        raise ConfigError(f"The server's answer to the enrolment cannot be understood: {error}.") from None
    return enrolment


def write_private(path: Path, text: str) -> None:
    """Replace a file as a whole; mode 0600 whatever the umask. Raises `ConfigError` if it cannot be written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o600)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None


def _read_members(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            members = json.loads(file.read(_FILE_BYTES_MAX))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise DamagedFileError(f"{path} is damaged; stop who writes it, remove it and start again.")
    return members


def read_secret(path: Path, what: str) -> str:
    """A file that only its owner can read. Raises `ConfigError`, with `what` it is."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                raise ConfigError(f"{path} must be a file that only its owner can read: chmod 600 {path}")
            return file.read(_FILE_BYTES_MAX).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{what} {path} cannot be read: {error}.") from None
