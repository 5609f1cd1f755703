"""A way to a server over TCP that breaks once after so many bytes, and counts what goes through."""

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_PIECE_BYTES = 64 * 1024


class CuttingProxy:
    """Listens on a port of the system's choice; both ends of a connection are closed when it is cut.

    Args:
        url: Of the server.
        after_bytes: How many bytes in one direction may pass over one connection before it is cut.
        bytes_per_second: How fast each direction is.
    """

    def __init__(self, url: str, *, after_bytes: int, bytes_per_second: float = float("inf")) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname, parts.port)
        self._after_bytes = after_bytes
        self._bytes_per_second = bytes_per_second
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._armed = True
        self.cuts = 0
        self.sent_up = 0
        self.sent_down = 0
        self.url = f"{parts.scheme}://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def cut_again(self) -> None:
        """Break once more."""
        self._armed = True

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            for source, sink, up in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._carry, args=(source, sink, up), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                sink.sendall(piece)
                time.sleep(len(piece) / self._bytes_per_second)
                passed += len(piece)
                if up:
                    self.sent_up += len(piece)
                else:
                    self.sent_down += len(piece)
                if self._armed and passed >= self._after_bytes:
                    self._armed = False
                    self.cuts += 1
                    break
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
