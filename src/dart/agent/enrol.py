"""How an agent becomes known to a server: its key pair, and enrolment with the server of this machine.

The server's state directory tells where REST is, what its certificate is, and holds the admin key; who may read that
directory may enrol agents. TLS is loaded for this one request only.
"""

import contextlib
import ipaddress
import json
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from dart.errors import ConfigError, DamagedFileError, DartError, ForbiddenError, HostUnreachableError
from dart.wire import curve

SERVER_FILE = "server.json"
ADMIN_KEY_FILE = "admin.key"
ENROLMENT_FILE = "enrolment.json"
KEY_FILE = "agent.key"
_TIMEOUT_SECONDS = 15.0
_FILE_BYTES_MAX = 64 * 1024


class LocalServer(NamedTuple):
    """What a server's state directory says of it."""

    url: str
    fingerprint: str
    agents_url: str
    server_public_key: str
    """Z85."""


class Enrolment(NamedTuple):
    """What an agent keeps of its enrolment."""

    name: str
    agents_url: str
    server_public_key: str
    """Z85."""
    store_id: str
    state_directory: str
    """Of the local server it enrolled with; empty: none."""


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
    try:
        enrolment = Enrolment(*(members[field] for field in Enrolment._fields))
        curve.key_bytes(enrolment.server_public_key)
    except (KeyError, TypeError, AttributeError, ConfigError):
        raise DamagedFileError(f"{path} cannot be understood; remove it and start again to enrol anew.") from None
    return enrolment


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
        return LocalServer(*(str(members[field]) for field in LocalServer._fields))
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
    key = _read_secret(state_directory / ADMIN_KEY_FILE).strip()
    body = {"name": name, "public_key": own_keys(home).public_text}
    answer = _post(server, "/enroll/", key, body)
    try:
        enrolment = Enrolment(
            name=name,
            agents_url=str(answer["agent"]),
            server_public_key=str(answer["server_public_key"]),
            store_id=str(answer.get("store_id", "")),
            state_directory=str(state_directory),
        )
        curve.key_bytes(enrolment.server_public_key)
    except (KeyError, AttributeError) as error:
        raise ConfigError(f"The server's answer to the enrolment cannot be understood: {error}.") from None
    write_private(home / ENROLMENT_FILE, json.dumps(enrolment._asdict(), indent=1) + "\n")
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


def _read_secret(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode) or mode & 0o077:
                raise ConfigError(f"{path} must be a file that only its owner can read: chmod 600 {path}")
            return file.read(_FILE_BYTES_MAX).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The admin key {path} cannot be read: {error}.") from None


def _post(server: LocalServer, path: str, key: str, body: dict[str, str]) -> dict[str, Any]:
    import http.client  # noqa: PLC0415 - for this one request only
    import ssl  # noqa: PLC0415 - the same

    parts = urlsplit(server.url)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "unix":
        connection = http.client.HTTPConnection("localhost", timeout=_TIMEOUT_SECONDS)
        connection.sock = _unix_socket(server)
    elif parts.scheme == "https":
        # The fingerprint in the state directory says who the server is; names and dates say nothing more.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)
    elif parts.scheme == "http" and _is_loopback(host):
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    else:
        raise ConfigError(f"An agent cannot enrol at {server.url}: https, or http on this machine, is needed.")
    try:
        if connection.sock is None:
            connection.connect()
        if isinstance(connection.sock, ssl.SSLSocket):
            _check_certificate(connection.sock.getpeercert(binary_form=True), server)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read(_FILE_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        raise HostUnreachableError(f"The server at {server.url} cannot be reached: {error}.") from None
    finally:
        connection.close()
    return _answer(response.status, content)


def _unix_socket(server: LocalServer) -> Any:
    import socket  # noqa: PLC0415 - as in _post

    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.settimeout(_TIMEOUT_SECONDS)
    try:
        unix.connect(urlsplit(server.url).path)
    except OSError as error:
        unix.close()
        raise HostUnreachableError(f"The server at {server.url} cannot be reached: {error}.") from None
    return unix


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_certificate(certificate: bytes | None, server: LocalServer) -> None:
    import hashlib  # noqa: PLC0415 - with TLS only

    shown = hashlib.sha256(certificate or b"").hexdigest()
    if shown != server.fingerprint.replace(":", "").lower():
        raise ForbiddenError(
            f"{server.url} shows a certificate (SHA-256 {shown}) that is not the one in {SERVER_FILE}: another program "
            "answers there. Nothing was sent to it."
        )


def _answer(status: int, content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ConfigError(f"The server answered the enrolment with status {status} and no JSON object.")
    if status == 200:
        return answer
    error = answer.get("error")
    message = error.get("message", "") if isinstance(error, dict) else ""
    text = f"The server refuses the enrolment (status {status}): {message}"
    if status in {401, 403}:
        raise ForbiddenError(text)
    raise DartError(text)
