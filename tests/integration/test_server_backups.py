"""Backups through gateway and SDK: one at a time, given up at the end, refused where nothing is kept."""

import asyncio
import io
import tempfile
import threading

import pytest

from dart.broker.store.memory import MemoryStore
from dart.errors import ConflictError, UnavailableError
from dart_client import Client, ServerUnreachableError
from dart_client import ConflictError as ClientConflictError
from dart_client import ForbiddenError as ClientForbiddenError
from harness.broker_stack import broker, until
from harness.rest_stack import KEY, rest


class Slow(MemoryStore):
    """Makes backups that take until they are let go, or given up."""

    def __init__(self, content: bytes = b"content") -> None:
        super().__init__()
        self.content = content
        self.begun = threading.Event()
        self.go = threading.Event()
        self.made: list = []

    def backup(self, stop):
        self.begun.set()
        while not self.go.wait(0.01):
            if stop.is_set():
                raise UnavailableError("The server is stopping.")
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        file.write(self.content)
        file.seek(0)
        self.made.append(file)
        return file


async def test_one_at_a_time():
    """A second one is refused, a later one is not; the file is closed afterwards."""
    store = Slow()
    async with broker(store) as stack:

        async def make() -> bytes:
            async with stack.gateway.backup() as file:
                return file.read()

        first = asyncio.create_task(make())
        await until(store.begun.is_set)
        with pytest.raises(ConflictError, match="at this moment"):
            await make()
        store.go.set()
        assert await first == b"content"
        assert await make() == b"content"
        assert all(file.closed for file in store.made)


async def test_a_caller_that_goes_away_leaves_nothing():
    """What was begun is finished and closed; only then the next one may begin."""
    store = Slow()
    async with broker(store) as stack:
        manager = stack.gateway.backup()
        making = asyncio.create_task(manager.__aenter__())
        await until(store.begun.is_set)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        with pytest.raises(ConflictError):
            async with stack.gateway.backup():
                pass
        store.go.set()
        await until(lambda: store.made and store.made[0].closed)
        async with stack.gateway.backup() as file:
            assert file.read() == b"content"


async def test_it_is_given_up_when_the_server_stops():
    """The end of the server does not wait for it."""
    store = Slow()
    async with broker(store) as stack:
        making = asyncio.create_task(stack.gateway.backup().__aenter__())
        await until(store.begun.is_set)
        stack.gateway.stop()
        with pytest.raises(UnavailableError):
            await making


async def test_a_large_backup_comes_through_rest_in_pieces():
    """Byte for byte; a key that may only read gets none; a store in memory says that it has none."""
    async with rest() as stack:
        with Client(stack.url, KEY) as client:
            with pytest.raises(ClientConflictError, match="in memory"):
                await asyncio.to_thread(client.backup, io.BytesIO())
            store = Slow(bytes(range(256)) * 20_000)
            store.go.set()
            stack.broker.gateway._backups._store = store
            sink = io.BytesIO()
            assert await asyncio.to_thread(client.backup, sink) == len(store.content)
            assert sink.getvalue() == store.content
        with Client(stack.url, "read") as reader, pytest.raises(ClientForbiddenError):
            await asyncio.to_thread(reader.backup, io.BytesIO())


async def test_a_backup_that_breaks_off_is_an_error():
    """The server names the length first, so a connection that ends early shows."""

    async def half(reader, writer) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
        writer.close()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with Client(f"http://127.0.0.1:{port}", "key") as client, pytest.raises(ServerUnreachableError):
            await asyncio.to_thread(client.backup, io.BytesIO())
