"""The one request of an agent over TLS: its enrolment. TLS is loaded for it alone.

Nothing leaves before the certificate was compared.
"""

import ipaddress
import json
from typing import Any
from urllib.parse import urlsplit

from dart.errors import ConfigError, DartError, ForbiddenError, HostUnreachableError

_TIMEOUT_SECONDS = 15.0
_ANSWER_BYTES_MAX = 64 * 1024


def post(url: str, fingerprint: str, path: str, body: dict[str, str], *, key: str = "") -> dict[str, Any]:
    """The members of the answer.

    Args:
        url: `https://HOST:PORT`; `http` and `unix` are for this machine.
        fingerprint: SHA-256 of the certificate that must be shown.
        path: Of the call.
        body: Sent as JSON.
        key: API key; empty: none is needed.

    Raises:
        HostUnreachableError: Nobody answers.
        ForbiddenError: Another certificate, and nothing was sent; or the server refuses.
        ConfigError: URL or answer cannot be understood.
        DartError: The server cannot do it.
    """
    import http.client  # noqa: PLC0415 - for this one request only
    import ssl  # noqa: PLC0415 - the same

    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "unix":
        connection = http.client.HTTPConnection("localhost", timeout=_TIMEOUT_SECONDS)
        connection.sock = _unix_socket(url)
    elif parts.scheme == "https":
        # The fingerprint says who the server is; names and dates say nothing more.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)
    elif parts.scheme == "http" and _is_loopback(host):
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    else:
        raise ConfigError(f"An agent cannot enrol at {url}: https, or http on this machine, is needed.")
    try:
        if connection.sock is None:
            connection.connect()
        if isinstance(connection.sock, ssl.SSLSocket):
            _check_certificate(connection.sock.getpeercert(binary_form=True), url, fingerprint)
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read(_ANSWER_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        raise HostUnreachableError(
            f"The server at {url} cannot be reached: {error}. Is it running, and its port open for this machine? If it "
            "has another address here: `dart server start --advertise ADDRESS` there, and another token."
        ) from None
    finally:
        connection.close()
    return _answer(response.status, content)


def _unix_socket(url: str) -> Any:
    import socket  # noqa: PLC0415 - as in post

    unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    unix.settimeout(_TIMEOUT_SECONDS)
    try:
        unix.connect(urlsplit(url).path)
    except OSError as error:
        unix.close()
        raise HostUnreachableError(f"The server at {url} cannot be reached: {error}.") from None
    return unix


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_certificate(certificate: bytes | None, url: str, fingerprint: str) -> None:
    import hashlib  # noqa: PLC0415 - with TLS only

    shown = hashlib.sha256(certificate or b"").hexdigest()
    if shown != fingerprint.replace(":", "").lower():
        raise ForbiddenError(
            f"{url} shows a certificate (SHA-256 {shown}) that is not the server's ({fingerprint}): another program "
            "answers there, or somebody in between. Nothing was sent to it."
        )


def _answer(status: int, content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
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
