"""An agent by hand: a plain DEALER and the codec, so that a test says each frame itself."""

import asyncio
import time
from types import TracebackType
from typing import Any, Self

import zmq

from dart.ids import AttemptRef, BootId, StoreId
from dart.limits import Limits
from dart.wire import codec, curve
from dart.wire.messages import Credit, Frame, Hello, Lease, Malformed, Message, Result, Results, Tasks, Welcome

SECONDS = 10.0


class RawAgent:
    """Connects at once; `async with` closes it."""

    def __init__(
        self,
        url: str,
        server_public_key: bytes,
        keys: curve.KeyPair,
        *,
        name: str = "w",
        slots: int = 1,
        receive_high_water_mark: int = 0,
    ):
        self.name = name
        self.slots = slots
        self.limits = Limits()
        self.sent = 0
        self.received: list[Frame] = []
        self.tasks_seen = 0
        self.keys = keys
        self.context: zmq.Context[Any] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.RCVHWM, receive_high_water_mark)
        self.socket.setsockopt(zmq.CURVE_SERVERKEY, server_public_key)
        self.socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
        self.socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        self.monitor = self.socket.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_DISCONNECTED
        )
        self.socket.connect(url)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)
        self.context.term()

    def send(self, message: Message, *, sequence: int | None = None) -> None:
        """Send with the next running number, or with another."""
        if sequence is None:
            self.sent += 1
            sequence = self.sent
        self.socket.send_multipart(codec.encode(Frame(sequence, message), limits=self.limits))

    def hello(self, **members: Any) -> None:
        fields: dict[str, Any] = {
            "versions": (1,), "name": self.name, "slots": self.slots, "capabilities": (), "host": "somewhere",
            "boot_id": BootId("b" * 32), "store_id": StoreId(""), "attempts": (), "results": (), "facts": {},
            "draining": False,
        }  # fmt: skip
        self.send(Hello(**(fields | members)))

    async def receive(self, wanted: type[Any], *, seconds: float = SECONDS) -> Any:
        """The next message of this type; others are kept in `received`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.socket.poll(0):
                await asyncio.sleep(0.005)
                continue
            frame = codec.decode_from_broker(self.socket.recv_multipart(), self.limits)
            assert not isinstance(frame, Malformed), frame
            self.received.append(frame)
            if isinstance(frame.message, Tasks):
                self.tasks_seen = frame.sequence
            if isinstance(frame.message, wanted):
                return frame.message
        raise AssertionError(f"no {wanted.__name__} in {seconds} s, but {self.received}")

    async def join(self, **members: Any) -> Welcome:
        """HELLO, WELCOME."""
        self.hello(**members)
        return await self.receive(Welcome)

    def credit(self, tasks: int, payload_bytes: int = 1 << 26) -> None:
        self.send(Credit(tasks, payload_bytes, self.tasks_seen))

    async def leases(self, amount: int) -> list[Lease]:
        """So many leases, from as many TASKS as it takes."""
        got: list[Lease] = []
        while len(got) < amount:
            got += (await self.receive(Tasks)).leases
        return got

    def result(self, ref: AttemptRef, payload: bytes, *, success: bool = True) -> Result:
        return Result(ref, self.name, "somewhere", 1_700_000_000_000, 0.5, success, 0, payload)

    def answer(self, *leases: Lease, payload: bytes | None = None, credit: Credit | None = None) -> None:
        """Succeed with the parameter as result, or with this payload."""
        results = tuple(
            self.result(lease.ref, bytes(lease.parameter) if payload is None else payload) for lease in leases
        )
        self.send(Results(results, credit))

    async def handshake(self, *, seconds: float = SECONDS) -> int:
        """The event that the handshake ended with."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.monitor.poll(0):
                return int.from_bytes(self.monitor.recv_multipart()[0][:2], "little")
            await asyncio.sleep(0.005)
        raise AssertionError("the handshake did not end")
