"""The one socket to the broker: a fresh DEALER for each session, its descriptor, and fast notice of its end.

Nothing here decides: frames and ends of connections become events, the core's commands become calls. ZeroMQ's own
reconnecting is off, since a rebuilt connection must begin with HELLO.
"""

import logging
import random
import struct
from collections.abc import Callable
from typing import Final, NamedTuple

import zmq
from zmq.utils import z85

from dart.agent.events import Event, FrameArrived, LinkDown, LinkUp
from dart.errors import ConfigError
from dart.limits import Limits
from dart.wire import codec
from dart.wire.curve import KeyPair
from dart.wire.messages import PROTOCOL_VERSION, AgentMessage, Frame, Malformed, NextServer, Welcome

_LOG = logging.getLogger("dart.agent.link")
_NO_RECONNECT_MS: Final = 3_600_000
"""ZeroMQ tells that a connection failed only where it means to try again; we close it before that."""
_HANDSHAKE_MS: Final = 30_000
"""In any case; the core gives up before that."""
_COPY_BELOW_BYTES: Final = 64 * 1024
_SEND_HIGH_WATER_MARK: Final = 16_384
"""Messages that wait for the broker: more than credit allows to end, so that only one that does not read reaches it."""
_RECEIVE_HIGH_WATER_MARK: Final = 64
"""Messages that wait to be read; more stay in the connection, and the broker feels it."""
"""Smaller parts are copied into the socket, larger ones are lent to it."""
_MONITOR_HEAD: Final = struct.Struct("=HI")
_ENDS: Final = {
    zmq.EVENT_DISCONNECTED: "the connection was closed",
    zmq.EVENT_CLOSED: "the connection could not be made",
    zmq.EVENT_CONNECT_RETRIED: "the connection could not be made",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "the encrypted handshake failed: is this the server that the agent knows?",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "the handshake failed: no broker of this system answers there",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: (
        "the broker does not know this agent's key: it was revoked, or the server lost its state. Join again with a "
        "token (`dart agent token` on the server); results that wait stay in the spool"
    ),
}


class Endpoint(NamedTuple):
    """Where the broker is and how it is known."""

    url: str
    server_key: bytes
    """Z85 of its CURVE public key; empty: plain (`ipc://` and loopback only)."""

    @property
    def server(self) -> NextServer | None:
        """The same as the server would say it; None: it could not be said so."""
        port = self.url.rpartition(":")[2]
        if not self.server_key or not self.url.startswith("tcp:") or not port.isdigit():
            return None
        return NextServer(int(port), z85.decode(self.server_key))


class Link:
    """The socket of the present session.

    Args:
        find: Asked for the endpoint before each connection; raises ConfigError if there is none now.
        keys: The agent's key pair.
        limits: Bounds of frames.
        emit: Takes the events.
        watch: Called with a descriptor to be read from now on; `ready()` is to be called when it is readable.
        unwatch: Called with a descriptor that is about to be closed; it may be one that was never watched.
    """

    def __init__(
        self,
        *,
        find: Callable[[], Endpoint],
        keys: KeyPair,
        limits: Limits,
        emit: Callable[[Event], None],
        watch: Callable[[int], None],
        unwatch: Callable[[int], None],
    ) -> None:
        self._find = find
        self._keys = keys
        self._limits = limits
        self._emit = emit
        self._watch = watch
        self._unwatch = unwatch
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: zmq.Socket[bytes] | None = None
        self._opened = 0
        self._version = PROTOCOL_VERSION

    def connect(self) -> None:
        """Open a fresh socket; `LinkUp` or `LinkDown` follows at once."""
        self.disconnect(0.0)
        try:
            endpoint = self._find()
            self._open(endpoint)
        except ConfigError as error:
            self._end(error.message)
        except zmq.ZMQError as error:
            self._end(f"no socket to the broker: {error}")
        else:
            self._emit(LinkUp(random.random(), endpoint.server))  # noqa: S311 - spreads load, hides nothing

    def _open(self, endpoint: Endpoint) -> None:
        if not endpoint.server_key and not _is_local(endpoint.url):
            raise ConfigError(f"{endpoint.url} is another machine: a connection without encryption is refused.")
        self._version = PROTOCOL_VERSION
        self._socket = socket = self._context.socket(zmq.DEALER)
        socket.linger = 0
        socket.sndhwm = _SEND_HIGH_WATER_MARK
        socket.rcvhwm = _RECEIVE_HIGH_WATER_MARK
        socket.maxmsgsize = self._limits.frame_bytes_max
        socket.reconnect_ivl = _NO_RECONNECT_MS
        socket.handshake_ivl = _HANDSHAKE_MS
        socket.heartbeat_ivl = int(self._limits.heartbeat_seconds * 1000)
        socket.heartbeat_timeout = int(self._limits.silence_seconds * 1000)
        socket.ipv6 = True
        if endpoint.server_key:
            socket.curve_serverkey = endpoint.server_key
            socket.curve_publickey = z85.encode(self._keys.public)
            socket.curve_secretkey = z85.encode(self._keys.secret)
        self._opened += 1
        address = f"inproc://monitor-{self._opened}"
        events = 0
        for event in _ENDS:
            events |= event
        socket.monitor(address, events)
        self._monitor = monitor = self._context.socket(zmq.PAIR)
        monitor.linger = 0
        monitor.connect(address)
        socket.connect(endpoint.url)
        self._watch(int(socket.fd))
        self._watch(int(monitor.fd))

    def disconnect(self, flush_seconds: float) -> None:
        """Close the socket; what was sent has so long to get out (the process may end only after `close`)."""
        socket, self._socket = self._socket, None
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            self._unwatch(int(monitor.fd))
        if socket is not None:
            self._unwatch(int(socket.fd))
            socket.disable_monitor()
            socket.close(linger=int(flush_seconds * 1000))
        if monitor is not None:
            monitor.close(linger=0)

    def close(self) -> None:
        """End for good; waits for what `disconnect` gave time to."""
        self.disconnect(0.0)
        self._context.term()

    def send(self, sequence: int, message: AgentMessage) -> None:
        """Send in the present session; nothing happens without a socket, since the core hears of its end anyway."""
        socket = self._socket
        if socket is None:
            return
        parts = codec.encode(Frame(sequence, message), limits=self._limits, version=self._version)
        try:
            for part in parts[:-1]:
                socket.send(part, zmq.SNDMORE | zmq.DONTWAIT, copy=len(part) < _COPY_BELOW_BYTES)
            socket.send(parts[-1], zmq.DONTWAIT, copy=len(parts[-1]) < _COPY_BELOW_BYTES)
        except zmq.ZMQError as error:
            self._end(f"sending failed: {error}")

    def ready(self) -> bool:
        """Take what has arrived, at most a turn's worth.

        To be called when a descriptor is readable *and* after sending, since the descriptors tell only of changes.

        Returns:
            Whether there may be more: call again without waiting.
        """
        socket = self._socket
        taken = 0
        while socket is not None and socket is self._socket:
            if taken >= self._limits.drain_messages_max:
                return True
            try:
                if not _is_readable(socket):
                    break
                parts = socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.ZMQError as error:
                self._end(f"receiving failed: {error}")
                break
            taken += 1
            self._take([part.buffer for part in parts])
        self._look_for_the_end()
        return False

    def _take(self, parts: list[memoryview]) -> None:
        frame = codec.decode_from_broker(parts, self._limits)
        if isinstance(frame, Malformed):
            self._end(f"a frame of the broker cannot be read: {frame.text}")
        else:
            if isinstance(frame.message, Welcome):
                self._version = frame.message.version
            self._emit(FrameArrived(frame.sequence, frame.message))  # type: ignore[arg-type]  # the codec checked it

    def _look_for_the_end(self) -> None:
        monitor = self._monitor
        while monitor is not None and monitor is self._monitor and _is_readable(monitor):
            head, _ = monitor.recv_multipart(zmq.DONTWAIT)
            event, _ = _MONITOR_HEAD.unpack(head)
            if event in _ENDS:
                self._end(_ENDS[event])

    def _end(self, reason: str) -> None:
        self.disconnect(0.0)
        self._emit(LinkDown(reason, random.random()))  # noqa: S311 - spreads load, hides nothing


def _is_readable(socket: "zmq.Socket[bytes]") -> bool:
    """Whether there is a message. Asking costs a fraction of what `zmq.Again` costs, which most looks would end in."""
    return bool(int(socket.get(zmq.EVENTS)) & zmq.POLLIN)


def _is_local(url: str) -> bool:
    return url.startswith(("ipc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:"))
