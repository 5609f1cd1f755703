"""The audit through REST: each change is there with who did it, in the same commit, and refusals do not flood it."""

import asyncio
import hashlib

import zmq

from dart.broker.core.records import AuditNoted, TasksAdded
from dart.broker.store.blobs import Blobs
from dart.broker.store.memory import MemoryStore
from dart.limits import Limits
from dart.rest.routes import ROUTES
from dart.wire import curve
from harness.raw_agent import RawAgent
from harness.rest_stack import joined, rest

SILENT = {
    ("POST", "/worker/{name}/ping/"): "it measures and changes nothing",
    ("DELETE", "/session/"): "in tests/integration/test_rest_sessions.py; a key has none to end",
    ("POST", "/worker/"): "in tests/e2e/test_hosts.py; these servers reach no hosts",
    ("POST", "/host/upgrade/"): "likewise",
    ("DELETE", "/worker/"): "likewise; and old programs send it for nothing",
    ("POST", "/server/rotation/"): "of whole servers only; its words are in the test of the core",
    ("POST", "/server/rotation/finish/"): "likewise",
}


async def _entries(stack, **query):
    """All but what the harness did before the test."""
    found = (await stack.call("GET", "/audit/", params={"amount": "1000", **query}))["audit"]
    return [entry for entry in found if entry["who"] != "server"]


EMPTY_MAP = hashlib.sha256(b"{}").hexdigest()


async def test_each_change_is_told(tmp_path):
    """By noun and verb, with the key's name, the address, and the request id that the answer had."""
    public = curve.key_text(curve.KeyPair.make().public)
    tasks = {"location_and_parameters": [{"location": "x", "parameter": "secret"}] * 2}
    calls = [
        ("POST", "/job/", {"name": "k", "module_path": "m", "method": "run"}, "job.define"),
        ("POST", "/job/k/tasks/", tasks, "task.submit"),
        ("DELETE", "/job/k/tasks/{id}/", None, "task.cancel"),
        ("DELETE", "/job/k/results/{id}/", None, "result.delete"),
        ("POST", "/module/", {"name": "m", "source": "secret", "wait": 0}, "module.push"),
        ("DELETE", "/module/w/", {"wait": 0}, "module.remove"),
        ("PUT", f"/blob/{EMPTY_MAP}/", {}, "blob.put"),
        ("POST", "/worker/w/drain/", {}, "worker.drain"),
        ("POST", "/enroll/", {"name": "w2", "public_key": public}, "agent.enroll"),
        ("POST", "/key/", {"scope": "read", "name": "eve"}, "key.add"),
        ("DELETE", "/key/{id}/", None, "key.revoke"),
        ("POST", "/token/", {"name": "w3", "local": True}, "token.add"),
        ("DELETE", "/token/{id}/", None, "token.revoke"),
        ("POST", "/worker/w/revoke/", {}, "worker.revoke"),
        ("POST", "/session/", None, "session.begin"),
        ("DELETE", "/job/k/", None, "job.stop"),
        ("DELETE", "/job/k/", {"purge": True}, "job.purge"),
        ("DELETE", "/server/", None, "server.stop"),
    ]
    async with joined() as (stack, _agent):
        gateway = stack.broker.gateway
        gateway.blobs = Blobs(tmp_path / "blobs", Limits())
        gateway.address = gateway.address._replace(
            url=stack.url, fingerprint="f" * 64
        )  # tokens are for servers with TLS
        before = len(await _entries(stack))
        ids, secrets, task = [], ["dart_test"], ""
        for method, path, body, _ in calls:
            headers = {"Authorization": "Bearer dart_test"}
            async with stack.session.request(
                method, stack.url + path.replace("{id}", task), json=body, headers=headers
            ) as answer:
                said = await answer.json()
                assert answer.status == 200, said
                ids.append(answer.headers["X-Request-Id"])
                made = [said[member]["id"] for member in ("key", "token") if "id" in said.get(member, {})]
                task = said["tasks"][0] if "tasks" in said else made[0] if made else task
                secrets.append(said.get("text", "secret"))
        told = (await _entries(stack))[before:]
        assert [entry["what"] for entry in told] == [what for *_, what in calls]
        assert [entry["request"] for entry in told] == ids
        assert {(entry["who"].split(" (")[0], entry["address"]) for entry in told} == {("key admin", "127.0.0.1")}
        assert [text for text in secrets if text in str(told)] == []
    covered = {(method, path) for method, path, *_ in calls}
    for route in ROUTES:
        path = (
            route.path.replace("{job}", "k")
            .replace("{name}", "w")
            .replace("{key_id}", "{id}")
            .replace("{token_id}", "{id}")
            .replace("{sha256}", EMPTY_MAP)
        )
        if route.method not in {"GET", "HEAD"} and (route.method, route.path) not in SILENT:
            assert (route.method, path) in covered, f"{route.method} {route.path}: show here that its entry is written"


async def test_paging(tmp_path):
    """Oldest first or newest first, by cursor; for the scope admin alone."""
    async with rest() as stack:
        for number in range(5):
            await stack.define(f"j{number}")
        everything = await _entries(stack)
        assert [entry["target"] for entry in everything] == [f"j{n}" for n in range(5)]
        first = await stack.call("GET", "/audit/", params={"amount": "2", "after": everything[0]["id"]})
        assert first["audit"] == everything[1:3]
        assert await _entries(stack, after=first["next"]) == everything[3:]
        newest = await stack.call("GET", "/audit/?amount=2&newest=true")
        assert [entry["target"] for entry in newest["audit"]] == ["j4", "j3"]
        older = await _entries(stack, after=newest["next"], newest="true")
        assert [entry["target"] for entry in older] == ["j2", "j1", "j0"]
        for key in ("submit", "read"):
            await stack.call("GET", "/audit/", status=403, headers={"Authorization": f"Bearer {key}"})


class Counting(MemoryStore):
    """Counts the groups that are committed."""

    def __init__(self):
        super().__init__()
        self.groups = []

    def commit(self, records):
        super().commit(records)
        self.groups.append([type(record) for record in records])


async def test_the_entry_costs_no_commit_of_its_own():
    """A POST of tasks is one group: tasks and entry together, as many commits as without an audit."""
    store = Counting()
    async with rest(store=store) as stack:
        await stack.define()
        store.groups.clear()
        for number in range(1, 4):
            await stack.submit({"location": "nobody", "parameter": number})
            assert len(store.groups) == number
            assert {AuditNoted, TasksAdded} <= set(store.groups[-1])


async def test_repetitions_of_a_request_are_told_once():
    """What an `Idempotency-Key` kept from being done twice has one entry."""
    async with rest() as stack:
        await stack.define()
        headers = {"Authorization": "Bearer dart_test", "Idempotency-Key": "once"}
        for _ in range(3):
            await stack.submit({"parameter": 1}, headers=headers)
        assert [entry["what"] for entry in await _entries(stack)] == ["job.define", "task.submit"]


async def test_deleting_result_after_result_is_few_entries():
    """The first has its id; the others are one number, told when the server stops at the latest."""
    async with rest() as stack:
        await stack.define("j")
        for number in range(1, 31):
            await stack.call("DELETE", f"/job/j/results/{number}/")
        stack.broker.gateway.close()
        await stack.define("k")  # of a later turn, as below
        told = [entry for entry in await _entries(stack) if entry["what"] == "result.delete"]
        assert [(entry["target"], entry["outcome"]) for entry in sorted(told, key=lambda entry: int(entry["id"]))] == [
            ("j/1", "done"), ("j", "done, 29 more times"),
        ]  # fmt: skip
        assert len({entry["who"] for entry in told}) == 1


async def test_a_flood_of_wrong_keys_is_few_entries():
    """Its begin and its number; the known key whose scope is too small is named."""
    async with rest() as stack:
        for _ in range(50):
            async with stack.session.get(f"{stack.url}/server/", headers={"Authorization": "Bearer wrong"}) as answer:
                assert answer.status in {401, 429}
        await stack.call("DELETE", "/server/", status=403, headers={"Authorization": "Bearer read"})
        stack.broker.gateway.audit.count()
        await stack.define()  # of a later turn: what was posted before is there when this is answered
        told = [entry for entry in await _entries(stack) if entry["what"] == "request"]
        assert len(told) <= 5
        assert told[0]["outcome"] == "refused: 401 no key that counts"
        assert (told[0]["who"], told[0]["target"], told[0]["address"]) == ("nobody", "GET /server/", "127.0.0.1")
        (forbidden,) = [entry for entry in told if "403" in entry["outcome"]]
        assert forbidden["who"].startswith("key read")
        assert forbidden["target"] == "DELETE /server/"
        assert "wrong" not in str(told)


async def test_agents_that_are_turned_away():
    """A key that nobody enrolled, and one with another's name: told with fingerprint and reason."""
    async with rest() as stack:
        stack.broker.admission.on_refusal = stack.broker.gateway.audit.refuse_agent
        keys = curve.KeyPair.make()
        async with RawAgent(stack.broker.url, stack.broker.keys.public, keys) as stranger:
            assert await stranger.handshake() != zmq.EVENT_HANDSHAKE_SUCCEEDED
        async with await stack.broker.agent("rogue") as rogue:
            rogue.hello(name="honest")
            told = []
            async with asyncio.timeout(10):
                while len(told) < 2:
                    told = [entry for entry in await _entries(stack) if entry["what"] == "agent.connect"]
        assert told[0]["who"] == f"agent {curve.agent_id(keys.public)[:16]}"
        assert told[0]["address"] == "127.0.0.1"
        assert "is not enrolled" in told[0]["outcome"]
        assert "enrolled for 'rogue', not for 'honest'" in told[1]["outcome"]
