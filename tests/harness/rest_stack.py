"""A broker with REST in the test's own loop: everything real but TLS and the disk."""

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from dart.broker.core.access import ApiKey, NameRule
from dart.broker.store.base import Store
from dart.broker.store.blobs import Blobs
from dart.ids import KeyId
from dart.limits import Limits
from dart.rest import app
from dart.rest.auth import KeyRing, Scope
from dart.rest.connections import Listener
from dart.wire.messages import Results
from harness import contract
from harness.broker_stack import Stack, broker
from harness.raw_agent import RawAgent

KEY = "dart_test"
BEARER = {"Authorization": f"Bearer {KEY}"}
MESSAGEPACK = "application/msgpack"


@dataclass
class FixedKey:
    """An admin key that is in no file."""

    key: str = KEY
    version: int = 1

    def text(self) -> str:
        return self.key


async def add_key(keys: Any, ring: KeyRing, text: str, scope: Scope, **members: Any) -> ApiKey:
    """Register a text as a key that has it as its id and name, too."""
    rest = {"name": text, "is_weak": True, "jobs": NameRule(), "workers": NameRule(), "seconds": 0.0, **members}
    made: ApiKey = await keys.add(text, digest=ring.sealed(text), pepper=ring.pepper_name, scope=scope, **rest)
    return made


@dataclass
class RestStack:
    """What a test may reach."""

    broker: Stack
    session: aiohttp.ClientSession
    url: str
    port: int
    stops: list[int]
    runner: web.AppRunner
    listener: Listener
    ring: KeyRing

    async def call(self, method: str, path: str, *, status: int = 200, **options: Any) -> Any:
        """One call with the admin key and a JSON body (`json=`); its decoded answer, held against the document."""
        options.setdefault("headers", {"Authorization": f"Bearer {KEY}"})
        async with self.session.request(method, self.url + path, **options) as answer:
            body = await answer.json() if answer.content_type == "application/json" else await answer.read()
            assert answer.status == status, (answer.status, str(body)[:500])
            if answer.content_type == "application/json":
                contract.check(method, path, status, body)
            return body

    async def define(self, name: str = "j", **members: Any) -> None:
        await self.call("POST", "/job/", json={"name": name, "module_path": "m", "method": "run", **members})

    async def submit(self, *entries: dict[str, Any], job: str = "j", **options: Any) -> Any:
        body = {"location_and_parameters": list(entries)}
        return await self.call("POST", f"/job/{job}/tasks/", json=body, **options)

    async def finish(self, agent: RawAgent, *payloads: bytes, success: bool = True) -> None:
        """Let a joined agent answer so many leases with these encoded values."""
        agent.credit(len(payloads))
        for lease, payload in zip(await agent.leases(len(payloads)), payloads, strict=True):
            agent.send(Results((agent.result(lease.ref, payload, success=success),), None))

    async def results(self, **query: Any) -> list[dict[str, Any]]:
        return (await self.call("GET", "/job/j/results/", params=query))["results"]


@asynccontextmanager
async def rest(
    limits: Limits | None = None, store: Store | None = None, folder: Path | None = None
) -> AsyncIterator[RestStack]:
    """Started on a port of the system's choice; keys `dart_test` (admin), `submit`, `read` and the legacy `000`."""
    limits = limits or Limits()
    async with broker(store, limits=limits) as stack:
        stops: list[int] = []
        stack.gateway._stop = lambda: stops.append(1)
        ring = KeyRing(FixedKey(KEY), stack.gateway.keys, limits, legacy_keys=["000"], pepper=b"pepper")
        for scope in (Scope.SUBMIT, Scope.READ):
            if stack.gateway.keys.get(KeyId(scope.name.lower())) is None:
                await add_key(stack.gateway.keys, ring, scope.name.lower(), scope)
        stack.gateway.blobs = Blobs(folder, limits) if folder is not None else None
        runner = web.AppRunner(app.create(stack.gateway, ring, limits), handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        listener = Listener(runner, limits=limits, tls=None)
        port = listener.bind("127.0.0.1", 0)
        listener.start()
        try:
            async with aiohttp.ClientSession() as session:
                with contract.takes_what_it_says():
                    yield RestStack(stack, session, f"http://127.0.0.1:{port}", port, stops, runner, listener, ring)
        finally:
            listener.stop_accepting()
            stack.gateway.close()
            with contextlib.suppress(TimeoutError):
                await runner.cleanup()
            listener.close()


@asynccontextmanager
async def joined(limits: Limits | None = None, **hello: Any) -> AsyncIterator[tuple[RestStack, RawAgent]]:
    """REST, a job `j`, and an agent `w` that has joined."""
    async with rest(limits) as stack, await stack.broker.agent() as agent:
        await stack.define()
        await agent.join(**hello)
        yield stack, agent
