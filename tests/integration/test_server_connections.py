"""REST's connections: bounded in number, none may dawdle."""

import asyncio
import gc
import ssl
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from dart.certificates import own_certificate, tls_context
from dart.limits import Limits
from dart.rest.connections import Connection, Listener
from harness.broker_stack import until

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Rest:
    """A listener over a small application."""

    def __init__(self, listener, port, tls, path=None):
        self.listener = listener
        self.port = port
        self.path = path
        self.tls = tls
        self.go = asyncio.Event()

    async def connect(self, *, tls=True):
        if self.path is not None:
            return await asyncio.open_unix_connection(self.path)
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls if tls else None)


@asynccontextmanager
async def rest(limits, *, directory=None, path=None):
    server_tls = client_tls = None
    if directory is not None:
        server_tls, _ = tls_context(*own_certificate(directory, ()))
        client_tls = ssl.create_default_context()
        client_tls.check_hostname = False
        client_tls.verify_mode = ssl.CERT_NONE
    application = web.Application()
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=1.0)

    async def answer(_request):
        return web.Response(text="hello")

    async def wait(_request):
        await it.go.wait()
        return web.Response(text="waited")

    async def pour(request):
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 8_000_000)

    application.router.add_get("/", answer)
    application.router.add_get("/wait", wait)
    application.router.add_get("/pour", pour)
    await runner.setup()
    listener = Listener(runner, limits=limits, tls=server_tls)
    port = 0
    if path is None:
        port = listener.bind("127.0.0.1", 0)
    else:
        listener.bind_path(path)
    it = Rest(listener, port, client_tls, path)
    listener.start()
    try:
        yield it
    finally:
        listener.stop_accepting()
        await runner.cleanup()
        listener.close()


async def get(reader, writer, request=REQUEST):
    """Status line and body of one answer."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head.partition(b"\r\n")[0], await reader.readexactly(length)


async def closed(reader):
    """Wait for the end of a connection, whichever way it ends."""
    async with asyncio.timeout(10):
        try:
            while await reader.read(1_000):
                pass
        except (ConnectionError, ssl.SSLError):
            pass


@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_connection_serves_many_requests(tmp_path, encrypted):
    """Kept alive; its place is free when it leaves."""
    async with rest(Limits(), directory=tmp_path if encrypted else None) as it:
        reader, writer = await it.connect()
        for _ in range(3):
            assert await get(reader, writer) == (b"HTTP/1.1 200 OK", b"hello")
        assert len(it.listener) == 1
        writer.close()
        await until(lambda: len(it.listener) == 0)


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("sent", [b"", b"GET / HT", REQUEST + b"GET / HT"])
async def test_an_incomplete_head_ends_its_connection(tmp_path, encrypted, sent):
    """The first and any later one; nothing at all from the beginning, too."""
    limits = Limits(request_seconds_max=0.3, keepalive_seconds=0.5)
    async with rest(limits, directory=tmp_path if encrypted else None) as it:
        reader, writer = await it.connect()
        writer.write(sent)
        await closed(reader)
        await until(lambda: len(it.listener) == 0)
        writer.close()


async def test_a_handshake_that_does_not_go_on_ends(tmp_path):
    """A connection counts from its first packet."""
    async with rest(Limits(request_seconds_max=0.3), directory=tmp_path) as it:
        reader, writer = await it.connect(tls=False)
        writer.write(b"\x16\x03\x01")
        await until(lambda: len(it.listener) == 1)
        await closed(reader)
        await until(lambda: len(it.listener) == 0)
        writer.close()


async def test_noise_in_place_of_a_handshake_ends(tmp_path):
    """Plain HTTP to a TLS port harms nobody."""
    async with rest(Limits(), directory=tmp_path) as it:
        reader, writer = await it.connect(tls=False)
        writer.write(REQUEST)
        await closed(reader)
        await until(lambda: len(it.listener) == 0)
        writer.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_silent_connections_take_nobodys_place(tmp_path, encrypted):
    """Whoever has waited longest without a request gives way."""
    limits = Limits(connections_max=5)
    async with rest(limits, directory=tmp_path if encrypted else None) as it:
        silent = [await it.connect(tls=False) for _ in range(20)]
        async with asyncio.timeout(5):
            reader, writer = await it.connect()
            assert (await get(reader, writer))[1] == b"hello"
        assert len(it.listener) <= 5
        for _, other in [*silent, (reader, writer)]:
            other.close()


async def test_whoever_is_served_is_not_cut():
    """When all are at work, the newcomer is refused."""
    async with rest(Limits(connections_max=2)) as it:
        busy = [await it.connect() for _ in range(2)]
        answers = [asyncio.create_task(get(*pair, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")) for pair in busy]
        await until(lambda: all(place.waiting_since is None for place in it.listener._places) and len(it.listener) == 2)
        reader, writer = await it.connect()
        await closed(reader)
        it.go.set()
        assert [body for _, body in [await answer for answer in answers]] == [b"waited", b"waited"]
        for _, other in [*busy, (reader, writer)]:
            other.close()


@pytest.mark.parametrize("unix", [False, True])
async def test_an_answer_that_nobody_reads_ends(tmp_path, unix):
    """A stalled reader does not hold memory and a place for ever."""
    async with rest(Limits(request_seconds_max=0.3), path=tmp_path / "s" if unix else None) as it:
        _, writer = await it.connect()
        writer.write(b"GET /pour HTTP/1.1\r\nHost: x\r\n\r\n")
        writer.transport.pause_reading()
        await until(lambda: len(it.listener) == 1)
        await until(lambda: len(it.listener) == 0)
        writer.transport.abort()


@pytest.mark.parametrize("way", ["plain", "encrypted", "unix"])
async def test_an_answer_that_is_read_slowly_goes_on(tmp_path, way):
    """As long as something moves, however long it takes."""
    limits = Limits(request_seconds_max=0.3)
    directory, path = tmp_path if way == "encrypted" else None, tmp_path / "s" if way == "unix" else None
    async with rest(limits, directory=directory, path=path) as it:
        reader, writer = await it.connect()
        writer.write(b"GET /pour HTTP/1.1\r\nHost: x\r\n\r\n")
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + 1.5
        while loop.time() < ends_at:
            await reader.readexactly(400_000)
            await asyncio.sleep(0.05)
        assert len(it.listener) == 1
        writer.transport.abort()
        await until(lambda: len(it.listener) == 0)


async def test_a_unix_socket_that_is_in_use_stays(tmp_path):
    """Somebody answers there; nothing of theirs is touched."""
    path = tmp_path / "s"
    async with rest(Limits(), path=path) as it:
        with pytest.raises(OSError, match="a server answers there"):
            async with rest(Limits(), path=path):
                pytest.fail("two listen on one socket")
        reader, writer = await it.connect()
        assert await get(reader, writer) == (b"HTTP/1.1 200 OK", b"hello")
        writer.close()
        await until(lambda: len(it.listener) == 0)
    assert not path.exists()


async def test_a_file_that_is_no_socket_stays(tmp_path):
    """It may be anything of value; a link to a socket is none either."""
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        async with rest(Limits(), path=path):
            pytest.fail("somebody's file was taken for a socket")
    assert path.read_text() == "mine"


async def test_a_socket_that_was_put_in_our_place_stays(tmp_path):
    """At the end only the own file is removed."""
    path = tmp_path / "s"
    async with rest(Limits(), path=path):
        path.rename(tmp_path / "ours")
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    async with rest(Limits(), path=tmp_path / "ours"):
        assert (tmp_path / "ours").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "sent", [b"", b"\x00no HTTP\r\n\r\n", REQUEST, REQUEST + b"GET / HT", b"GET /unknown HTTP/1.1\r\n\r\n"]
)
@pytest.mark.parametrize("encrypted", [False, True])
async def test_a_connection_that_is_over_leaves_nothing(tmp_path, encrypted, sent):
    """Its memory is free at once: as garbage in cycles it would wait for a collection of all generations."""

    def left():
        return sum(isinstance(thing, Connection) for thing in gc.get_objects())

    async with rest(Limits(), directory=tmp_path if encrypted else None) as it:
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                reader, writer = await it.connect()
                writer.write(sent)
                await writer.drain()
                if sent:
                    await reader.read(100)
                writer.close()
                await until(lambda: len(it.listener) == 0)
            del reader, writer
            await until(lambda: left() == 0)
        finally:
            gc.enable()
