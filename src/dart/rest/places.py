"""The place of one connection: what it does and since when, so that none dawdles and strangers give way."""

import asyncio
import socket
import struct
from contextlib import suppress

from aiohttp import web

from dart.limits import Limits

TCP_INFO_BYTES_ACKED = 120
"""Where `struct tcp_info` of Linux has the bytes that the peer has acknowledged, 64 bits."""
LINGER_SECONDS = 2.0
"""How long the rest of a refused body is read away, so that the refusal is not lost in a reset."""


class Place:
    """One accepted connection, from the first packet on."""

    def __init__(self, sock: socket.socket, now: float) -> None:
        self.sock = sock
        """The event loop's to read, write and close."""
        self.task: asyncio.Task[None] | None = None
        self.connection: web.RequestHandler | None = None
        self.waiting_since: float | None = now
        """No request since then; None: one is being answered."""
        self.head_since: float | None = now
        """A request head (or handshake) is incomplete since then; None: nothing has begun."""
        self.stalled_since: float | None = None
        """The peer has taken next to nothing of the answer since then, though some waits."""
        self.taken_bytes = 0
        """What it had taken then."""
        self.stranger_since: float | None = None
        """The head is complete and had no key, which is looked for in the body since then."""

    @property
    def gives_way_since(self) -> float | None:
        """Since when somebody else has the better right to this place; None: it serves a known caller."""
        return self.stranger_since if self.waiting_since is None else self.waiting_since

    def stall(self, now: float) -> None:
        """The peer does not read fast enough."""
        self.stalled_since = now
        self.taken_bytes = self._taken_bytes()

    def too_long(self, now: float, limits: Limits) -> bool:
        """Whether it dawdles: with a request head, with reading an answer, or with leaving after the last one."""
        if self.stalled_since is not None:
            # A byte now and then is no progress: it would keep the answer and the place for ever.
            enough = max(1.0, limits.request_seconds_max * limits.slow_bytes_per_second_min)
            if self._taken_bytes() - self.taken_bytes >= enough:
                self.stall(now)
        if self.waiting_since is not None and now - self.waiting_since > limits.keepalive_seconds + LINGER_SECONDS:
            return True
        since = self.stalled_since if self.head_since is None else self.head_since
        return since is not None and now - since > limits.request_seconds_max

    def _taken_bytes(self) -> int:
        """What the peer has acknowledged: the only measure that buffers of TLS and of the loop do not blur.

        A unix socket has no such number, but no TLS either: there it is what the loop has got rid of.
        """
        if self.sock.family == socket.AF_UNIX:
            transport = None if self.connection is None else self.connection.transport
            return 0 if transport is None else -transport.get_write_buffer_size()
        try:
            told = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES_ACKED + 8)
            taken: int = struct.unpack_from("=Q", told, TCP_INFO_BYTES_ACKED)[0]
        except (OSError, struct.error):  # closed
            return 0
        return taken

    def abort(self) -> None:
        """Cut it."""
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abort()
        elif self.task is not None:
            # uvloop keeps the descriptor of a handshake that is merely cancelled until it would have timed out.
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
            self.task.cancel()
