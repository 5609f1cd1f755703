"""REST and those who are slow on purpose: in the body, with their key, in reading an answer."""

import asyncio
import socket
from contextlib import suppress
from dataclasses import replace

import pytest

from dart.limits import Limits
from dart.wire import values
from harness.broker_stack import until
from harness.rest_stack import KEY, joined, rest

SLOW = replace(Limits(), request_seconds_max=0.4, slow_bytes_per_second_min=1_000)
HEAD = b"POST /job/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
KEYED = HEAD + f"Authorization: Bearer {KEY}\r\n".encode()


async def trickle(stack, head, *, bytes_at_once=1, pause=0.02, beginning=b'{"x":"'):
    """Send a head and then a few bytes at a time, until an answer or the end comes; what came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)

    async def send():
        writer.write(head + b"\r\n" + beginning)
        while True:
            writer.write(b"y" * bytes_at_once)
            await asyncio.sleep(pause)

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(10):
            return await reader.read(65_536)
    except ConnectionError:
        return b""
    finally:
        sending.cancel()
        writer.close()


@pytest.mark.parametrize("head", [HEAD, KEYED], ids=["stranger", "keyed"])
async def test_a_body_that_comes_byte_by_byte_is_refused_after_a_while(head):
    """A byte now and then is no progress, with a key or without: the message names both limits."""
    async with rest(SLOW) as stack:
        received = await trickle(stack, head)
        assert b" 400 " in received.partition(b"\r\n")[0]
        assert b"slow_bytes_per_second_min" in received


async def test_a_body_that_comes_steadily_is_taken_however_long_it_takes():
    """Twice the time, at more than the least rate."""
    async with rest(SLOW) as stack:

        async def pieces():
            yield b'{"name":"slow","module_path":"m","method":"run","x":"'
            for _ in range(20):
                await asyncio.sleep(0.04)
                yield b"y" * 200
            yield b'"}'

        assert (await stack.call("POST", "/job/", data=pieces()))["job"]["name"] == "slow"


async def test_strangers_in_the_middle_of_a_body_give_way():
    """As many as there are places, each with a few bytes of a body: who has a key is served nevertheless."""
    async with rest(replace(Limits(), connections_max=5)) as stack:
        strangers = [asyncio.create_task(trickle(stack, HEAD, pause=1.0)) for _ in range(5)]
        await until(
            lambda: sum(place.stranger_since is not None for place in stack.listener._places) == 5, seconds=20.0
        )
        assert (await stack.call("GET", "/server/"))["servers"]
        assert await next(asyncio.as_completed(strangers)) == b""
        for task in strangers:
            task.cancel()
        await asyncio.gather(*strangers, return_exceptions=True)


async def test_whoever_is_known_keeps_the_place_in_the_middle_of_a_body():
    """Strangers that come later do not push a known caller out, also one whose key stands in the body."""
    async with rest(replace(Limits(), connections_max=2)) as stack:
        body = f'{{"key":"{KEY}","x":"'.encode()
        known = [
            asyncio.create_task(trickle(stack, KEYED, pause=0.5)),
            asyncio.create_task(trickle(stack, HEAD, pause=0.5, beginning=body)),
        ]
        await until(
            lambda: len(stack.listener) == 2 and all(place.gives_way_since is None for place in stack.listener._places)
        )
        assert await trickle(stack, HEAD) == b""
        assert not any(task.done() for task in known)
        for task in known:
            task.cancel()
        await asyncio.gather(*known, return_exceptions=True)


async def test_an_answer_that_is_read_in_small_bites_ends():
    """It would hold its memory and its place for as long as the reader likes."""
    async with joined(replace(SLOW, slow_bytes_per_second_min=100 << 20)) as (stack, agent):
        await stack.submit({"parameter": 1})
        await stack.finish(agent, values.encode("x" * 20_000_000))
        await until(lambda: not stack.broker.service.reactor.state.tasks)
        client = socket.socket()
        # Little room in the kernel, so that what was acknowledged follows what was read.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", stack.port))
        request = f"GET /job/j/results/?after=0 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        await loop.sock_sendall(client, request.encode())
        taken = 0

        async def read():
            nonlocal taken
            with suppress(ConnectionError):
                while bite := await loop.sock_recv(client, 20_000):
                    taken += len(bite)
                    await asyncio.sleep(0.01)

        async with asyncio.timeout(10):
            await read()
        client.close()
        assert 0 < taken < 20_000_000
        await until(lambda: len(stack.listener) == 1)
