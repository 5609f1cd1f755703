"""The SDK through a unix socket, as a server behind a local proxy is reached."""

import http.server
import json
import socketserver
import threading
from pathlib import Path

import pytest

import dart_client
from dart_client import Client


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers everything with what it was asked, or with no JSON at all."""

    def do_GET(self):
        known = self.headers["Authorization"] == "Bearer k"
        body = json.dumps({"workers": [{"name": self.path}]}).encode() if known else b"<html>"
        self.send_response(200)
        self.send_header("Content-Type", "application/json" if known else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def socket_path(tmp_path: Path):
    path = tmp_path / "s"
    with socketserver.ThreadingUnixStreamServer(str(path), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def test_a_unix_socket_needs_no_certificate(socket_path):
    """Only this machine reaches it."""
    with Client(f"unix:{socket_path}", "k") as client:
        assert client.workers() == [{"name": "/worker/"}]


def test_an_answer_that_no_dart_server_sends_is_told(socket_path):
    """Something else listens there: the error doubts the URL."""
    with Client(f"unix:{socket_path}", "other") as client, pytest.raises(dart_client.DartError, match="URL"):
        client.workers()


def test_a_socket_that_is_not_there_is_unreachable(tmp_path):
    """The error names it."""
    with Client(f"unix:{tmp_path}/none", "k", timeout=0.2) as client, pytest.raises(dart_client.ServerUnreachableError):
        client.workers()
