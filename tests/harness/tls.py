"""TLS as old programs speak it: whoever answers is believed."""

import socket
import ssl
from urllib.parse import urlsplit


def trusting() -> ssl.SSLContext:
    """Looks at no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(url: str, *, seconds: float = 30.0) -> ssl.SSLSocket:
    """A connection for bytes by hand."""
    parts = urlsplit(url)
    return trusting().wrap_socket(socket.create_connection((parts.hostname, parts.port), timeout=seconds))
