"""What a request may cost beyond its bytes: memory for what nobody asked for, and the loop's time."""

import asyncio
import io
import json
import time
import tracemalloc
from dataclasses import replace

import msgpack
import pytest

from dart.errors import MalformedError, ValueNotPortableError
from dart.limits import Limits
from dart.rest.large_texts import portable_text
from dart.rest.schemas import ENTRIES_MAX
from dart.wire import values
from harness.rest_stack import BEARER, MESSAGEPACK, rest

JUNK = b"[" + b"[]," * 500_000 + b"1]"
NAMES = b",".join(b'"%d":1' % number for number in range(200_000))
READER = {"Authorization": "Bearer read"}
HEAD = b"\x81\xb7location_and_parameters"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/server/", b'{"x":' + JUNK + b"}"),
        ("GET", "/server/", b'{"key":' + JUNK + b"}"),
        ("GET", "/server/", b"{" + NAMES + b"}"),
        ("GET", "/worker/", msgpack.packb({"x": [[]] * 500_000})),
        ("GET", "/job/", b"{" + NAMES + b"}"),
        ("GET", "/job/", b'{"amount":' + JUNK + b"}"),
        ("POST", "/job/", b'{"source":' + JUNK + b"}"),
        ("POST", "/job/", b'{"name":' + JUNK + b"}"),
        ("POST", "/job/j/tasks/", b'{"x":' + JUNK + b',"location_and_parameters":[]}'),
    ],
)
async def test_junk_costs_no_more_than_its_bytes(method, path, body):
    """What a call does not have, or wants otherwise, is not made into objects: a reader could fill the memory."""
    async with rest() as stack:
        await stack.define()
        key = READER if method == "GET" else BEARER
        kind = MESSAGEPACK if body[0] > 0x7F else "application/json"
        tracemalloc.start()
        async with stack.session.request(
            method, stack.url + path, data=io.BytesIO(body), headers={**key, "Content-Type": kind}
        ) as it:
            assert it.status in (200, 400)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # As objects they would take some 36 MB, or 20.
    assert peak < 5 * len(body) + 3_000_000


async def test_json_bodies_of_too_many_values_are_refused_before_they_are_made():
    """413 that names the limit, for entries, parameters and standing jobs; MessagePack says its numbers itself."""
    async with rest(replace(Limits(), json_values_max=1000)) as stack:
        await stack.define()
        many = b"[" + b"[]," * 600 + b"1]"
        for path, body in (
            ("/job/j/tasks/", b'{"location_and_parameters":' + many + b"}"),
            ("/job/j/tasks/", b'{"location_and_parameters":[{"parameter":' + many + b"}]}"),
            ("/job/", b'{"name":"s","module_path":"m","method":"r","standing":true,"parameter":' + many + b"}"),
        ):
            answer = await stack.call("POST", path, data=io.BytesIO(body), status=413)
            assert "json_values_max" in answer["error"]["message"]
        await stack.submit({"parameter": [0] * 400})
        entries = HEAD + b"\xdd" + (ENTRIES_MAX + 1).to_bytes(4, "big") + b"\x01" * (ENTRIES_MAX + 1)
        headers = {**BEARER, "Content-Type": MESSAGEPACK}
        began = time.perf_counter()
        await stack.call("POST", "/job/j/tasks/", data=io.BytesIO(entries), headers=headers, status=400)
        assert time.perf_counter() - began < 5.0


@pytest.mark.parametrize("packed", [False, True])
async def test_a_large_structure_is_turned_beside_the_loop(packed):
    """Others are served in the middle of it."""
    async with rest() as stack:
        await stack.define()
        if packed:
            body = HEAD + b"\x91\x81\xa9parameter\xdd" + (70_000).to_bytes(4, "big") + b"\x90" * 70_000
        else:
            body = b'{"location_and_parameters":[{"parameter":' + b"[" + b"[]," * 70_000 + b"1]}]}"
        headers = {**BEARER, "Content-Type": MESSAGEPACK if packed else "application/json"}
        served = 0
        submitting = asyncio.create_task(stack.call("POST", "/job/j/tasks/", data=io.BytesIO(body), headers=headers))
        await asyncio.sleep(0)
        while not submitting.done():
            await stack.call("GET", "/healthz")
            served += 1
        assert len((await submitting)["tasks"]) == 1
        assert served > 5


async def test_a_large_text_arrives_whole():
    """Cut within escapes and characters, and put together again."""
    async with rest() as stack, await stack.broker.agent() as agent:
        await stack.define()
        await agent.join()
        text = 'a\u00e4\n"\\\U0001f600' * 200_000
        body = json.dumps({"location_and_parameters": [{"parameter": text}]}).encode()
        await stack.call("POST", "/job/j/tasks/", data=io.BytesIO(body))
        agent.credit(1)
        (lease,) = await agent.leases(1)
        assert values.decode(lease.parameter) == text


async def test_what_is_wrong_in_a_large_text_is_found():
    """Bytes that are no UTF-8, escapes that are none; and its size is that of what it means."""
    for body in (b"\x80" * 100, b"a" * 50 + b"\xff" * 50, b"a" * 50 + b"\\x" * 20, b"a" * 29 + b"\\ud800" + b"a" * 50):
        with pytest.raises(MalformedError):
            await portable_text(memoryview(b'"' + body + b'"'), 1000, piece_bytes=30)
    with pytest.raises(ValueNotPortableError):
        await portable_text(memoryview(b'"' + b"a" * 101 + b'"'), 100, piece_bytes=30)
