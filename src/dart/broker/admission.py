"""ZAP handler: lets only enrolled CURVE keys in, and tells the transport who each is (RFC 27).

libzmq asks over an in-process socket at every handshake; it is answered from the loop, without a thread.
"""

import asyncio
import logging
from collections.abc import Callable

import zmq

from dart.complaints import Complaints
from dart.ids import AgentId
from dart.wire import curve

ENDPOINT = "inproc://zeromq.zap.01"
DOMAIN = b"dart"
"""The ZAP domain that the agents' socket enforces; a label of the broker's key may follow."""

log = logging.getLogger("dart.broker.admission")


def domain_of(label: str) -> bytes:
    """The domain of what is bound with one of the broker's keys; empty: the first."""
    return DOMAIN + b"/" + label.encode("ascii") if label else DOMAIN


class Admission:
    """Answers ZAP requests of one context. Make it before the socket that it guards."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", *, is_enrolled: Callable[[AgentId], bool]) -> None:
        self._is_enrolled = is_enrolled
        self._refusals = Complaints(log)
        self.on_refusal: Callable[[str, str, str], None] = lambda _agent_id, _why, _address: None
        """Called with the fingerprint of a key that is not let in, why, and where from."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket = context.socket(zmq.REP)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(ENDPOINT)

    @property
    def refused(self) -> int:
        """Handshakes refused so far."""
        return self._refusals.total

    def start(self) -> None:
        """Answer from the running loop from now on."""
        self._loop = asyncio.get_running_loop()
        self._refusals.later = self._loop.call_later
        self._loop.add_reader(self._socket.fileno(), self._drain)
        self._loop.call_soon(self._drain)

    def close(self) -> None:
        """Let nobody in any more; harmless when repeated."""
        if self._loop is not None and not self._socket.closed:
            self._loop.remove_reader(self._socket.fileno())
            self._refusals.close()
        self._socket.close()

    def _drain(self) -> None:
        # The descriptor tells changes only: so everything is read, and looked for again after each answer.
        while not self._socket.closed:
            try:
                request = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._socket.send_multipart(self.answer(request))

    def answer(self, request: list[bytes]) -> list[bytes]:
        """The ZAP reply to a ZAP request."""
        if len(request) < 6:
            return [b"1.0", request[1] if len(request) > 1 else b"", b"400", b"malformed", b"", b""]
        version, request_id, domain, address, _identity, mechanism, *credentials = request
        ours, _, label = domain.partition(b"/")
        if version != b"1.0" or ours != DOMAIN or mechanism != b"CURVE" or [len(key) for key in credentials] != [32]:
            agent, reason = AgentId(""), "not CURVE with one key of 32 bytes"
        else:
            agent = curve.agent_id(credentials[0])
            if self._is_enrolled(agent):
                user = b"/".join((agent.encode("ascii"), label)) if label else agent.encode("ascii")
                return [b"1.0", request_id, b"200", b"", user, b""]
            reason = f"its key {agent[:16]} is not enrolled"
        where = address.decode("ascii", "replace")
        self._refusals.warn(f"An agent from {where} was refused: {reason}.")
        self.on_refusal(agent, reason, where)
        return [b"1.0", request_id, b"400", b"not admitted", b"", b""]
