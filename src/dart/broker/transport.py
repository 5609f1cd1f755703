"""The one ROUTER socket: frames of agents in, frames to agents out; bytes become messages here and nowhere else.

The socket is read through its descriptor, which is edge-triggered: after every drain and every send it is looked
at again. Who speaks is known from the handshake (`admission.py`), never from what is said.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import zmq

from dart.broker.admission import domain_of
from dart.broker.core.events import Event, FrameArrived, SessionLost
from dart.broker.intake import Intake
from dart.broker.listening import ListeningSocket
from dart.complaints import Complaints
from dart.ids import AgentId, SessionId
from dart.limits import Limits
from dart.wire import codec
from dart.wire.curve import KeyPair, agent_id
from dart.wire.messages import (
    PROTOCOL_VERSION,
    AgentMessage,
    BrokerMessage,
    Buffer,
    Error,
    ErrorCode,
    Frame,
    Malformed,
    Welcome,
)

HANDSHAKE_MILLISECONDS = 30_000
"""In any case; `intake.py` cuts before that who is slow while we are not."""
SEND_HIGH_WATER_MARK = 16_384
"""Messages on their way to one agent: more than credit allows (slots and prefetch, each with its ACK), so that only
an agent that does not read reaches it."""
RECEIVE_HIGH_WATER_MARK = 256
"""Messages of one agent that wait to be read; more stay in its connection, and it feels it."""
CONNECTIONS_PER_AGENT_MAX = 8
"""Remembered of one key: more push out its own, never those of others. An honest agent has one, and some that ended."""
SMALL_BYTES = 64 * 1024
"""Payload frames below are copied: they would pin the memory they came in, and lending costs more than copying."""
DRAIN_SECONDS = 0.005
"""One drain ends here even when more waits: the loop belongs to others too."""
REPEAT_SECONDS = 1.0
"""An agent that goes on after its session ended is told so at most this often."""

log = logging.getLogger("dart.broker.transport")


@dataclass(slots=True)
class Peer:
    """One connection, as the socket names it."""

    routing_id: bytes
    session: SessionId
    agent_id: AgentId
    listener: str = ""
    """The label of the key that it met; see `bind_next`."""
    ended: bool = False
    complained_at: float = 0.0
    version: int = PROTOCOL_VERSION
    """What it is spoken to in: our own until WELCOME chose one."""
    descriptor: int = -1
    messages: int = 0
    """Taken from it, readable or not."""


class Transport:
    """Speaks frames with agents.

    Args:
        context: Shared with `Admission`, which must exist already.
        keys: The broker's CURVE pair.
        limits: Bounds of frames and drains.
        deliver: Called with what one drain brought.

    Attributes:
        on_moved: Called when an agent comes by the next key.
        intake: Looks after the connections.
    """

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        *,
        keys: KeyPair,
        limits: Limits,
        deliver: Callable[[Sequence[Event]], None],
    ) -> None:
        self._limits = limits
        self._deliver = deliver
        self._complaints = Complaints(log)
        self._peers: dict[bytes, Peer] = {}
        self._connections: dict[AgentId, list[Peer]] = {}
        """Those of `_peers` by key, oldest first."""
        self._sessions: dict[SessionId, Peer] = {}
        self._last_session = 0
        self._shut_out: dict[AgentId, None] = {}  # the latest; connections of those before have ended long ago
        self._next_label = ""
        self.on_moved: Callable[[AgentId], None] = lambda _agent: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reading = False
        self._look_is_due = False
        self._listening: list[ListeningSocket] = []
        self._is_shut = False
        self._socket = context.socket(zmq.ROUTER)
        self._configure(keys)
        self.intake = Intake(context, self._socket, limits)

    def _configure(self, keys: KeyPair) -> None:
        # Enough to find dead connections of no session; of others the core knows by its own heartbeats.
        silence = max(1, int(self._limits.silence_seconds * 1000))
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.ROUTER_MANDATORY, 1),
            (zmq.MAXMSGSIZE, self._limits.frame_bytes_max),
            (zmq.SNDHWM, SEND_HIGH_WATER_MARK),
            (zmq.RCVHWM, RECEIVE_HIGH_WATER_MARK),
            (zmq.HANDSHAKE_IVL, HANDSHAKE_MILLISECONDS),
            (zmq.HEARTBEAT_IVL, silence),
            (zmq.HEARTBEAT_TIMEOUT, silence),
            (zmq.TCP_KEEPALIVE, 1),
            (zmq.TCP_KEEPALIVE_IDLE, 60),
            (zmq.CURVE_SERVER, 1),
            (zmq.ZAP_ENFORCE_DOMAIN, 1),
        ):
            self._socket.setsockopt(option, value)
        self._take_key(keys, "")

    def _take_key(self, keys: KeyPair, label: str) -> None:
        """Use this key for what is bound from now on; what is bound already keeps its own."""
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        self._socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        self._socket.setsockopt(zmq.ZAP_DOMAIN, domain_of(label))

    @property
    def malformed(self) -> int:
        """Frames that could not be read, so far."""
        return self._complaints.total

    def bind(self, host: str, port: int, *, backlog: int = 1024) -> int:
        """Listen; port 0 lets the system choose. Tells the port. Raises `OSError` and `zmq.ZMQError`."""
        listening = ListeningSocket(host, port, backlog=backlog)
        if self._is_shut:
            listening.shut()
        self._listening.append(listening)
        self._socket.setsockopt(zmq.IPV6, int(listening.is_ipv6))
        self._socket.setsockopt(zmq.USE_FD, listening.descriptor())
        self._socket.bind(listening.endpoint)
        self.intake.ports.add(listening.port)
        return listening.port

    def shut(self) -> None:
        """Let no new connections in; those that are there go on. Raises `OSError` where that is not possible."""
        for listening in self._listening:
            listening.shut()
        self._is_shut = True

    def open(self) -> None:
        """Let them in again."""
        self._is_shut = False
        for listening in self._listening:
            listening.open()

    def bind_next(self, keys: KeyPair, host: str, port: int, *, backlog: int = 1024) -> int:
        """Listen at a further port, where another key of the broker counts. Raises as `bind`."""
        label = agent_id(keys.public)[:16]
        self._take_key(keys, label)
        found = self.bind(host, port, backlog=backlog)
        self._next_label = label
        return found

    def end_former(self) -> None:
        """Listen only where the next key counts; who came by the former one is cut off and may come by the next."""
        for listening in self._listening[:-1]:
            self._socket.unbind(listening.endpoint)
            listening.close()
            self.intake.ports.discard(listening.port)
        del self._listening[:-1]
        left = [peer for peer in self._sessions.values() if peer.listener != self._next_label]
        for peer in left:
            self.end(peer.session)
        if left:
            self._deliver([SessionLost(peer.session, "the former key of the broker is over") for peer in left])

    def start(self) -> None:
        """Read from the running loop from now on."""
        self._loop = asyncio.get_running_loop()
        self._complaints.later = self._loop.call_later
        self.intake.start()
        self.resume()

    def pause(self) -> None:
        """Leave what comes in the socket: the agents feel it and wait."""
        if self._loop is not None and self._reading:
            self._loop.remove_reader(self._socket.fileno())
        self._reading = self.intake.judges = False

    def resume(self) -> None:
        """Read again; harmless when reading."""
        if self._loop is not None and not self._reading and not self._socket.closed:
            self._reading = self.intake.judges = True
            self._loop.add_reader(self._socket.fileno(), self._drain)
            self._look_soon()

    def close(self, *, linger_seconds: float = 0.0) -> None:
        """Leave, giving what is on its way so long; harmless when repeated."""
        if not self._socket.closed:
            self.pause()
            self._complaints.close()
            self.intake.close()
            self._socket.close(linger=int(linger_seconds * 1000))
            for listening in self._listening:
                listening.close()

    # ---- out ----

    def send(self, session: SessionId, sequence: int, message: BrokerMessage) -> str:
        """Hand a message to the socket. Tells why that failed; empty: it did not."""
        peer = self._sessions.get(session)
        if peer is None:
            return "the session is over"
        if isinstance(message, Welcome):
            peer.version = message.version
        return self._send(peer, Frame(sequence, message))

    def end(self, session: SessionId) -> None:
        """Forget this session: what its connection still sends is answered by SAY_HELLO, and in a while it is cut."""
        peer = self._sessions.pop(session, None)
        if peer is not None:
            peer.ended = True
            self.intake.end(peer.descriptor, peer, partial(self._forget_ended, peer))

    def end_all(self, why: str) -> None:
        """Ask all agents to begin anew."""
        for peer in list(self._sessions.values()):
            self._send(peer, Frame(0, Error(ErrorCode.SAY_HELLO, why)))
            self.end(peer.session)

    def shut_out(self, agent_id: AgentId) -> None:
        """Say REVOKED on all connections of this agent, and read nothing of them any more."""
        self._shut_out[agent_id] = None
        if len(self._shut_out) > self._limits.revoked_agents_max:
            del self._shut_out[next(iter(self._shut_out))]
        for peer in self._connections.get(agent_id, ()):
            self.end(peer.session)
            self._repeat(peer)

    def _send(self, peer: Peer, frame: Frame) -> str:
        try:
            parts = codec.encode(frame, limits=self._limits, version=peer.version)
        except Exception:  # one message that cannot be made must not hold up all others
            log.exception("A %s could not be made into a frame.", type(frame.message).__name__)
            return "a message for it could not be made"
        try:
            self._socket.send(peer.routing_id, zmq.SNDMORE | zmq.NOBLOCK)
            for part in parts[:-1]:
                self._socket.send(part, zmq.SNDMORE | zmq.NOBLOCK, copy=len(part) < SMALL_BYTES)
            self._socket.send(parts[-1], zmq.NOBLOCK, copy=len(parts[-1]) < SMALL_BYTES)
        except zmq.Again:
            return "it does not read what it is sent"
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                log.warning("Sending to an agent failed: %s.", error)
            return "its connection is gone"
        finally:
            self._look_soon()
        return ""

    # ---- in ----

    def _look_soon(self) -> None:
        if self._loop is not None and self._reading and not self._look_is_due:
            self._look_is_due = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._look_is_due = False
        if self._reading and int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN:
            self._drain()

    def _drain(self) -> None:
        events: list[Event] = []
        ends_at = time.perf_counter() + DRAIN_SECONDS
        for _ in range(self._limits.drain_messages_max):
            try:
                routing_id = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            if (event := self._take(routing_id)) is not None:
                events.append(event)
            if time.perf_counter() >= ends_at:
                break
        if events:
            self._deliver(events)
        self._look_soon()

    def _take(self, routing_id: bytes) -> Event | None:
        """Read the rest of a message and make an event of it; None if it is to be dropped."""
        frames = [self._socket.recv(zmq.NOBLOCK, copy=False)]
        while frames[-1].more:
            frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            if len(frames) <= self._limits.frames_per_message_max + 1:
                frames.append(frame)
            else:  # one too many is kept, for the codec to refuse
                frames[-1] = frame
        peer = self._peers.get(routing_id)
        if peer is None:
            origin = _origin(frames[0])
            if origin is None:  # cannot happen while ZAP is enforced
                self._complaints.warn("A frame of a connection without identity was dropped.")
                return None
            peer = self._meet(routing_id, *origin)
        peer.messages += 1
        if peer.ended:
            self._repeat(peer)
            return None
        parts: list[Buffer] = [frame.bytes if len(frame) < SMALL_BYTES else frame.buffer for frame in frames]
        frame_or_fault = codec.decode_from_agent(parts, self._limits)
        if isinstance(frame_or_fault, Malformed):
            return self._refuse(peer, frame_or_fault)
        message = cast("AgentMessage", frame_or_fault.message)  # the codec takes nothing else from an agent
        return FrameArrived(peer.session, peer.agent_id, frame_or_fault.sequence, message)

    def _meet(self, routing_id: bytes, agent_id: AgentId, label: str, descriptor: int) -> Peer:
        """The first frame of a connection came."""
        peer = self._remember(Peer(routing_id, self._next_session(), agent_id, label, descriptor=descriptor))
        self.intake.heard(descriptor, peer)
        if agent_id in self._shut_out:
            self.end(peer.session)
        elif label and label == self._next_label:
            self.on_moved(agent_id)
        return peer

    def _next_session(self) -> SessionId:
        self._last_session += 1
        return SessionId(self._last_session)

    def _remember(self, peer: Peer) -> Peer:
        # A ROUTER does not tell when a connection is gone: the table is bounded, ended ones go first. An agent that
        # is forgotten by mistake is a stranger at its next frame and says HELLO again.
        own = self._connections.setdefault(peer.agent_id, [])
        if len(own) >= CONNECTIONS_PER_AGENT_MAX:
            self._forget(own[0], "its agent has too many connections")
        elif len(self._peers) >= 2 * self._limits.agents_max:
            oldest = next((old for old in self._peers.values() if old.ended), None) or next(iter(self._peers.values()))
            self._forget(oldest, "there are too many connections")
        self._peers[peer.routing_id] = self._sessions[peer.session] = peer
        self._connections.setdefault(peer.agent_id, own).append(peer)
        return peer

    def _forget(self, peer: Peer, why: str) -> None:
        del self._peers[peer.routing_id]
        own = self._connections[peer.agent_id]
        own.remove(peer)
        if not own:
            del self._connections[peer.agent_id]
        if not peer.ended:
            self.end(peer.session)
            self._deliver([SessionLost(peer.session, why)])

    def _forget_ended(self, peer: Peer) -> None:
        if self._peers.get(peer.routing_id) is peer:
            self._forget(peer, "its session has ended")

    def _refuse(self, peer: Peer, fault: Malformed) -> SessionLost:
        self._complaints.warn(f"A frame of agent {peer.agent_id[:16]} could not be read: {fault.text}", peer.agent_id)
        self._send(peer, Frame(0, Error(fault.code, fault.text)))
        self.end(peer.session)
        return SessionLost(peer.session, f"it sent what cannot be read: {fault.text}")

    def _repeat(self, peer: Peer) -> None:
        now = time.monotonic()
        if now - peer.complained_at >= REPEAT_SECONDS:
            peer.complained_at = now
            if peer.agent_id in self._shut_out:
                complaint = Error(ErrorCode.REVOKED, "This key was revoked.")
            else:
                complaint = Error(ErrorCode.SAY_HELLO, "This session is over; begin a new one.")
            self._send(peer, Frame(0, complaint))


def _origin(frame: zmq.Frame) -> tuple[AgentId, str, int] | None:
    """Whose connection a frame came from, which of the broker's keys it met (`admission.py`), and its descriptor."""
    try:
        agent, _, label = str(frame["User-Id"]).partition("/")
        return AgentId(agent), label, int(frame["__fd"])
    except (KeyError, ValueError, zmq.ZMQError):
        return None
