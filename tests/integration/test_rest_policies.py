"""Standing jobs, `after`, retention and delays as REST takes and shows them."""

from dataclasses import replace

import msgspec
import pytest

from dart.broker.store.sqlite import SqliteStore
from dart.limits import Limits
from harness.broker_stack import until
from harness.rest_stack import BEARER, MESSAGEPACK, rest


async def test_a_standing_job_is_defined_and_shown():
    """With parameter, pattern and policy; its task comes with the worker."""
    async with rest() as stack:
        await stack.define("init", standing=True, parameter={"a": [1]}, worker_regex="w.*", retries=2, retry_delay=1)
        config = (await stack.call("GET", "/job/init/"))["job"]["config"]
        assert (config["standing"], config["worker_regex"], config["retries"], config["retry_delay"]) == (
            True, "w.*", 2, 1.0,
        )  # fmt: skip
        agent = await stack.broker.agent("w1")
        await agent.join()
        agent.credit(1)
        (lease,) = await agent.leases(1)
        assert bytes(lease.parameter) == msgspec.msgpack.encode({"a": [1]})
        (task,) = (await stack.call("GET", "/job/init/tasks/"))["tasks"]
        assert task["location"] == "w1"
        agent.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [("python>=three", "no number or version"), ("memory_gib>=", "lacks"), (">=4", "lacks"), ("!", "nothing after")],
)
async def test_requirements_that_nobody_could_satisfy_are_refused(text, said):
    """In tasks, in definitions and in `each`, with what is wrong."""
    async with rest() as stack:
        await stack.define("j")
        for entry in ({"requires": ["gpu", text]}, {"each": {"requires": [text]}}):
            answer = await stack.call(
                "POST", "/job/j/tasks/", json={"location_and_parameters": [{"parameter": 1, **entry}]}, status=400
            )
            assert said in answer["error"]["message"]
        body = {"name": "k", "module_path": "m", "method": "run", "requires": [text]}
        assert said in (await stack.call("POST", "/job/", json=body, status=400))["error"]["message"]


async def test_workers_are_chosen_by_facts_and_by_what_they_lack():
    """`each` goes to the workers whose agents satisfy it; a task that nobody satisfies says what is there instead."""
    async with rest() as stack:
        await stack.define("j")
        pi, box = await stack.broker.agent("pi"), await stack.broker.agent("box")
        await pi.join(facts={"memory_gib": "4"}, capabilities=("arm",))
        await box.join(facts={"memory_gib": "64"})
        for requires, locations in (
            (["memory_gib>=4"], ["box", "pi"]),
            (["memory_gib>=5"], ["box"]),
            (["!arm"], ["box"]),
            (["memory_gib=4", "arm"], ["pi"]),
            (["memory_gib=4", "!arm"], []),
        ):
            answer = await stack.submit({"parameter": 1, "each": {"requires": requires}})
            assert sorted(answer["locations"]) == locations
        (waiting,) = (await stack.submit({"parameter": 1, "requires": ["memory_gib>=128", "fpga"]}))["tasks"]
        task = (await stack.call("GET", f"/job/j/tasks/{waiting}/"))["task"]
        assert task["pending_reason"] == "No agent of any connected worker satisfies fpga, memory_gib>=128."
        assert task["pending_reasons"] == [
            f"Worker {name!r} on host 'somewhere': lacks the capability fpga; does not satisfy memory_gib>=128"
            f" (memory_gib is {gib})."
            for name, gib in (("pi", 4), ("box", 64))
        ]
        workers = (await stack.call("GET", "/worker/"))["workers"]
        assert [worker["facts"] for worker in workers] == [{"memory_gib": ["64"]}, {"memory_gib": ["4"]}]
        pi.close()
        box.close()


@pytest.mark.parametrize("parameter", [None, b"\x00\xff"])
async def test_a_parameter_in_messagepack(parameter):
    """Its very bytes; left out it is nil."""
    async with rest() as stack:
        body = {"name": "init", "module_path": "m", "method": "run", "standing": True}
        if parameter is not None:
            body["parameter"] = parameter
        headers = {**BEARER, "Content-Type": MESSAGEPACK}
        await stack.call("POST", "/job/", data=msgspec.msgpack.encode(body), headers=headers)
        agent = await stack.broker.agent("w")
        await agent.join()
        agent.credit(1)
        (lease,) = await agent.leases(1)
        assert bytes(lease.parameter) == msgspec.msgpack.encode(parameter)
        agent.close()


@pytest.mark.parametrize(
    ("members", "status", "field"),
    [
        ({"standing": True, "expires": 5}, 400, "expires"),
        ({"standing": True, "worker_regex": "(a+)+"}, 400, "worker_regex"),
        ({"standing": "perhaps"}, 400, "standing"),
        ({"after": ["nothing"]}, 404, "after"),
        ({"after": ["plain"]}, 404, "after"),
        ({"after": "plain"}, 400, "after"),
        ({"after": ["a/b"]}, 400, "after[]"),
        ({"retention": {"seconds": -1}}, 400, "retention.seconds"),
        ({"retention": {"results": "x"}}, 400, "retention.results"),
        ({"retention": {"rows": 1}}, 400, "retention.rows"),
        ({"retry_delay": -1}, 400, "retry_delay"),
        ({"lost_retry_delay": "x"}, 400, "lost_retry_delay"),
    ],
)
async def test_wrong_definitions_are_refused(members, status, field):
    """With the member that is wrong, and nothing is defined."""
    async with rest() as stack:
        await stack.define("plain")
        body = {"name": "j", "module_path": "m", "method": "run", **members}
        answer = await stack.call("POST", "/job/", json=body, status=status)
        assert answer["error"]["field"] == field
        await stack.call("GET", "/job/j/", status=404)


async def test_old_programs_may_say_parameter():
    """It is ignored with a warning where the job is not standing, as any member that is not known."""
    async with rest() as stack:
        body = {"name": "j", "module_path": "m", "method": "run", "parameter": 1}
        answer = await stack.call("POST", "/job/", json=body)
        assert "parameter" in answer["warnings"][0]


async def test_tasks_come_after_standing_jobs():
    """Named by the job or by the task; shown by name; unknown ones refuse the request."""
    async with rest() as stack:
        await stack.define("init", standing=True)
        await stack.define("j", after=["init"], requires=["gpu"])
        answer = await stack.submit({}, {"after": []}, {"after": ["init", "init"], "requires": []})
        shown = [(await stack.call("GET", f"/job/j/tasks/{task}/"))["task"] for task in answer["tasks"]]
        assert [(task["requires"], task.get("after")) for task in shown] == [
            (["gpu"], ["init"]), (["gpu"], None), ([], ["init"]),
        ]  # fmt: skip
        refused = await stack.submit({"after": ["j"]}, status=404)
        assert refused["error"]["field"] == "location_and_parameters[0].after"
        refused = await stack.call("DELETE", "/job/init/", params={"purge": "true"}, status=409)
        assert "'j'" in refused["error"]["message"]


async def test_reasons_of_one_task():
    """The list is in the answer for one task only."""
    async with rest() as stack:
        await stack.define()
        (task,) = (await stack.submit({"location": "w"}))["tasks"]
        assert (await stack.call("GET", f"/job/j/tasks/{task}/"))["task"]["pending_reasons"] == [
            "Worker 'w' is not connected."
        ]
        (row,) = (await stack.call("GET", "/job/j/tasks/"))["tasks"]
        assert "pending_reasons" not in row
        assert row["pending_reason"]


async def test_retention_is_shown_as_it_was_given():
    """What was left out stays away."""
    async with rest() as stack:
        await stack.define("j", retention={"seconds": 5, "bytes": "100"})
        assert (await stack.call("GET", "/job/j/"))["job"]["config"]["retention"] == {"seconds": 5.0, "bytes": 100}


async def test_an_idle_server_goes_on_clearing_away(tmp_path):
    """A forgotten job's rows go although nothing else is written."""
    limits = replace(Limits(), sweep_rows_max=20)
    store = SqliteStore(tmp_path / "dart.db", limits)
    store.recover()
    async with rest(limits, store) as stack:
        await stack.define()
        await stack.submit(*({} for _ in range(200)))
        await stack.call("DELETE", "/job/j/")
        await stack.call("DELETE", "/job/j/", params={"purge": "true"})

        def left() -> int:
            return store._reading.execute("SELECT count(*) FROM outcome").fetchone()[0]

        await until(lambda: not left() and not store.untidy)
