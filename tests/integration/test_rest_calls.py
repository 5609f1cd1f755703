"""Server, workers, jobs and what is the same for many calls, against a real broker."""

import msgpack
import pytest

from dart.wire import curve
from harness.broker_stack import until
from harness.rest_stack import BEARER, MESSAGEPACK, joined, rest


async def test_get_server_tells_where_rest_and_agents_are():
    """`servers` has one entry, with natural types."""
    async with rest() as stack:
        (server,) = (await stack.call("GET", "/server/"))["servers"]
        assert server["host"] == "127.0.0.1"
        assert type(server["port"]) is type(server["agent"]["port"]) is int
        assert server["agent"] == {"host": "127.0.0.1", "port": stack.broker.gateway.address.agent_port}


async def test_delete_server_answers_and_then_stops():
    """200 is out before the end begins."""
    async with rest() as stack:
        assert await stack.call("DELETE", "/server/") == {}
        await until(lambda: stack.stops)


async def test_workers_are_listed_one_entry_a_name():
    """`count` is the slots of all agents of the name."""
    async with joined(slots=3, capabilities=("gpu",)) as (stack, _):
        (worker,) = (await stack.call("GET", "/worker/"))["workers"]
        assert (worker["name"], worker["count"], worker["capabilities"]) == ("w", 3, ["gpu"])
        shown = (await stack.call("GET", "/worker/w/"))["worker"]
        assert [agent["slots"] for agent in shown["agents"]] == [3]
        await stack.call("GET", "/worker/nobody/", status=404)


async def test_a_worker_is_shown_with_what_it_holds():
    """As far as the key sees the jobs."""
    async with joined() as (stack, agent):
        agent.credit(2)
        await stack.define("secret")
        for job in ("j", "secret"):
            await stack.submit({"location": "w", "parameter": 1}, job=job)
        await agent.leases(2)
        added = await stack.call("POST", "/key/", json={"name": "bound", "scope": "read", "jobs": ["j"]})
        bound = {"headers": {"Authorization": f"Bearer {added['text']}"}}
        for options, jobs in (({}, ["j", "secret"]), (bound, ["j"])):
            worker = (await stack.call("GET", "/worker/w/", **options))["worker"]
            assert [(task["job"], task["state"], task["worker"]) for task in worker["tasks"]] == [
                (job, "leased", "w") for job in jobs
            ]


async def test_drain_and_ping_reach_the_agents():
    """Ping says who answered in time; drain how many were asked; unknown names are 404."""
    async with joined() as (stack, _):
        answer = await stack.call("POST", "/worker/w/ping/", json={"wait": 0.1})
        assert [(agent["host"], agent["answered"]) for agent in answer["agents"]] == [("somewhere", False)]
        assert (await stack.call("POST", "/worker/w/drain/"))["draining"] == 1
        await stack.call("POST", "/worker/nobody/drain/", status=404)
        await stack.call("POST", "/worker/nobody/ping/", status=404)


async def test_enrolment_gives_what_an_agent_needs():
    """Repeated, it gives the same; Z85 both ways; a key that is none is refused."""
    async with rest() as stack:
        keys = curve.KeyPair.make()
        body = {"name": "new", "public_key": curve.key_text(keys.public)}
        answer = await stack.call("POST", "/enroll/", json=body)
        assert answer["agent_id"] == curve.agent_id(keys.public)
        assert answer["server_public_key"] == curve.key_text(stack.broker.keys.public)
        assert answer["agent"] == stack.broker.url
        assert answer["store_id"] == (await stack.call("GET", "/server/"))["servers"][0]["store_id"]
        assert await stack.call("POST", "/enroll/", json=body) == answer
        for wrong in ("short", "#" * 40, '"' * 40):
            await stack.call("POST", "/enroll/", json={**body, "public_key": wrong}, status=400)


async def test_adding_workers_is_checked_also_where_no_host_is_reached():
    """Wrong members are 400, right ones a clear 503."""
    async with rest() as stack:
        good = {
            "name": "w",
            "hosts": ["h"],
            "ssh": {"username": "u", "port": "22", "public-key": "k", "private-key": None},
        }
        answer = await stack.call("POST", "/worker/", json=good, status=503)
        assert "dart agent start" in answer["error"]["message"]
        for wrong in (
            {"hosts": []}, {"hosts": [""]}, {"hosts": "h"}, {"name": "a/b"}, {"name": ""}, {"workers_per_host": 0},
            {"workers_per_host": "x"}, {"capabilities": "gpu"}, {"shm_size": -1}, {"ssh": {"port": 0}}, {"ssh": 5},
            {"ssh": {"host_keys": "all"}},
            {"name": None},
        ):  # fmt: skip
            await stack.call("POST", "/worker/", json={**good, **wrong}, status=400)
        await stack.call("POST", "/worker/", json={"hosts": ["h"]}, status=400)


@pytest.mark.parametrize("hosts", ["h", None, []])
async def test_removing_no_workers_is_no_error(hosts):
    """A bare string, null and an empty list do nothing, with 200; a list of hosts is not offered yet."""
    async with rest() as stack:
        assert await stack.call("DELETE", "/worker/", json={"hosts": hosts, "ssh": {"port": 22}}) == {}
        await stack.call("DELETE", "/worker/", json={"hosts": ["h"]}, status=503)
        await stack.call("DELETE", "/worker/?hosts=h", status=503)
        await stack.call("DELETE", "/worker/", json={"hosts": 5}, status=400)


async def test_a_job_from_definition_to_purge():
    """Status 1, 409 when defined again, 2 when stopped however often, unknown after the purge."""
    async with rest() as stack:
        await stack.define("a:b#c.d+e-f", priority=3)
        await stack.call("POST", "/job/", json={"name": "a:b#c.d+e-f", "module_path": "m", "method": "r"}, status=409)
        path = "/job/a:b%23c.d+e-f/"
        job = (await stack.call("GET", path))["job"]
        assert (job["name"], job["status"], job["config"]) == (
            "a:b#c.d+e-f",
            1,
            {"module_path": "m", "method": "run", "priority": 3},
        )
        assert await stack.call("GET", path + "status/") == {"job": {"name": "a:b#c.d+e-f", "status": 1}}
        for _ in range(2):
            assert (await stack.call("DELETE", path))["job"]["status"] == 2
        assert (await stack.call("GET", path + "status/"))["job"]["status"] == 2
        assert (await stack.call("DELETE", path, params={"purge": "true"}))["job"]["status"] == 0
        await stack.call("GET", path + "status/", status=404)
        await stack.call("DELETE", path, status=404)
        await stack.call("DELETE", path, json={"purge": True}, status=404)


async def test_jobs_are_listed_in_pages():
    """`next` names the last one until there are no more."""
    async with rest() as stack:
        for name in ("b", "a", "c"):
            await stack.define(name)
        page = await stack.call("GET", "/job/", params={"amount": "2"})
        assert ([job["name"] for job in page["jobs"]], page["next"]) == (["a", "b"], "b")
        page = await stack.call("GET", "/job/", params={"amount": "2", "after": page["next"]})
        assert [job["name"] for job in page["jobs"]] == ["c"]
        assert "next" not in page


@pytest.mark.parametrize("member", ["serializer", "source"])
async def test_members_that_would_change_what_is_run_are_refused_until_they_are_offered(member):
    """Ignoring them would be worse than saying so."""
    async with rest() as stack:
        body = {"name": "j", "module_path": "m", "method": "r", member: "x"}
        answer = await stack.call("POST", "/job/", json=body, status=400)
        assert answer["error"]["field"] == member


async def test_unknown_members_are_warned_of_on_historic_calls_and_refused_on_others():
    """Old programs send what nobody knows; new ones made a mistake."""
    async with rest() as stack:
        await stack.define()
        answer = await stack.call("GET", "/job/j/", json={"output_directory": "x"})
        assert "output_directory" in answer["warnings"][0]
        answer = await stack.submit({"parameter": 1, "colour": "red"})
        assert "colour" in answer["warnings"][0]
        body = {"location_and_parameters": [], "python_home": "/usr"}
        assert "python_home" in (await stack.call("POST", "/job/j/tasks/", json=body))["warnings"][0]
        answer = await stack.call("GET", "/job/", params={"colour": "red"}, status=400)
        assert answer["error"]["field"] == "colour"


async def test_an_idempotency_key_makes_repeating_harmless():
    """The same answer again and nothing changed; 409 for another body or another call."""
    async with rest() as stack:
        headers = {**BEARER, "Idempotency-Key": "one"}
        body = {"name": "j", "module_path": "m", "method": "run"}
        for _ in range(2):
            await stack.call("POST", "/job/", json=body, headers=headers)
        await stack.call("POST", "/job/", json={**body, "name": "k"}, headers=headers, status=409)
        await stack.call("DELETE", "/job/j/", headers=headers, status=409)
        headers["Idempotency-Key"] = "two"
        first = await stack.submit({"parameter": 1}, {"parameter": 2}, headers=headers)
        assert await stack.submit({"parameter": 1}, {"parameter": 2}, headers=headers) == first
        assert len((await stack.call("GET", "/job/j/tasks/"))["tasks"]) == 2
        headers["Idempotency-Key"] = "three"
        stopped = await stack.call("DELETE", "/job/j/", headers=headers)
        assert stopped["cancelled"] == 2
        assert await stack.call("DELETE", "/job/j/", headers=headers) == stopped
        await stack.call("DELETE", "/job/j/?purge=1")
        headers["Idempotency-Key"] = "two"
        assert await stack.submit({"parameter": 1}, {"parameter": 2}, headers=headers) == first
        headers["Idempotency-Key"] = "four"
        await stack.submit({"parameter": 1}, headers=headers, status=404)
        headers["Idempotency-Key"] = "x" * 300
        await stack.submit({"parameter": 1}, headers=headers, status=400)


async def test_defaults_of_a_job_are_those_of_its_tasks():
    """What a task says itself wins."""
    async with rest() as stack:
        await stack.define(priority="5", requires=["gpu", ""], timeout=2)
        await stack.submit({"parameter": 1}, {"parameter": 1, "priority": 1, "requires": []})
        tasks = (await stack.call("GET", "/job/j/tasks/"))["tasks"]
        assert [(task["priority"], task["requires"]) for task in tasks] == [(5, ["gpu"]), (1, [])]


async def test_both_spellings_of_every_path_answer():
    """With and without the trailing slash."""
    async with rest() as stack:
        await stack.define()
        for path in (
            "/server",
            "/worker",
            "/job",
            "/job/j",
            "/job/j/status",
            "/job/j/results",
            "/job/j/tasks",
            "/healthz",
            "/readyz",
        ):
            assert await stack.call("GET", path) == await stack.call("GET", path + "/")


async def test_the_query_wins_over_the_body():
    """They mean the same otherwise."""
    async with joined() as (stack, agent):
        await stack.submit(*[{"parameter": 1}] * 3)
        await stack.finish(agent, b"\x01", b"\x01", b"\x01")
        await until(lambda: not stack.broker.service.reactor.state.tasks)
        answer = await stack.call("GET", "/job/j/results/", json={"amount": 1}, params={"amount": "2"})
        assert len(answer["results"]) == 2
        packed = msgpack.packb({"amount": 1})
        headers = {**BEARER, "Content-Type": MESSAGEPACK}
        answer = await stack.call("GET", "/job/j/results/", data=packed, headers=headers)
        assert len(answer["results"]) == 1


async def test_readiness_says_why_not():
    """503 with the reason once the server is stopping; health goes on."""
    async with rest() as stack:
        stack.broker.gateway.close()
        answer = await stack.call("GET", "/readyz", headers={}, status=503)
        assert "stopping" in answer["error"]["message"]
        await stack.call("GET", "/healthz", headers={})
