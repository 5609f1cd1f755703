"""A proxy before a server that speaks TLS with its certificate, notes what passes, and fails as it is told."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import msgpack
from aiohttp import web

_PIECE_BYTES = 64 * 1024
_NOT_PASSED_ON = {"transfer-encoding", "content-length", "connection", "keep-alive", "host", "accept-encoding"}


@dataclass
class Fault:
    """Something that goes wrong with the next requests that match."""

    method: str
    path: str
    """A pattern that is searched for in the path."""
    kind: str
    """`refuse`: answered by the proxy itself. `cut request`: the connection breaks while the body is read.
    `cut answer`: it breaks within the answer. `lose answer`: the server does it, nobody hears of it. `extend`: maps of
    the answer get members that nobody knows."""
    after_bytes: int = 0
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    times: int = 1


@dataclass
class Passed:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    at: float
    fault: str = ""


class Proxy:
    """Runs in a thread of its own until `close`."""

    def __init__(self, server: Callable[[], str], certificate: tuple[str, str]) -> None:
        self._server = server
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(*certificate)
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.passed: list[Passed] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._thread.start()
        self.port = self._call(self._start())
        self.url = f"https://127.0.0.1:{self.port}"

    def plan(self, *faults: Fault) -> None:
        """Let these happen, each to the first requests that match; what was noted so far is forgotten."""
        with self._lock:
            self._faults = list(faults)
            self.passed = []

    def seen(self, method: str, path: str) -> list[Passed]:
        """The requests since the last `plan`."""
        with self._lock:
            return [it for it in self.passed if it.method == method and re.search(path, it.path)]

    @property
    def left(self) -> list[Fault]:
        """What has not happened yet."""
        with self._lock:
            return list(self._faults)

    def close(self) -> None:
        """End it, with all connections."""
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, what: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(20)

    async def _start(self) -> int:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE  # the suite's own server, on this machine
        connector = aiohttp.TCPConnector(ssl=trust, limit=0, force_close=True)
        self._session = aiohttp.ClientSession(
            connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout()
        )
        app = web.Application(client_max_size=1 << 40)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    def _fault_of(self, request: web.Request) -> Fault | None:
        path = request.rel_url.raw_path
        with self._lock:
            found = next((it for it in self._faults if it.method == request.method and re.search(it.path, path)), None)
            if found is not None:
                found.times -= 1
                if not found.times:
                    self._faults.remove(found)
            query, headers = dict(request.query), {name.lower(): value for name, value in request.headers.items()}
            at = asyncio.get_running_loop().time()
            self.passed.append(Passed(request.method, path, query, headers, at, found.kind if found else ""))
        return found

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        fault = self._fault_of(request)
        kind = fault.kind if fault is not None else ""
        if fault is not None and kind == "refuse":
            await request.read()
            return web.Response(status=fault.status, headers=fault.headers, body=fault.body)
        try:
            return await self._pass(request, fault)
        except (aiohttp.ClientError, ConnectionError):
            _break(request)
            # Nobody gets this one.
            return web.Response()

    async def _pass(self, request: web.Request, fault: Fault | None) -> web.StreamResponse:
        kind = fault.kind if fault is not None else ""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _NOT_PASSED_ON}
        if request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        body = self._upwards(request, fault) if request.can_read_body else None
        url = self._server() + request.rel_url.raw_path_qs
        async with self._session.request(request.method, _raw(url), headers=headers, data=body) as answer:
            if kind == "lose answer":
                await answer.read()
                raise ConnectionResetError
            told = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_PASSED_ON}
            if kind == "extend":
                extended = _extended(await answer.read(), answer.content_type)
                return web.Response(status=answer.status, headers=told, body=extended)
            response = web.StreamResponse(status=answer.status, headers=told)
            response.content_length = answer.content_length
            await response.prepare(request)
            passed = 0
            if request.method != "HEAD":
                async for piece in answer.content.iter_any():
                    if fault is not None and kind == "cut answer" and passed + len(piece) > fault.after_bytes:
                        await response.write(piece[: fault.after_bytes - passed])
                        raise ConnectionResetError
                    passed += len(piece)
                    await response.write(piece)
            if kind == "cut answer":
                raise ConnectionResetError
            await response.write_eof()
            return response

    async def _upwards(self, request: web.Request, fault: Fault | None) -> Any:
        passed = 0
        async for piece in request.content.iter_chunked(_PIECE_BYTES):
            passed += len(piece)
            if fault is not None and fault.kind == "cut request" and passed >= fault.after_bytes:
                raise ConnectionResetError
            yield piece
        if fault is not None and fault.kind == "cut request":
            raise ConnectionResetError


def _raw(url: str) -> Any:
    import yarl  # noqa: PLC0415 - comes with aiohttp

    return yarl.URL(url, encoded=True)


def _break(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _extended(data: bytes, content_type: str) -> bytes:
    """The same answer with unknown members in every map of the envelope, not in the values of tasks."""
    if content_type == "application/json":
        return json.dumps(_with_more(json.loads(data))).encode()
    members = msgpack.unpackb(data, strict_map_key=False)
    return bytes(msgpack.packb(_with_more(members)))


def _with_more(part: Any) -> Any:
    if isinstance(part, dict):
        kept = {name: value if name in {"success", "error"} else _with_more(value) for name, value in part.items()}
        return {**kept, "x_later_version": {"some": [1, None, "thing"]}}
    return [_with_more(item) for item in part] if isinstance(part, list) else part
