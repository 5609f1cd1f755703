"""A broker for tests of the agent alone: a plain ROUTER, the codec and hands; it decides nothing by itself."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

import zmq

from dart.ids import Attempt, AttemptRef, SessionId, StoreId, TaskId
from dart.limits import Limits
from dart.wire import codec, messages
from dart.wire.curve import KeyPair
from dart.wire.messages import Frame, Malformed, Message

STORE = StoreId("5" * 32)
M = TypeVar("M", bound=Message)


def ref(task_id: int, number: int = 1) -> AttemptRef:
    """An attempt of incarnation 1."""
    return AttemptRef(TaskId(task_id), Attempt(1, number))


class RawBroker:
    """One ROUTER with CURVE; `expect` reads until a message of a kind comes and keeps the others in `heard`."""

    def __init__(self, port: int = 0, keys: KeyPair | None = None) -> None:
        self.keys = keys or KeyPair.make()
        self.limits = Limits()
        self.heard: list[Message] = []
        self.peer = b""
        self.session = 0
        self._sequence = 0
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.router_mandatory = True
        self._socket.curve_server = True
        self._socket.curve_secretkey = messages_key(self.keys.secret)
        if port:
            self._socket.bind(f"tcp://127.0.0.1:{port}")
            self.port = port
        else:
            self.port = self._socket.bind_to_random_port("tcp://127.0.0.1")

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._socket.close(linger=0)
        self._context.term()

    def send(self, message: Message, *, sequence: int | None = None) -> None:
        """Send in the present session; `sequence` breaks the order of running numbers on purpose."""
        if sequence is None:
            self._sequence += 1
            sequence = self._sequence
        self.send_bytes(codec.encode(Frame(sequence, message), limits=self.limits))

    def send_bytes(self, parts: Sequence[bytes | memoryview]) -> None:
        self._socket.send_multipart([self.peer, *parts])

    def receive(self, timeout: float = 10.0) -> Message | None:
        """The next message of the agent; a HELLO begins a new session with its sender."""
        if not self._socket.poll(int(timeout * 1000)):
            return None
        peer, *parts = self._socket.recv_multipart()
        frame = codec.decode_from_agent(parts, self.limits)
        assert not isinstance(frame, Malformed), frame
        if isinstance(frame.message, messages.Hello):
            self.peer, self._sequence = peer, 0
        return frame.message if peer == self.peer else self.receive(timeout)

    def expect(self, kind: type[M], timeout: float = 15.0) -> M:
        """The next message of this kind."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            message = self.receive(max(0.01, end - time.monotonic()))
            if isinstance(message, kind):
                return message
            if message is not None:
                self.heard.append(message)
        raise AssertionError(f"no {kind.__name__} within {timeout} s; heard {self.heard[-10:]}")

    def expect_silence_of(self, kind: type[Message], seconds: float) -> None:
        """No message of this kind comes for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            message = self.receive(left)
            assert not isinstance(message, kind), message

    def welcome(self, hello: messages.Hello, **changes: object) -> None:
        """Answer HELLO: go on with everything, send everything."""
        self.session += 1
        terms = messages.Welcome(
            version=1,
            session=SessionId(self.session),
            store_id=STORE,
            incarnation=1,
            heartbeat_seconds=1.0,
            silence_seconds=5.0,
            lease_seconds=60.0,
            frame_bytes_max=self.limits.frame_bytes_max,
            value_bytes_max=self.limits.value_bytes_max,
            batch_items_max=self.limits.batch_items_max,
            batch_bytes_max=self.limits.batch_bytes_max,
            server="raw broker",
            keep=hello.attempts,
            drop=(),
            send=hello.results,
            forget=(),
            hold=(),
        )
        self.send(terms._replace(**changes))

    def let_in(self, **changes: object) -> messages.Hello:
        """Wait for HELLO and welcome it."""
        hello = self.expect(messages.Hello)
        self.welcome(hello, **changes)
        return hello

    def results(self, amount: int, timeout: float = 20.0) -> list[messages.Result]:
        """So many results, in the order they came, acknowledged as they come."""
        found: list[messages.Result] = []
        while len(found) < amount:
            batch = self.expect(messages.Results, timeout).results
            self.send(messages.Ack(tuple(result.ref for result in batch)))
            found.extend(batch)
        return found


def messages_key(key: bytes) -> bytes:
    """A key as ZeroMQ's options take it."""
    from zmq.utils import z85

    return z85.encode(key)


@contextlib.contextmanager
def raw_broker(port: int = 0, keys: KeyPair | None = None) -> Iterator[RawBroker]:
    """A broker that is gone afterwards."""
    broker = RawBroker(port, keys)
    try:
        yield broker
    finally:
        broker.close()
