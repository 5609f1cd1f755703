"""The pool of connections to one server: pinned, and breakable from another thread while they wait."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import weakref
from urllib.parse import urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from dart_client.discovery import Server
from dart_client.errors import ConfigError

CONNECT_SECONDS = 5.0
"""One attempt to connect, TLS included."""
CONNECTIONS_KEPT = 8


class Live:
    """The connections that there are, until all of them are broken; then no new one comes into use."""

    def __init__(self) -> None:
        self.broken = threading.Event()
        self._lock = threading.Lock()
        self._connections: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()

    def add(self, connection: HTTPConnection) -> None:
        """Known from its very beginning, before it has a socket."""
        with self._lock:
            self._connections.add(connection)

    def refuse_if_broken(self, connection: HTTPConnection) -> None:
        """One that was being made while the others were broken must not begin to wait for anything."""
        if self.broken.is_set():
            connection.close()
            raise urllib3.exceptions.NewConnectionError(connection, "the client is closed")

    def break_all(self) -> None:
        """End whatever waits on any of them."""
        self.broken.set()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            held = getattr(connection, "sock", None)
            if isinstance(held, socket.socket):
                try:
                    # Past the TLS object, which another thread may be reading through just now.
                    socket.socket.shutdown(held, socket.SHUT_RDWR)
                except OSError:
                    continue


def make_pool(server: Server, live: Live, *, timeout: float) -> urllib3.HTTPConnectionPool:
    """A pool for this server.

    Raises:
        ConfigError: The file of trusted certificates is not there.
    """
    parts = urlsplit(server.url)
    limit = urllib3.Timeout(connect=CONNECT_SECONDS, read=timeout)
    if parts.scheme in {"http", "unix"}:
        host = parts.hostname or "localhost"
        plain = urllib3.HTTPConnectionPool(host, parts.port, timeout=limit, maxsize=CONNECTIONS_KEPT, retries=False)
        plain.ConnectionCls = _plain(live, parts.path if parts.scheme == "unix" else "")
        return plain
    if server.ca and not os.path.isfile(server.ca):  # noqa: PTH113 - a path as the person wrote it
        raise ConfigError(f"The file of trusted certificates {server.ca!r} is not there.")
    pinned = bool(server.fingerprint)
    encrypted = urllib3.HTTPSConnectionPool(
        parts.hostname or "",
        parts.port or 443,
        timeout=limit,
        maxsize=CONNECTIONS_KEPT,
        retries=False,
        # A pinned certificate is the server; its names and dates say nothing more.
        cert_reqs="CERT_NONE" if pinned else "CERT_REQUIRED",
        assert_fingerprint=server.fingerprint or None,
        assert_hostname=False if pinned else None,
        ca_certs=None if pinned else server.ca,
        ssl_minimum_version=ssl.TLSVersion.TLSv1_2,
    )
    encrypted.ConnectionCls = _encrypted(live)
    return encrypted


def _encrypted(live: Live) -> type[HTTPSConnection]:
    class Encrypted(HTTPSConnection):
        def connect(self) -> None:
            live.add(self)
            super().connect()
            live.refuse_if_broken(self)

    return Encrypted


def _plain(live: Live, socket_path: str) -> type[HTTPConnection]:
    class Plain(HTTPConnection):
        def connect(self) -> None:
            live.add(self)
            super().connect()
            live.refuse_if_broken(self)

    class Unix(Plain):
        def _new_conn(self) -> socket.socket:
            unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                unix.settimeout(CONNECT_SECONDS)
                unix.connect(socket_path)
            except OSError as error:
                unix.close()
                raise urllib3.exceptions.NewConnectionError(self, f"{socket_path}: {error}") from error
            return unix

    return Unix if socket_path else Plain
