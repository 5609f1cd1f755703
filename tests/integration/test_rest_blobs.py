"""Large values over REST: sent once, gone on with, read whole or in part, kept while something names them."""

import asyncio
import hashlib
import io

import pytest

from dart.broker.blob_keeper import BlobKeeper
from dart.broker.store.sqlite import SqliteStore
from dart.limits import Limits
from dart.wire.messages import Named, Results
from harness.broker_stack import until
from harness.rest_stack import BEARER, rest

DATA = bytes(range(256)) * 3000
SHA256 = hashlib.sha256(DATA).hexdigest()
PATH = f"/blob/{SHA256}/"


@pytest.fixture
async def stack(tmp_path):
    limits = Limits(blob_idle_seconds=0.0, blob_bytes_max=1_000_000, store_spare_bytes=0)
    async with rest(limits, SqliteStore(tmp_path / "dart.db", limits), tmp_path / "blobs") as stack:
        yield stack


async def ask(stack, method, path=PATH, **options):
    """Status, headers and body of an answer."""
    options["headers"] = {**BEARER, **options.get("headers", {})}
    async with stack.session.request(method, stack.url + path, **options) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_sent_once_and_read_whole_or_in_part(stack):
    """Its hash is its name and its tag; sent again it is not stored again."""
    told = {"blob": {"sha256": SHA256, "bytes": len(DATA)}}
    for _ in range(2):
        assert await stack.call("PUT", PATH, data=DATA) == told
    assert len(stack.broker.gateway.blobs) == 1
    status, headers, body = await ask(stack, "HEAD")
    assert (status, headers["Content-Length"], headers["ETag"], body) == (200, str(len(DATA)), f'"{SHA256}"', b"")
    status, headers, body = await ask(stack, "GET")
    assert (status, headers["Content-Type"], body) == (200, "application/octet-stream", DATA)
    for asked, part in (("5-9", slice(5, 10)), ("767998-", slice(-2, None)), ("-3", slice(-3, None))):
        status, headers, body = await ask(stack, "GET", headers={"Range": f"bytes={asked}"})
        assert (status, body) == (206, DATA[part])
        assert headers["Content-Range"].endswith(f"/{len(DATA)}")
    assert (await ask(stack, "GET", headers={"Range": "lines=1-2"}))[0] == 200
    assert (await ask(stack, "GET", headers={"If-None-Match": f'"{SHA256}"'}))[::2] == (304, b"")
    counted = stack.broker.service.measures.blob_bytes
    assert counted == {
        "from_clients": 2 * len(DATA),
        "to_clients": 2 * len(DATA) + 10,
        "from_agents": 0,
        "to_agents": 0,
    }
    rows = (await stack.call("GET", "/audit/?amount=9"))["audit"]
    assert [row["target"] for row in rows if row["what"] == "blob.put"] == [SHA256]


async def test_no_bytes_are_a_blob_too(stack):
    """Of the hash of nothing."""
    path = f"/blob/{hashlib.sha256().hexdigest()}/"
    assert (await stack.call("PUT", path))["blob"]["bytes"] == 0
    assert (await ask(stack, "GET", path))[::2] == (200, b"")


async def test_what_is_refused(stack):
    """Each with its reason; nothing of it stays."""
    await stack.call("GET", PATH, status=404)
    await stack.call("PUT", "/blob/abc/", data=DATA, status=404)
    wrong = await stack.call("PUT", f"/blob/{'0' * 64}/", data=DATA, status=400)
    assert wrong["error"]["field"] == "sha256"

    async def pieces():
        yield DATA

    assert (await stack.call("PUT", PATH, data=pieces(), status=400))["error"]["field"] == "Content-Length"
    for asked in ("bytes 0-1/9", f"bytes 1-{len(DATA)}/{len(DATA)}", "all"):
        headers = {**BEARER, "Content-Range": asked}
        refused = await stack.call("PUT", PATH, data=DATA, headers=headers, status=400)
        assert refused["error"]["field"] == "Content-Range"
    headers = {**BEARER, "Content-Range": f"bytes 10-{len(DATA) - 1}/{len(DATA)}"}
    refused = await stack.call("PUT", PATH, data=DATA[10:], headers=headers, status=409)
    assert refused["error"]["offset"] == 0
    await stack.call("PUT", PATH, data=io.BytesIO(DATA * 2), status=413)
    assert stack.broker.gateway.blobs.bytes == 0
    await stack.call("PUT", PATH, data=DATA)
    await stack.call("GET", PATH, headers={**BEARER, "Range": f"bytes={len(DATA)}-"}, status=400)


async def test_an_upload_goes_on_where_it_was_cut(stack):
    """HEAD tells from where; what came before is hashed again with the rest."""
    head = f"PUT {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {BEARER['Authorization']}\r\nContent-Length: {len(DATA)}"
    _, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    writer.write(head.encode() + b"\r\n\r\n" + DATA[:600_000])
    blobs = stack.broker.gateway.blobs
    await until(lambda: blobs.bytes >= 1 << 18)
    writer.close()
    await until(lambda: not blobs._writing)
    status, headers, _ = await ask(stack, "HEAD")
    here = int(headers["X-Dart-Uploaded"])
    assert status == 404
    assert here >= 1 << 18
    headers = {**BEARER, "Content-Range": f"bytes {here}-{len(DATA) - 1}/{len(DATA)}"}
    await stack.call("PUT", PATH, data=DATA[here:], headers=headers)
    assert (await ask(stack, "GET"))[2] == DATA
    assert blobs.bytes == len(DATA)


async def test_it_stays_while_something_names_it(stack):
    """An open task, its result, a standing job; deep inside of a value, too. Then it goes."""
    keeper = BlobKeeper(stack.broker.gateway.blobs, stack.broker.service, seconds=3600)
    await stack.call("PUT", PATH, data=DATA)
    named = {"model": [{"__dart__": "blob", "sha256": SHA256, "bytes": len(DATA)}]}
    await stack.define()
    await stack.define("standing", standing=True, parameter=named)
    assert await keeper.sweep() == 0
    task = (await stack.submit({"location": "w", "parameter": named}))["tasks"][0]
    await stack.call("DELETE", "/job/standing/?purge=true")
    assert await keeper.sweep() == 0
    async with await stack.broker.agent() as agent:
        await agent.join()
        agent.credit(1)
        (lease,) = await agent.leases(1)
        agent.send(Results((agent.result(lease.ref, bytes(lease.parameter)),), None))
    await until(lambda: not stack.broker.service.reactor.state.tasks)
    assert await keeper.sweep() == 0
    await stack.call("DELETE", f"/job/j/results/{task}/")
    assert await keeper.sweep() == 1
    await stack.call("GET", PATH, status=404)
    await keeper.close()


async def test_it_stays_while_a_result_that_names_it_waits_for_other_blobs(stack):
    """However long they take; nothing durable names it until then."""
    keeper = BlobKeeper(stack.broker.gateway.blobs, stack.broker.service, seconds=3600)
    await stack.call("PUT", PATH, data=DATA)
    await stack.define()
    await stack.submit({"location": "w"})
    async with await stack.broker.agent() as agent:
        await agent.join()
        agent.credit(1)
        (lease,) = await agent.leases(1)
        named = (Named(bytes.fromhex(SHA256), len(DATA)), Named(b"o" * 32, 5))
        agent.send(Results((agent.result(lease.ref, b"\xc0")._replace(blobs=named),), None))
        core = stack.broker.service.reactor.state
        await until(lambda: any(one.session.arrivals for one in core.agents.values()))
        assert await keeper.sweep() == 0
    await keeper.close()


async def test_the_keeper_looks_by_itself(stack):
    """Again and again, until it is closed; a store that cannot be read is no end of it."""
    await stack.call("PUT", PATH, data=DATA)
    keeper = BlobKeeper(stack.broker.gateway.blobs, stack.broker.service, seconds=0.001)
    keeper.start()
    await until(lambda: len(stack.broker.gateway.blobs) == 0)
    await keeper.close()


async def test_a_server_without_blobs():
    """Says so."""
    async with rest() as stack:
        refused = await stack.call("PUT", PATH, data=DATA, status=503)
        assert refused["error"]["code"] == 60
