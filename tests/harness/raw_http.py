"""HTTP by hand: bytes that no client library would send, and what comes back."""

import json
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from harness.tls import connect


@dataclass
class Reply:
    """One answer."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def members(self) -> Any:
        """Of a JSON body."""
        return json.loads(self.body)


def read_reply(stream: ssl.SSLSocket) -> Reply | None:
    """The next answer; None: the connection ended instead."""
    received = b""
    try:
        while b"\r\n\r\n" not in received:
            piece = stream.recv(65_536)
            if not piece:
                return None
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", "0"))
        while len(body) < length and (piece := stream.recv(65_536)):
            body += piece
    except (ConnectionError, ssl.SSLError):
        return None
    return Reply(int(first.split(" ")[1]), headers, body[:length])


def exchange(url: str, sent: bytes) -> Reply | None:
    """Send these bytes over a new connection, as far as they are taken, and read one answer."""
    with connect(url) as stream:
        with suppress(ConnectionError, ssl.SSLError):
            # It may be refused before all was sent; the answer says so.
            stream.sendall(sent)
        return read_reply(stream)
