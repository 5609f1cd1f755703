"""What connections on the agents' port may send before a message is complete; who sends more, or says nothing, is cut.

libzmq keeps the beginning of a message until the rest has come: of strangers in the middle of their handshake too, of
any number of parts, and a ROUTER can drop nobody. So its connections are watched from the side: the kernel counts what
each has received, and shutting the TCP connection down is as good as its peer's hanging up.
"""

import asyncio
import fcntl
import logging
import math
import os
import socket
import struct
import termios
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import zmq
from zmq.utils.monitor import parse_monitor_message

from dart.complaints import Complaints
from dart.limits import MIB, Limits

LOOK_SECONDS: Final = 0.1
"""Between looks while there are strangers, or connections to be cut."""
CALM_SECONDS: Final = 0.25
"""Between looks while there are none: then who connects brings the next one."""
STRANGERS_A_LOOK: Final = 2_000
KNOWN_A_LOOK: Final = 200
"""At most; each costs two microseconds."""
KNOWN_A_LOOK_MIN: Final = 20
"""Or all, where there are no more; of many so large a part that a second is enough for all."""
HANDSHAKE_SECONDS: Final = 5.0
"""For the handshake. Time in which something of it waits to be read by us, or in which we did not look, is not counted:
when a thousand agents come back at once, giving up those that are not done in time would only make them begin anew."""
HANDSHAKE_BYTES: Final = 532
"""A connection that has sent less has not ended its handshake: CURVE's greeting, HELLO and shortest INITIATE."""
SILENCE_SECONDS_MIN: Final = 10.0
"""For the first message, whatever `silence_seconds` says: CURVE needs some on slow machines."""
ENDED_SECONDS: Final = 5.0
"""How long a connection lasts after its session: its agent hears why, and makes a new one."""
_INFO_RECEIVED: Final = 128
"""Where `struct tcp_info` of Linux has the bytes received, 64 bits."""
_NOTHING: Final = bytes(4)
_OVERHEAD_BYTES: Final = MIB
"""Of ZMTP and CURVE, generously."""

log = logging.getLogger("dart.broker.intake")


class Speaker(Protocol):
    """Who has said something: a peer of the transport."""

    messages: int
    """Complete ones, so far."""


@dataclass(slots=True)
class _Stranger:
    """A connection from which no message has come."""

    since: float
    """On the clock of `Intake.fair_seconds`; later by what it had to wait for us."""
    looked_at: float
    received: int = 0


@dataclass(slots=True)
class _Known:
    """A connection from which one has."""

    speaker: Speaker
    messages: int = -1
    received: int = 0
    """When it had said so many messages."""


class Intake:
    """Watches the connections of one ROUTER.

    Args:
        context: The socket's.
        router: Not yet bound.
        limits: Of messages; `strangers_bytes_max` for all strangers together.
    """

    def __init__(self, context: "zmq.Context[Any]", router: "zmq.Socket[bytes]", limits: Limits) -> None:
        self._limits = limits
        self._router = router
        self._complaints = Complaints(log)
        self._strangers: OrderedDict[int, _Stranger] = OrderedDict()
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._ended: deque[tuple[float, int, Speaker, Callable[[], object]]] = deque()
        self._strangers_bytes = 0
        self._looked_at = 0.0
        self._pace = 0.0
        """When the next look is due, after the one before."""
        self.fair_seconds = 0.0
        """A clock that stands still while the loop, and with it everybody's handshake, is held up."""
        self._silence_seconds = max(limits.silence_seconds, SILENCE_SECONDS_MIN)
        self._message_bytes_max = (
            limits.value_bytes_max + limits.batch_bytes_max + limits.header_bytes_max + _OVERHEAD_BYTES
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.on_look: Callable[[], None] = lambda: None
        """Called with each look, so at most `LOOK_SECONDS` after somebody connected."""
        self.judges = True
        """False while the transport does not read: then silence and full pipes are nobody's fault."""
        self.ports: set[int] = set()
        """Where the router listens."""
        address = f"inproc://dart.intake.{id(self)}"
        router.monitor(address, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        self._events = context.socket(zmq.PAIR)
        self._events.setsockopt(zmq.LINGER, 0)
        # libzmq's thread would wait for us where the queue is full.
        self._events.setsockopt(zmq.RCVHWM, 0)
        self._events.connect(address)

    def __len__(self) -> int:
        """Connections from which nothing has come yet."""
        return len(self._strangers)

    @property
    def cut(self) -> int:
        """Connections cut for what they sent or did not say, so far."""
        return self._complaints.total

    def start(self) -> None:
        """Watch from the running loop."""
        self._loop = asyncio.get_running_loop()
        self._complaints.later = self._loop.call_later
        self._read_events()  # a socket that was read to its end says when more comes
        self._look_after(CALM_SECONDS)

    def close(self) -> None:
        """Watch no more; before the router is closed. Harmless when repeated."""
        if not self._events.closed:
            if self._loop is not None and self._timer is not None:
                self._timer.cancel()
                self._loop.remove_reader(self._events.fileno())
            self._complaints.close()
            self._router.disable_monitor()
            self._events.close()

    def heard(self, descriptor: int, speaker: Speaker) -> None:
        """The first message of a connection came."""
        # That it was accepted is in the queue before anything it says: so it is no stranger from now on.
        self._read_events()
        self._forget_stranger(descriptor)
        self._known[descriptor] = _Known(speaker)

    def end(self, descriptor: int, speaker: Speaker, then: Callable[[], object]) -> None:
        """Its session is over: the connection is cut in a while, and `then` called."""
        if self._loop is not None:
            self._ended.append((self._loop.time() + ENDED_SECONDS, descriptor, speaker, then))

    def _read_events(self) -> None:
        # Asked, for `zmq.Again` costs ten times as much, and mostly there is nothing.
        while not self._events.closed and self._events.get(zmq.EVENTS) & zmq.POLLIN:
            told = parse_monitor_message(self._events.recv_multipart(zmq.NOBLOCK))
            descriptor = told["value"]
            self._forget_stranger(descriptor)
            self._known.pop(descriptor, None)
            if told["event"] == zmq.EVENT_ACCEPTED and self._loop is not None:
                self._strangers[descriptor] = _Stranger(self.fair_seconds, self.fair_seconds)

    def _forget_stranger(self, descriptor: int) -> None:
        stranger = self._strangers.pop(descriptor, None)
        if stranger is not None:
            self._strangers_bytes -= stranger.received

    def _look_after(self, seconds: float) -> None:
        """Look next then. In a calm the first connection brings that forward, so that nobody has to look often."""
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        if seconds != self._pace:
            self._pace = seconds
            if seconds == CALM_SECONDS:
                self._loop.add_reader(self._events.fileno(), self._look_after, LOOK_SECONDS)
            else:
                self._loop.remove_reader(self._events.fileno())
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        if self._loop is None or self._events.closed:
            return
        self._read_events()
        now = self._loop.time()
        self.fair_seconds += min(now - self._looked_at, 2 * self._pace)
        self._looked_at = now
        self._judge_all(now)
        self._look_after(LOOK_SECONDS if self._strangers or self._ended else CALM_SECONDS)
        self.on_look()

    def _judge_all(self, now: float) -> None:
        self._cut_ended(now)
        for _ in range(min(len(self._strangers), STRANGERS_A_LOOK)):
            descriptor = next(iter(self._strangers))
            self._strangers.move_to_end(descriptor)
            self._judge_stranger(descriptor)
        while self._strangers_bytes > self._limits.strangers_bytes_max:
            largest = max(self._strangers, key=lambda descriptor: self._strangers[descriptor].received)
            self._dismiss(largest, "strangers sent more than strangers_bytes_max together, and it the most")
        if self.judges:
            wanted = max(KNOWN_A_LOOK_MIN, math.ceil(len(self._known) * self._pace))
            for _ in range(min(wanted, len(self._known), KNOWN_A_LOOK)):
                descriptor = next(iter(self._known))
                self._known.move_to_end(descriptor)
                self._judge_known(descriptor)

    def _cut_ended(self, now: float) -> None:
        while self._ended and self._ended[0][0] <= now:
            _, descriptor, speaker, then = self._ended.popleft()
            known = self._known.get(descriptor)
            if known is not None and known.speaker is speaker:
                del self._known[descriptor]
                self._cut(descriptor)
            then()

    def _judge_stranger(self, descriptor: int) -> None:
        stranger = self._strangers[descriptor]
        if _waits_for_us(descriptor):
            stranger.since += self.fair_seconds - stranger.looked_at
        stranger.looked_at = self.fair_seconds
        silent = self.fair_seconds - stranger.since
        received = _received(descriptor)
        self._strangers_bytes += received - stranger.received
        stranger.received = received
        if received > self._limits.header_bytes_max + _OVERHEAD_BYTES:
            self._dismiss(descriptor, f"it sent {received} bytes and no message")
        elif received < HANDSHAKE_BYTES and silent > HANDSHAKE_SECONDS:
            self._forget_stranger(descriptor)
            self._cut(descriptor)
        elif self.judges and silent > self._silence_seconds:
            self._dismiss(descriptor, f"it said nothing for {self._silence_seconds:g} s")

    def _judge_known(self, descriptor: int) -> None:
        known = self._known[descriptor]
        received = _received(descriptor)
        if known.messages != known.speaker.messages:
            known.messages, known.received = known.speaker.messages, received
        elif received - known.received > self._message_bytes_max:
            self._dismiss(descriptor, f"it sent {received - known.received} bytes of one message")

    def _dismiss(self, descriptor: int, why: str) -> None:
        self._forget_stranger(descriptor)
        self._known.pop(descriptor, None)
        address = self._cut(descriptor)
        if address:
            self._complaints.warn(f"A connection of {address} to the agents' port was cut: {why}.")

    def _cut(self, descriptor: int) -> str:
        """Whose connection it was; empty: it is none of ours any more."""
        try:
            with socket.socket(fileno=os.dup(descriptor)) as connection:
                if connection.getsockname()[1] not in self.ports:
                    return ""
                address = str(connection.getpeername()[0])
                # Closed with a reset: a peer that is still sending would otherwise wait for a window for minutes.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RDWR)
        except (OSError, IndexError, TypeError):  # closed, or something else by now
            return ""
        return address


def _waits_for_us(descriptor: int) -> bool:
    """Whether there is something of this connection that libzmq has not read yet."""
    try:
        return bool(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, _NOTHING))[0])
    except OSError:
        return False


def _received(descriptor: int) -> int:
    """Bytes that this connection has received; 0: it is no connection any more."""
    try:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=descriptor)
        try:
            told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_RECEIVED + 8)
        finally:
            connection.detach()
        received: int = struct.unpack_from("=Q", told, _INFO_RECEIVED)[0]
    except (OSError, struct.error):
        return 0
    return received
