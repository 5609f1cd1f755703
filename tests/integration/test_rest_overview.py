"""The tables of the page at `/`: workers and jobs a part at a time, numbers over time, one result."""

import asyncio

from dart.rest.dashboard.history import quantile
from dart.wire import curve
from harness.broker_stack import until
from harness.rest_stack import joined, rest


async def table(stack, noun, **query):
    said = await stack.call("GET", f"/overview/{noun}/", params=query)
    return [row["name"] for row in said[noun]], said["total"]


async def test_workers_a_part_at_a_time():
    """By name, by load, by silence; those that are not connected too; found by host or architecture."""
    async with rest() as stack:
        agents = [await stack.broker.agent(name) for name in ("b", "a", "c")]
        for agent in agents:
            await agent.join(facts={"architecture": f"arm-{agent.name}", "agent_version": "1.2"})
        await stack.broker.gateway.enrolments.enroll(curve.KeyPair.make().public, "away")
        assert await table(stack, "workers") == (["a", "away", "b", "c"], 4)
        assert await table(stack, "workers", amount=1, offset=2) == (["b"], 4)
        assert await table(stack, "workers", offset=9) == ([], 4)
        assert await table(stack, "workers", match="ARM-C") == (["c"], 1)
        assert await table(stack, "workers", only="away") == (["away"], 1)
        assert await table(stack, "workers", only="connected", amount=1) == (["a"], 3)
        assert await table(stack, "workers", only="draining") == ([], 0)
        refused = await stack.call("GET", "/overview/workers/?only=x", status=400)
        assert "away, draining" in refused["error"]["message"]
        await stack.define()
        await stack.submit({"location": "c", "parameter": 1})
        agents[2].credit(1)
        await until(lambda: next(iter(stack.broker.service.reactor.state.connected["c"].values())).leases)
        assert (await table(stack, "workers", order="busy"))[0][0] == "c"
        row = (await stack.call("GET", "/overview/workers/?match=c&order=busy"))["workers"][0]
        assert (row["architectures"], row["versions"], row["busy"], row["count"]) == (["arm-c"], ["1.2"], 1, 1)
        stack.broker.gateway.overview.note_loads()
        (away,) = (await stack.call("GET", "/overview/workers/?match=away"))["workers"]
        assert (away["connected"], away["count"], away["loads"], "last_contact" in away) == (False, 0, [], False)
        assert (await stack.call("GET", "/overview/workers/?match=c"))["workers"][0]["loads"] == [100]
        assert (await table(stack, "workers", order="contact"))[0][-1] == "away"
        for agent in agents:
            agent.close()


async def test_jobs_a_part_at_a_time():
    """Newest first or by name; only those with open tasks; counts that do not depend on how many workers there were."""
    async with joined() as (stack, agent):
        for name in ("b", "A", "c"):
            await stack.define(name)
        assert await table(stack, "jobs") == (["c", "A", "b", "j"], 4)
        assert await table(stack, "jobs", order="name", offset=1, amount=2) == (["b", "c"], 4)
        assert await table(stack, "jobs", match="a") == (["A"], 1)
        await stack.submit({"location": "w", "parameter": 1}, {"location": "w", "parameter": 2}, job="b")
        await stack.finish(agent, b"\x01")
        await until(lambda: len(stack.broker.service.reactor.state.tasks) == 1)
        assert await table(stack, "jobs", open="true") == (["b"], 1)
        (row,) = (await stack.call("GET", "/overview/jobs/?open=true"))["jobs"]
        assert row["tasks"] == {"queued": 1, "succeeded": 1}
        refused = await stack.call("GET", "/overview/jobs/?order=size", status=400)
        assert "newest, name" in refused["error"]["message"]
        refused = await stack.call("GET", "/overview/jobs/", params={"match": "0" * 256}, status=400)
        assert refused["error"]["field"] == "match"


async def test_numbers_now_and_before():
    """What happened since the last look, once; later samples only, when asked for them."""
    async with joined() as (stack, agent):
        await stack.submit({"location": "w", "parameter": 1}, {"location": "w", "parameter": 2})
        await stack.finish(agent, b"\x01")
        await stack.finish(agent, b"\xa1e", success=False)
        await until(lambda: sum(stack.broker.service.measures.finished.values()) == 2)
        async with asyncio.timeout(5):
            while sum((said := await stack.call("GET", "/overview/"))["history"]["finished"]) < 2:  # noqa: ASYNC110 - asked of the server
                await asyncio.sleep(0.05)  # the server looks once a second
        assert said["now"]["workers"] == said["now"]["agents"] == said["now"]["slots"] == 1
        assert {"succeeded": 1, "failed": 1}.items() <= said["now"]["finished"].items()
        assert said["now"]["tasks"] == {"queued": 0, "delayed": 0, "leased": 0, "running": 0}
        was = said["history"]
        assert (sum(was["submitted"]), sum(was["finished"]), sum(was["failed"])) == (2, 2, 1)
        assert max(was["wait_p95"]) > 0
        later = await stack.call("GET", "/overview/", params={"since": was["at"][-1] + 60_000})
        assert later["history"]["at"] == []


async def test_one_result():
    """Its value or its traceback; how large it is, the task says before; none of an open or unknown task."""
    async with joined() as (stack, agent):
        entry = {"location": "w", "parameter": 1}
        ids = (await stack.submit(entry, entry, entry))["tasks"]
        await stack.finish(agent, b"\x07")
        await stack.finish(agent, b"\xa5Oops!", success=False)
        await until(lambda: len(stack.broker.service.reactor.state.tasks) == 1)
        assert (await stack.call("GET", f"/job/j/results/{ids[0]}/"))["result"]["success"] == 7
        assert (await stack.call("GET", f"/job/j/results/{ids[1]}/"))["result"]["error"] == "Oops!"
        assert (await stack.call("GET", f"/job/j/tasks/{ids[1]}/"))["task"]["result_bytes"] == 6
        for unknown in (ids[2], "99"):
            await stack.call("GET", f"/job/j/results/{unknown}/", status=404)
        await stack.call("DELETE", f"/job/j/tasks/{ids[2]}/")
        await stack.call("GET", f"/job/j/results/{ids[2]}/", status=404)


def test_quantiles():
    """As Prometheus reads them off; what lies above all bounds is the last one."""
    assert quantile((1.0, 2.0), [0, 0, 0], 0.5) == -1
    assert quantile((1.0, 2.0), [4, 0, 0], 0.5) == 0.5
    assert quantile((1.0, 2.0), [1, 2, 1], 0.5) == 1.5
    assert quantile((1.0, 2.0), [0, 0, 3], 0.95) == 2.0
