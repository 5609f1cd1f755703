"""A broker without REST in the test's own loop: store, service, real socket, gateway."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import zmq

from dart.broker.admission import Admission
from dart.broker.answers import Address
from dart.broker.core.events import Stopping
from dart.broker.core.model import JobConfig, TaskPolicy, TaskSpec
from dart.broker.gateway import Gateway
from dart.broker.service import Service
from dart.broker.store.base import Store
from dart.broker.store.memory import MemoryStore
from dart.broker.transport import Transport
from dart.clock import Clock
from dart.errors import DartError
from dart.limits import Limits
from dart.wire import curve
from harness.raw_agent import RawAgent

CONFIG = JobConfig("module", "method", {})


@dataclass
class Stack:
    """What a test may reach."""

    store: Store
    service: Service
    admission: Admission
    transport: Transport
    gateway: Gateway
    keys: curve.KeyPair
    url: str

    async def agent(self, name: str = "w", *, slots: int = 1, keys: curve.KeyPair | None = None) -> RawAgent:
        """Enrolled and connecting."""
        keys = keys or curve.KeyPair.make()
        await self.gateway.enrolments.enroll(keys.public, name)
        return RawAgent(self.url, self.keys.public, keys, name=name, slots=slots)


@asynccontextmanager
async def broker(store: Store | None = None, limits: Limits | None = None) -> AsyncIterator[Stack]:
    """Started; stopped in good order."""
    limits = limits or Limits()
    store = store or MemoryStore()
    keys = curve.KeyPair.make()
    context: zmq.Context[Any] = zmq.Context()
    service = Service(store, limits=limits, clock=Clock())
    admission = Admission(context, is_enrolled=service.knows)
    transport = Transport(context, keys=keys, limits=limits, deliver=service.post)
    port = transport.bind("127.0.0.1", 0)
    gateway = Gateway(service, limits=limits, stop=lambda: None)
    gateway.address = Address("127.0.0.1", 1, "127.0.0.1", port, keys.public)
    try:
        await service.start(transport)
        admission.start()
        transport.start()
        yield Stack(store, service, admission, transport, gateway, keys, f"tcp://127.0.0.1:{port}")
        with suppress(DartError):
            await service.ask(Stopping)
    finally:
        await service.close()
        transport.close(linger_seconds=1.0)
        admission.close()
        context.term()
        store.close()


def specs(*parameters: bytes, location: str = "") -> list[TaskSpec]:
    """Tasks with these parameters."""
    return [TaskSpec(TaskPolicy(location=location), parameter) for parameter in parameters]


async def until(predicate: Callable[[], object], *, seconds: float = 10.0) -> None:
    """Let the loop run until the predicate is true."""
    async with asyncio.timeout(seconds):
        while not predicate():  # noqa: ASYNC110 - what is waited for sets no event
            await asyncio.sleep(0)
