"""`dart doctor`, on the way to the server: name, port, certificate, clock, key, and the port of the agents."""

import hashlib
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from dart import __version__
from dart.cli.doctor_findings import Finding, fault, fine, skipped, warning

if TYPE_CHECKING:
    from dart_client import Client
    from dart_client.discovery import Server

SECONDS = 5.0
"""For a connection, and for an answer."""
CLOCK_SECONDS = 5.0
"""By so much clocks may differ: times that people compare are wrong by it."""
_LOOPBACK = ("127.", "localhost", "::1")
_GREETING_BYTES = 10
"""Of ZMTP: 0xff, eight bytes, 0x7f."""


def local_process(directory: Path) -> Iterator[Finding]:
    """Whether the process that wrote server.json is still there."""
    try:
        pid = int(json.loads((directory / "server.json").read_text(encoding="utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        yield fault(
            "server-process",
            f"The server of {directory} was killed, or this machine was restarted: process {pid} is gone.",
            f"Start it again: dart server start --state-dir {directory}; it goes on with all it had.",
        )
    except OSError:
        return


def way(server: "Server") -> Iterator[Finding]:
    """From the name to an answer, step by step; the first step that fails is the last one told."""
    parts = urlsplit(server.url)
    if parts.scheme == "unix":
        yield from _unix_socket(parts.path, server.url)
        return
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        yield fault(
            "name", f"No machine is called {host}.", "Mind the spelling of the URL, or use the server's address."
        )
        return
    yield fine("name", f"{host} has an address.")
    problem = port_problem(host, port)
    if problem is not None:
        yield fault("port", f"{host} does not answer at port {port}: {problem[0]}.", problem[1])
        return
    yield fine("port", f"{host}:{port} takes connections.")
    if parts.scheme == "https":
        found = list(_certificate(server, host, port))
        yield from found
        if found[-1].state == "fault":
            return
        context = ssl._create_unverified_context()  # noqa: S323, SLF001 - no key is sent; it was looked at above
        yield from _answer(HTTPSConnection(host, port, timeout=SECONDS, context=context), server.url)
    else:
        yield from _answer(HTTPConnection(host, port, timeout=SECONDS), server.url)


def _unix_socket(path: str, url: str) -> Iterator[Finding]:
    connection = HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.sock.settimeout(SECONDS)
    try:
        connection.sock.connect(path)
    except OSError as error:
        connection.close()
        yield fault(
            "port",
            f"Nobody answers at the socket {path}: {error.strerror or error}.",
            "Is the server running (dart server start --host unix:PATH), and is it this user's?",
        )
        return
    yield fine("port", f"{path} takes connections.")
    yield from _answer(connection, url)


def port_problem(host: str, port: int) -> tuple[str, str] | None:
    """Why nobody can connect there, and what to do; None: one can."""
    try:
        socket.create_connection((host, port), SECONDS).close()
    except ConnectionRefusedError:
        return (
            "connection refused",
            "Is the server running there? It may listen on loopback only: dart server start --host 0.0.0.0",
        )
    except TimeoutError:
        return "no answer", f"A firewall drops it: open port {port} on the server's machine and between."
    except OSError as error:
        return error.strerror or str(error), "See whether this machine has a network, and a route to that one."
    return None


def _certificate(server: "Server", host: str, port: int) -> Iterator[Finding]:
    try:
        context = ssl.create_default_context(cafile=server.ca or None)
    except OSError as error:
        yield fault(
            "certificate",
            f"The certificates to trust, {server.ca}, cannot be read: {error.strerror or error}.",
            "Name the file of the CA that signed the server's certificate (--ca), or pin that: --fingerprint.",
        )
        return
    if server.fingerprint:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host, port), SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as encrypted,
        ):
            found = hashlib.sha256(encrypted.getpeercert(binary_form=True) or b"").hexdigest()
    except ssl.SSLCertVerificationError as error:
        yield fault(
            "certificate",
            f"The certificate is not one that {server.ca} stands for: {error.verify_message}.",
            "Give the file of the right CA, renew the certificate, or pin it: --fingerprint, as dart server info says.",
        )
        return
    except (ssl.SSLError, OSError) as error:
        yield fault(
            "certificate",
            f"What answers at {host}:{port} does not speak TLS ({error}).",
            "Mind the port; a server that was started with --no-tls has a URL with http://",
        )
        return
    if server.fingerprint and found != server.fingerprint:
        yield fault(
            "certificate",
            f"The certificate's fingerprint is {found}, and {server.fingerprint} was expected.",
            "Compare with `dart server info` on the server's machine. If it says the same, the server has another "
            "certificate: use the new fingerprint. If not, somebody is in between.",
        )
        return
    yield fine("certificate", f"It is the one that was named (SHA-256 {found[:16]}...).")


def _answer(connection: HTTPConnection, url: str) -> Iterator[Finding]:
    """Whether it is a DART server that answers, what its clock says, and whether it takes work."""
    try:
        status, headers, _ = _get(connection, "/healthz")
        if headers.get("Server") != "DART":
            yield fault(
                "server",
                f"What answers at {url} is no DART server (it says {headers.get('Server') or f'status {status}'!r}).",
                "Mind host and port; `dart server info` on the server's machine prints the URL.",
            )
            return
        yield fine("server", f"A DART server answers at {url}.")
        yield from _clock(headers.get("Date", ""))
        status, _, body = _get(connection, "/readyz")
    except (OSError, HTTPException) as error:
        yield fault(
            "server",
            f"What is at {url} does not answer as a DART server ({type(error).__name__}: {error}).",
            "Mind http:// or https://, host and port; `dart server info` on the server's machine prints the URL.",
        )
        return
    finally:
        connection.close()
    if status == 200:
        yield fine("ready", "It takes work.")
    else:
        said = body.get("error", {}).get("message", f"status {status}")
        yield fault("ready", f"It takes no work: {said}", "Do what it says; its log has more.")


def _get(connection: HTTPConnection, path: str) -> tuple[int, dict[str, str], dict[str, Any]]:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read(64 * 1024)
    try:
        members = json.loads(body)
    except ValueError:
        members = {}
    return answer.status, dict(answer.getheaders()), members if isinstance(members, dict) else {}


def _clock(date: str) -> Iterator[Finding]:
    try:
        difference = time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return
    # The header has whole seconds.
    if abs(difference) <= CLOCK_SECONDS + 1:
        yield fine("clock", "This machine's clock and the server's agree.")
        return
    ahead = "ahead of" if difference > 0 else "behind"
    yield warning(
        "clock",
        f"This machine's clock is {abs(difference):,.0f} s {ahead} the server's: times in lists and logs mislead.",
        "Set both by NTP (timedatectl set-ntp true). Tasks and leases do not depend on it, certificates of a CA do.",
    )


def key(client: "Client") -> Iterator[Finding]:
    """Whether the key opens anything; versions of both sides."""
    from dart_client import DartError, UnauthorizedError  # noqa: PLC0415 - not for `--help`

    try:
        about = client.server()
    except UnauthorizedError as error:
        yield fault(
            "key",
            error.message,
            "Make another one: dart key add, on the server's machine; or use admin.key of its state directory.",
        )
        return
    except DartError as error:
        yield fault("key", error.message, "Do what it says.")
        return
    yield fine("key", "The server knows the key.")
    if about["version"] != __version__:
        yield warning(
            "version",
            f"The server is of version {about['version']}, this command of {__version__}.",
            "Install the same version here; neighbouring ones work together.",
        )
    else:
        yield fine("version", f"Server and command line are of version {__version__}.")


def agents_port(url: str, agent: dict[str, Any]) -> Iterator[Finding]:
    """The address that agents are told: whether it can be meant, and whether the broker answers there."""
    host, port = str(agent.get("host", "")), int(agent.get("port", 0))
    server = urlsplit(url).hostname or "localhost"
    if host.startswith(_LOOPBACK) and not server.startswith(_LOOPBACK):
        yield fault(
            "agents-port",
            f"Agents are told to connect to {host}, which is each machine itself.",
            "dart server start --agent-host 0.0.0.0 --advertise ADDRESS, with the address that they reach.",
        )
        return
    problem = port_problem(host, port)
    if problem is not None:
        yield fault(
            "agents-port",
            f"Agents are told {host}:{port}, and from here nobody answers there: {problem[0]}.",
            f"Open port {port} for TCP on the server's machine, or tell agents another address: --advertise.",
        )
        return
    try:
        with socket.create_connection((host, port), SECONDS) as connection:
            connection.settimeout(SECONDS)
            said = connection.recv(64)
    except OSError as error:
        said = b""
        yield skipped("agents-port", f"{host}:{port} took the connection and said nothing ({error}).")
        return
    if len(said) >= _GREETING_BYTES and said[0] == 0xFF and said[9] == 0x7F:
        yield fine("agents-port", f"The broker answers at {host}:{port}.")
    else:
        yield fault(
            "agents-port",
            f"What answers at {host}:{port} is no broker.",
            "Another program, or a proxy that speaks HTTP only, is in between; agents need plain TCP.",
        )
