"""Values that SQLite cannot hold: refused where they come in, so that they never fail a commit, and others with it."""

import msgpack
import pytest

from dart.broker.store.sqlite import SqliteStore
from dart.limits import Limits
from dart.wire.messages import Error, ErrorCode, Results
from harness.rest_stack import KEY, MESSAGEPACK, joined, rest

INTEGERS = (1 << 63, (1 << 64) - 1, -(1 << 63), str(1 << 63))
NUMBERS = (*INTEGERS, 1e300, float("inf"), float("nan"), "1e400")
TEXTS = ("\ud800", "a\udfff", "a\0b")
JOB = {"name": "bad", "module_path": "m", "method": "run"}
ENTRY = {"parameter": 1}

CASES = [
    *(("/job/", JOB, name, text) for name in ("name", "module_path", "method") for text in TEXTS),
    *(("/job/", JOB, "requires", [text]) for text in TEXTS),
    *(("/job/", JOB, name, value) for name in ("priority", "retries", "lost_retries") for value in INTEGERS),
    *(("/job/", JOB, name, value) for name in ("timeout", "expires") for value in NUMBERS),
    *(("/job/j/tasks/", ENTRY, name, text) for name in ("location", "tag", "on_lost") for text in TEXTS),
    *(("/job/j/tasks/", ENTRY, "requires", [text]) for text in TEXTS),
    *(("/job/j/tasks/", ENTRY, name, value) for name in ("priority", "retries", "lost_retries") for value in INTEGERS),
    *(("/job/j/tasks/", ENTRY, name, value) for name in ("timeout", "expires") for value in NUMBERS),
    *(("/enroll/", {"name": "x", "public_key": "0" * 40}, name, t) for name in ("name", "public_key") for t in TEXTS),
]


def in_messagepack(members):
    """With lone surrogates as a careless encoder writes them."""
    return msgpack.packb(members, unicode_errors="surrogatepass")


@pytest.fixture
def store(tmp_path):
    return SqliteStore(tmp_path / "dart.db", Limits())


async def test_requests_with_such_values_are_refused(store):
    """400 each, from MessagePack, which can carry them all; whoever asks at the same time is served."""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": MESSAGEPACK}
    async with rest(store=store) as stack:
        await stack.define()
        for path, members, name, value in CASES:
            body = {**members, name: value}
            if path.endswith("/tasks/"):
                body = {"location_and_parameters": [body]}
            answer = await stack.call("POST", path, data=in_messagepack(body), headers=headers, status=400)
            assert answer["error"]["category"] in {"malformed", "invalid request"}, (path, name, value)
        assert stack.broker.gateway.ready() == ""
        assert len((await stack.submit({"parameter": 1}))["tasks"]) == 1
        assert [job["name"] for job in (await stack.call("GET", "/job/"))["jobs"]] == ["j"]


@pytest.mark.parametrize("value", INTEGERS)
async def test_reading_with_such_numbers_is_refused(store, value):
    """Cursors above any sequence; `amount` is moved to what there is."""
    async with rest(store=store) as stack:
        await stack.define()
        await stack.call("GET", f"/job/j/results/?after={value}", status=400)
        await stack.call("GET", f"/job/j/tasks/?after={value}", status=400)
        assert (await stack.results(amount=str(value))) == []
        assert (await stack.call("GET", f"/job/j/results/?after={(1 << 63) - 1}"))["results"] == []
        assert (await stack.call("GET", f"/job/j/tasks/?after={(1 << 63) - 1}"))["tasks"] == []
        await stack.call("DELETE", f"/job/j/results/{value}/")
        await stack.call("DELETE", f"/job/j/tasks/{value}/", status=404)
        assert stack.broker.gateway.ready() == ""


@pytest.mark.parametrize("path", ["/job/%ED%A0%80/", "/job/%FF/", "/job/a%00b/"])
async def test_names_in_paths_that_no_job_can_have(store, path):
    """Unknown like any other; forgetting what nobody has is no error either."""
    async with rest(store=store) as stack:
        for method, below in (("GET", ""), ("DELETE", ""), ("DELETE", "?purge=true"), ("GET", "results/?amount=1")):
            await stack.call(method, path + below, status=404)
        await stack.call("DELETE", path + "results/1/")
        await stack.call("POST", path + "tasks/", json={"location_and_parameters": [{}]}, status=404)
        assert stack.broker.gateway.ready() == ""


@pytest.mark.parametrize(
    "hostile",
    [{"error_code": 1 << 63}, {"error_code": 1 << 31}, {"start_time_ms": 1 << 63}, {"duration_seconds": -1.0}],
)
async def test_results_with_such_values_are_refused(hostile):
    """The codec refuses the frame; the task stays open."""
    async with joined() as (stack, agent):
        (task_id,) = (await stack.submit({"parameter": 1}))["tasks"]
        agent.credit(1)
        (lease,) = await agent.leases(1)
        agent.send(Results((agent.result(lease.ref, b"\xc0")._replace(**hostile),), None))
        assert (await agent.receive(Error)).code == ErrorCode.MALFORMED
        assert (await stack.call("GET", f"/job/j/tasks/{task_id}/"))["task"]["state"] == "leased"
        assert stack.broker.gateway.ready() == ""
