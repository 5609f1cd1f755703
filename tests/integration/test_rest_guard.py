"""What is the same for every call: keys and scopes, strangers, request ids, our own faults, slow and broken peers."""

import asyncio
import json
import logging
import re
from dataclasses import replace

import aiohttp
import msgpack
import pytest

from dart.broker.core.model import Idempotency
from dart.errors import UnavailableError
from dart.limits import Limits
from dart.rest.auth import Scope
from dart.rest.routes import ROUTES
from dart.wire import values
from dart.wire.messages import Progress, ProgressReport, Start, Started
from harness.broker_stack import until
from harness.rest_stack import BEARER, KEY, rest

KEYED = [route for route in ROUTES if route.scope is not Scope.OPEN]


def path_of(route):
    return re.sub(r"\{(\w+)\}", lambda part: "1" if part[1] == "id" else "no", route.path)


async def exchange(stack, sent, *, to_the_end=False, seconds=10.0):
    """Send bytes and read an answer, or all until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    try:
        writer.write(sent)
        await writer.drain()
        async with asyncio.timeout(seconds):
            received = b""
            while piece := await reader.read(65_536):
                received += piece
                if not to_the_end and received.endswith(b"}}"):
                    break
            return received
    finally:
        writer.close()


@pytest.mark.parametrize("route", KEYED, ids=lambda route: f"{route.method} {route.path}")
async def test_every_route_asks_for_a_key_of_its_scope(route):
    """401 without and with a wrong one, 403 below its scope, neither with it."""
    async with rest() as stack:
        path = path_of(route)
        if route.method == "HEAD":
            async with stack.session.head(stack.url + path) as reply:
                assert reply.status == 401  # its answers have no bodies
            return
        answer = await stack.call(route.method, path, headers={}, status=401)
        assert answer["error"]["code"] == 20
        await stack.call(route.method, path, json={"key": "wrong"}, headers={}, status=401)
        for key, scope in (("read", Scope.READ), ("submit", Scope.SUBMIT), ("000", Scope.ADMIN)):
            how = {"headers": {}, "json": {"key": key}}
            if scope < route.scope:
                assert (await stack.call(route.method, path, **how, status=403))["error"]["code"] == 21
            else:
                async with stack.session.request(route.method, stack.url + path, **how) as reply:
                    assert reply.status not in (401, 403)


async def test_a_key_in_the_query_is_refused_even_if_it_is_right():
    """It ends up in logs."""
    async with rest() as stack:
        answer = await stack.call("GET", f"/server/?key={KEY}", status=401)
        assert "query" in answer["error"]["message"]


async def test_the_key_must_be_in_the_first_four_kib():
    """It is found across pieces, also in MessagePack; further behind the caller is a stranger."""
    async with rest() as stack:
        await stack.define()

        async def pieces(padding):
            for piece in (b'{"x":"', b"y" * padding, b'","k', b'ey":"', KEY.encode(), b'"}'):
                yield piece
                await asyncio.sleep(0.005)

        await stack.call("GET", "/job/j/", headers={}, data=pieces(100))
        answer = await stack.call("GET", "/job/j/", headers={}, data=pieces(5000), status=401)
        assert "first member" in answer["error"]["message"]
        packed = {"Content-Type": "application/msgpack"}
        await stack.call("GET", "/job/j/", headers=packed, data=msgpack.packb({"x": 1, "key": KEY}))
        await stack.call("GET", "/job/j/", headers={}, json={"key": "x" * 600}, status=401)
        await stack.call("GET", "/job/j/", headers={}, data=b'{"key": "' + b"x" * 600, status=401)


async def test_a_stranger_s_body_is_not_waited_for():
    """The refusal comes after the first bytes, and the connection ends."""
    async with rest() as stack:
        head = b"POST /job/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n"
        for beginning in (b'{"key":"wrong"', b"[", b'{"a":' + b" " * 5000):
            received = await exchange(stack, head + b"\r\n" + beginning)
            assert received.startswith(b"HTTP/1.1 401 ")
        received = await exchange(stack, head + b"Authorization: Bearer wrong\r\n\r\n", to_the_end=True)
        assert received.startswith(b"HTTP/1.1 401 ")


async def test_what_the_head_gives_away_is_refused_before_the_body_is_asked_for():
    """`Expect: 100-continue`: 401 and 413 instead of 100; a stranger may send the bytes with his key."""
    async with rest(replace(Limits(), body_bytes_max=1000)) as stack:
        for key, length, first in (("wrong", 10, b" 401 "), (KEY, 1001, b" 413 "), ("read", 10, b" 403 ")):
            head = f"POST /enroll HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n"
            received = await exchange(stack, f"{head}Authorization: Bearer {key}\r\n\r\n".encode())
            assert first in received.partition(b"\r\n")[0]
        body = json.dumps({"key": KEY}).encode()
        head = f"GET /server HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(body)}\r\n"
        received = await exchange(stack, f"{head}Connection: close\r\n\r\n".encode() + body)
        assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


async def test_every_answer_has_its_own_request_id_and_is_not_kept():
    """Errors, streams and the answers of routing included."""
    async with rest() as stack:
        seen = set()
        for path, status in (("/server", 200), ("/nothing", 404), ("/job/no/results", 404), ("/healthz", 200)):
            async with stack.session.get(stack.url + path, headers=BEARER) as reply:
                assert reply.status == status
                assert reply.headers["Cache-Control"] == "no-store"
                seen.add(reply.headers["X-Request-Id"])
        assert len(seen) == 4


async def test_errors_follow_accept():
    """MessagePack for who wants it; 405 says what is allowed."""
    async with rest() as stack:
        headers = {**BEARER, "Accept": "application/msgpack"}
        answer = msgpack.unpackb(await stack.call("GET", "/job/no/", headers=headers, status=404))
        assert answer["error"]["code"] == 31
        async with stack.session.put(stack.url + "/server", headers=BEARER) as reply:
            assert (reply.status, reply.headers["Allow"]) == (405, "DELETE, GET")
            assert (await reply.json())["error"]["code"] == 35


async def test_our_own_faults_are_logged_and_not_shown(caplog, monkeypatch):
    """500 with the request id that the log has."""
    async with rest() as stack:

        def broken():
            raise RuntimeError("secret")

        monkeypatch.setattr(stack.broker.gateway, "server", broken)
        with caplog.at_level(logging.ERROR, "dart.rest"):
            async with stack.session.get(stack.url + "/server", headers=BEARER) as reply:
                body = await reply.text()
        assert (reply.status, "secret" in body) == (500, False)
        assert reply.headers["X-Request-Id"] in caplog.text
        assert "secret" in caplog.text


async def test_a_stream_that_fails_visibly_breaks_off(caplog, monkeypatch):
    """The head is out already, so the client must not take what came for the whole."""
    limits = replace(Limits(), page_items_max=1)
    async with rest(limits) as stack, await stack.broker.agent() as agent:
        await stack.define()
        await agent.join()
        await stack.submit(*[{"parameter": 1}] * 3)
        await stack.finish(agent, b"\x01", b"\x01", b"\x01")
        await until(lambda: not stack.broker.service.reactor.state.tasks)
        results = stack.broker.gateway.results

        async def breaking(*arguments, **options):
            number = 0
            async for page in results(*arguments, **options):
                if number == 2:
                    raise RuntimeError("secret")
                number += 1
                yield page

        monkeypatch.setattr(stack.broker.gateway, "results", breaking)
        with pytest.raises(aiohttp.ClientError), caplog.at_level(logging.ERROR, "dart.rest"):
            await stack.call("GET", "/job/j/results/?amount=9")
        assert "broke off" in caplog.text


async def test_a_handler_that_fails_after_its_head_breaks_off_too(caplog, monkeypatch):
    """No second answer is written into the first."""
    async with rest() as stack:

        def broken():
            raise UnavailableError("later")

        monkeypatch.setattr(stack.broker.gateway, "stop", broken)
        with caplog.at_level(logging.WARNING, "dart.rest"):
            received = await exchange(
                stack,
                f"DELETE /server HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode(),
                to_the_end=True,
            )
        assert received.count(b"HTTP/1.1") == 1
        assert "broke off: later" in caplog.text


async def test_a_reader_that_takes_nothing_is_cut_off():
    """An answer is not held for ever for who does not read it."""
    limits = replace(Limits(), request_seconds_max=0.3)
    async with rest(limits) as stack, await stack.broker.agent() as agent:
        await stack.define()
        await agent.join()
        await stack.submit(*[{"parameter": 1}] * 2)
        large = values.encode("x" * 20_000_000)
        await stack.finish(agent, large, large)
        await until(lambda: not stack.broker.service.reactor.state.tasks)
        _, writer = await asyncio.open_connection("127.0.0.1", stack.port, limit=1)
        head = f"GET /job/j/results/?amount=9 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        writer.write(head.encode())
        await until(lambda: len(stack.listener) == 2)
        await until(lambda: len(stack.listener) == 1)
        writer.close()


async def test_a_head_that_does_not_end_is_cut_off():
    """Half-open connections go after `request_seconds_max`."""
    async with rest(replace(Limits(), request_seconds_max=0.2)) as stack:
        assert await exchange(stack, b"GET /server HTTP/1.1\r\nHos") == b""
        received = await exchange(stack, b"POST /job HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        assert received.startswith(b"HTTP/1.1 4")


async def test_what_is_no_http_is_refused_in_the_one_shape():
    """400, and the connection ends."""
    async with rest() as stack:
        received = await exchange(stack, b"NONSENSE\r\n\r\n")
        assert b" 400 " in received.partition(b"\r\n")[0]
        assert b"\r\nX-Request-Id: early-" in received
        assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]["category"] == "malformed"


async def test_a_submission_with_a_key_goes_on_when_its_caller_goes_away():
    """Who asks again gets the ids of the first time."""
    async with rest(replace(Limits(), slice_tasks_max=20)) as stack:
        await stack.define()
        headers = {**BEARER, "Idempotency-Key": "one"}
        entries = [{"parameter": number} for number in range(300)]
        first = asyncio.create_task(stack.submit(*entries, headers=headers))
        await until(lambda: stack.broker.service.reactor.state.tasks)
        first.cancel()
        answer = await stack.submit(*entries, headers=headers)
        page = await stack.call("GET", "/job/j/tasks/?amount=1000")
        assert [task["id"] for task in page["tasks"]] == answer["tasks"]


async def test_after_a_restart_nobody_knows_whom_an_each_met(monkeypatch):
    """The store remembers the first id only; the refusal says where to look."""
    async with rest() as stack, await stack.broker.agent() as agent:
        await stack.define()
        await agent.join()

        async def remembered(_: Idempotency) -> int:
            return 7

        monkeypatch.setattr(stack.broker.gateway, "recall_answer", remembered)
        headers = {**BEARER, "Idempotency-Key": "one"}
        answer = await stack.submit({"parameter": 1, "each": {}}, headers=headers, status=409)
        assert "list of the job's tasks" in answer["error"]["message"]


async def test_limits_of_one_submission():
    """Too many tasks, too large a parameter, in both encodings."""
    limits = replace(Limits(), tasks_per_request_max=2, value_bytes_max=100)
    async with rest(limits) as stack:
        await stack.define()
        assert (await stack.submit(*[{"parameter": 1}] * 3, status=429))["error"]["code"] == 52
        await stack.submit({"parameter": "x" * 200}, status=400)
        body = msgpack.packb({"location_and_parameters": [{"parameter": "x" * 200}]})
        headers = {**BEARER, "Content-Type": "application/msgpack"}
        await stack.call("POST", "/job/j/tasks/", data=body, headers=headers, status=413)
        body = msgpack.packb({"location_and_parameters": [{"parameter": b"x"}, {}, {"parameter": 1, "colour": 1}]})
        await stack.call("POST", "/job/j/tasks/", data=body, headers=headers, status=429)
        body = msgpack.packb({"location_and_parameters": [{}, {"parameter": 1, "colour": 1}]})
        answer = await stack.call("POST", "/job/j/tasks/", data=body, headers=headers)
        assert (len(answer["tasks"]), "colour" in answer["warnings"][0]) == (2, True)
        await stack.call("POST", "/job/j/tasks/", data=b"", status=400)


async def test_bodies_in_flight_are_bounded_and_the_memory_comes_back():
    """429 with a time to come back; afterwards all is as before."""
    async with rest(replace(Limits(), bodies_in_flight_bytes_max=1000)) as stack:
        await stack.define()
        answer = await stack.submit({"parameter": "x" * 2000}, status=429)
        assert answer["error"]["retry_after"] == 1
        for _ in range(5):
            await stack.submit({"parameter": "x" * 500})


async def test_progress_and_state_of_a_running_task():
    """What does not apply is left out, what does is there."""
    async with rest() as stack, await stack.broker.agent() as agent:
        await stack.define()
        await agent.join()
        (task,) = (await stack.submit({"parameter": 1}))["tasks"]
        agent.credit(1)
        (lease,) = await agent.leases(1)

        async def shown():
            return (await stack.call("GET", f"/job/j/tasks/{task}/"))["task"]

        leased = await shown()
        assert (leased["state"], leased["worker"], leased["attempts"]) == ("leased", "w", 1)
        assert "progress" not in leased
        agent.send(Started((Start(lease.ref, 1_700_000_000_000),)))
        agent.send(Progress((ProgressReport(lease.ref, 0.5, "half"),)))
        held = stack.broker.service.reactor.state.tasks
        await until(lambda: held[int(task)].told.text)
        running = await shown()
        assert (running["state"], running["start_time"]) == ("running", 1_700_000_000_000)
        assert running["progress"] == {"text": "half", "fraction": 0.5}
