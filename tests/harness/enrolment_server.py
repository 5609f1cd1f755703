"""The REST interface of a server as far as an agent asks it to enrol, with its state directory."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

from dart.agent import enrol
from dart.certificates import own_certificate, tls_context
from dart.wire import curve

SERVER_KEY = curve.KeyPair.make().public_text
GOOD = {"agent_id": "a", "agent": "tcp://127.0.0.1:7778", "server_public_key": SERVER_KEY, "store_id": "5" * 32}


class FakeServer:
    """The REST interface as far as an agent asks it, with TLS."""

    def __init__(self, state: Path, *, tls: bool) -> None:
        self.answer: tuple[int, bytes] = (200, json.dumps(GOOD).encode())
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.asked.append((self.path, self.headers["Authorization"], body))
                status, content = fake.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        fingerprint = ""
        if tls:
            context, fingerprint = tls_context(*own_certificate(state, []))
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        scheme = "https" if tls else "http"
        self.members = {
            "url": f"{scheme}://127.0.0.1:{self.server.server_address[1]}",
            "fingerprint": fingerprint,
            "agents_url": GOOD["agent"],
            "server_public_key": SERVER_KEY,
            "pid": 1,
        }
        self.state = state
        enrol.write_private(state / "admin.key", "dart_secret\n")
        self.announce()

    def announce(self, **changes: object) -> None:
        enrol.write_private(self.state / "server.json", json.dumps({**self.members, **changes}))


@contextlib.contextmanager
def fake_server(state: Path, *, tls: bool = True) -> Iterator[FakeServer]:
    state.mkdir(mode=0o700)
    fake = FakeServer(state, tls=tls)
    thread = threading.Thread(target=fake.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield fake
    finally:
        fake.server.shutdown()
        thread.join()
        fake.server.server_close()
