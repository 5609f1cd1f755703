"""Tasks and results over REST, with a real broker and an agent that speaks raw frames."""

import asyncio
import base64
import json
from dataclasses import replace

import msgpack
import msgspec
import pytest

from dart.broker.store.base import ResultQuery
from dart.limits import Limits
from dart.wire import values
from dart.wire.messages import Ack
from harness.broker_stack import until
from harness.rest_stack import BEARER, MESSAGEPACK, joined, rest


async def test_results_have_the_members_of_the_contract_in_its_order():
    """Bytes that are text come as text, others as base64; arrays tagged; ids as decimal text; oldest first."""
    array = values.encode(values.Array("<f8", (1,), bytes(8)))
    payloads = [b"\xc4\x02hi", b"\xc4\x01\xff", values.encode({"a": [1, None]}), array]
    async with joined() as (stack, agent):
        ids = (await stack.submit(*[{"location": "w", "parameter": "p"}] * 4))["tasks"]
        await stack.finish(agent, *payloads)
        await agent.receive(Ack)
        await until(lambda: not stack.broker.service.reactor.state.tasks)
        found = await stack.results(amount=10)
        assert list(found[0]) == ["id", "job", "host", "worker", "location", "start_time", "duration", "success"]
        assert found[0] == {
            "id": ids[0], "job": "j", "host": "somewhere", "worker": "w", "location": "w",
            "start_time": 1_700_000_000_000, "duration": 0.5, "success": "hi",
        }  # fmt: skip
        assert (found[1]["success"], found[1]["encoding"]) == ("/w==", "base64")
        assert found[2]["success"] == {"a": [1, None]}
        assert found[3]["success"] == {
            "__dart__": "array", "dtype": "<f8", "shape": [1], "base64": base64.b64encode(bytes(8)).decode(),
        }  # fmt: skip
        assert await stack.results() == await stack.results(amount=0) == await stack.results(amount=-3) == []
        assert [row["id"] for row in await stack.results(amount="2")] == ids[:2]
        assert len(await stack.results(amount=10, worker_regex="w")) == 4
        assert await stack.results(amount=10, worker_regex="v") == []
        for _ in range(2):
            await stack.call("DELETE", f"/job/j/results/{ids[0]}/")
        for unknown in ("/job/j/results/x/", "/job/no/results/1/", "/job/j/results/99999999999999999999/"):
            await stack.call("DELETE", unknown)
        assert [row["id"] for row in await stack.results(amount=10)] == ids[1:]


async def test_messagepack_answers_carry_the_very_bytes():
    """A value that JSON would have to change comes back bit for bit."""
    payload = values.encode([b"\xff", float("nan"), {1: 2}, 2**70])
    async with joined() as (stack, agent):
        await stack.submit({"parameter": None})
        await stack.finish(agent, payload)
        await agent.receive(Ack)
        headers = {**BEARER, "Accept": f"{MESSAGEPACK};q=0.9, */*"}
        data = await stack.call("GET", "/job/j/results/?amount=1", headers=headers)
        answer = msgpack.unpackb(data, strict_map_key=False)
        assert payload in data
        assert list(answer) == ["results", "job"]


async def test_messagepack_requests_carry_the_very_bytes():
    """Parameters reach the agent as they were sent, extension values included."""
    parameter = values.encode({"a": values.Array(">i2", (2,), b"\x00\x01\x00\x02"), "b": [2**70, b"\xff"]})
    entry = msgspec.msgpack.encode({"location": "w", "parameter": msgspec.Raw(parameter)})
    body = b"\x81" + msgpack.packb("location_and_parameters") + b"\x92" + entry + entry
    async with joined() as (stack, agent):
        headers = {**BEARER, "Content-Type": MESSAGEPACK}
        answer = await stack.call("POST", "/job/j/tasks", data=body, headers=headers)
        assert len(answer["tasks"]) == 2
        agent.credit(2)
        assert [lease.parameter for lease in await agent.leases(2)] == [parameter, parameter]


async def test_json_parameters_reach_the_agent_as_values():
    """Natural values, and tagged ones as what they stand for."""
    tagged = {"__dart__": "bytes", "base64": "/w=="}
    async with joined() as (stack, agent):
        await stack.submit({"parameter": [1, 2.5, "x", None, {"k": True}, 2**70]}, {"parameter": {"raw": tagged}})
        agent.credit(2)
        first, second = await agent.leases(2)
        assert values.decode(first.parameter) == [1, 2.5, "x", None, {"k": True}, 2**70]
        assert values.decode(second.parameter) == {"raw": b"\xff"}


async def test_a_long_poll_answers_as_soon_as_there_is_something():
    """It carries a cursor, and what came before it does not come again."""
    async with joined() as (stack, agent):
        poll = asyncio.create_task(stack.call("GET", "/job/j/results/?wait=30&after=0"))
        await stack.submit({"parameter": 1})
        await stack.finish(agent, b"\x01")
        answer = await asyncio.wait_for(poll, 5)
        assert [row["success"] for row in answer["results"]] == [1]
        again = await stack.call("GET", "/job/j/results/", params={"after": answer["cursor"], "wait": "0"})
        assert (again["results"], again["cursor"]) == ([], answer["cursor"])


async def test_a_long_poll_from_now_on():
    """`after=now` skips what there is; its cursor is good for the next poll."""
    async with joined() as (stack, agent):
        await stack.submit({"parameter": 1}, {"parameter": 2})
        await stack.finish(agent, b"\x01", b"\x02")
        await until(lambda: len(agent_results(stack)) == 2)
        answer = await stack.call("GET", "/job/j/results/?after=now&amount=0")
        assert (answer["results"], answer["cursor"]) == ([], str(agent_results(stack)[-1].sequence))
        poll = asyncio.create_task(stack.call("GET", "/job/j/results/?wait=30&after=now"))
        await until(lambda: len(stack.broker.gateway._waiters))
        (third,) = (await stack.submit({"parameter": 3}))["tasks"]
        await stack.finish(agent, b"\x03")
        found = await poll
        assert [row["id"] for row in found["results"]] == [third]
        assert int(found["cursor"]) > int(answer["cursor"])
        await stack.call("GET", "/job/j/results/?after=later", status=400)


def agent_results(stack):
    """What is recorded of job `j`."""
    store, core = stack.broker.store, stack.broker.service.reactor.state
    return store.results(ResultQuery(core.jobs["j"].id, None, 0, 100, 1 << 20))


@pytest.mark.parametrize("way", ["query", "member"])
async def test_a_submission_tells_where_its_results_begin(way):
    """A cursor after all older results and before its own; a repetition, whose results may be there, tells none."""
    async with joined() as (stack, agent):
        await stack.submit({"parameter": 1})
        await stack.finish(agent, b"\x01")
        await until(lambda: len(agent_results(stack)) == 1)
        path = "/job/j/tasks/?cursor=true" if way == "query" else "/job/j/tasks/"
        body = {"location_and_parameters": [{"parameter": 2}], **({"cursor": True} if way == "member" else {})}
        headers = {**BEARER, "Idempotency-Key": "one"}
        answer = await stack.call("POST", path, json=body, headers=headers)
        assert answer["cursor"] == str(agent_results(stack)[0].sequence)
        await stack.finish(agent, b"\x02")
        await until(lambda: len(agent_results(stack)) == 2)
        again = await stack.call("POST", path, json=body, headers=headers)
        assert again == {"tasks": answer["tasks"]}
        found = await stack.call("GET", f"/job/j/results/?after={answer['cursor']}")
        assert [row["id"] for row in found["results"]] == answer["tasks"]
        assert "cursor" not in await stack.submit({"parameter": 3})
        await stack.call("POST", "/job/j/tasks/?cursor=perhaps", json=body, status=400)


async def test_a_long_poll_with_a_pattern_waits_for_a_worker_that_matches():
    """Others' results do not end it; it ends by itself when the time is over."""
    async with joined() as (stack, agent):
        await stack.submit({"parameter": 1})
        await stack.finish(agent, b"\x01")
        await agent.receive(Ack)
        answer = await stack.call("GET", "/job/j/results/?wait=0.5&after=0&worker_regex=v.*")
        assert answer["results"] == []
        answer = await stack.call("GET", "/job/j/results/?wait=30&after=0&worker_regex=w")
        assert len(answer["results"]) == 1


async def test_a_pattern_that_nobody_matches_yet_is_matched_again_when_results_come():
    """The names of a job's workers grow while the poll waits."""
    async with joined() as (stack, agent):
        poll = asyncio.create_task(stack.call("GET", "/job/j/results/?wait=30&after=0&worker_regex=w"))
        await stack.submit({"parameter": 1})
        await stack.finish(agent, b"\x01")
        assert len((await asyncio.wait_for(poll, 5))["results"]) == 1


async def test_long_polls_end_when_the_server_does():
    """They answer what there is, with 200, at once."""
    async with rest() as stack:
        await stack.define()
        polls = [
            asyncio.create_task(stack.call("GET", "/job/j/results/?wait=30&after=0")),
            asyncio.create_task(stack.submit({"parameter": 1}, params={"wait": "30"})),
        ]
        await until(lambda: len(stack.broker.gateway._waiters) == 2)
        stack.broker.gateway.close()
        await stack.runner.cleanup()
        answers = await asyncio.wait_for(asyncio.gather(*polls), 5)
        assert [answer["results"] for answer in answers] == [[], []]


async def test_a_submission_can_wait_for_its_results():
    """`wait` adds them; a cancelled task has none."""
    async with joined() as (stack, agent):
        waiting = asyncio.create_task(
            stack.submit({"parameter": 1}, {"parameter": 2, "location": "x"}, params={"wait": "30"})
        )
        await stack.finish(agent, b"\x01")
        await agent.receive(Ack)
        page = await stack.call("GET", "/job/j/tasks/?state=queued")
        await stack.call("DELETE", f"/job/j/tasks/{page['tasks'][0]['id']}/")
        answer = await asyncio.wait_for(waiting, 5)
        assert [(row["id"], row["success"]) for row in answer["results"]] == [(answer["tasks"][0], 1)]


async def test_large_answers_are_streamed_with_texts_in_pieces():
    """Many pages, large texts, large bytes that are no text: the JSON is whole and equal to what was returned."""
    limits = replace(Limits(), page_items_max=2)
    text, raw = 'a\u00e9\U0001f600"\\\n' * 200_000, b"\xff" * 400_000
    payloads = [
        values.encode(value) for value in (text.encode(), raw, "small", text, b"\xff", [1], b"\xf0\x9f" * 200_000)
    ]
    async with joined(limits) as (stack, agent):
        await stack.submit(*[{"parameter": number, "tag": "t"} for number in range(len(payloads))])
        for payload in payloads:
            await stack.finish(agent, payload)
        await until(lambda: not stack.broker.service.reactor.state.tasks)
        async with stack.session.get(
            stack.url + "/job/j/results/", params={"amount": 99}, headers=BEARER, json={"colour": "red"}
        ) as reply:
            assert reply.headers["Transfer-Encoding"] == "chunked"
            assert reply.headers["X-Request-Id"]
            answer = json.loads(await reply.read())
        found = answer["results"]
        assert [row["tag"] for row in found] == ["t"] * 7
        assert found[0]["success"] == found[3]["success"] == text
        assert (base64.b64decode(found[1]["success"]), found[1]["encoding"]) == (raw, "base64")
        assert "encoding" not in found[0]
        assert (found[2]["success"], found[5]["success"], found[4]["encoding"]) == ("small", [1], "base64")
        assert base64.b64decode(found[6]["success"]) == b"\xf0\x9f" * 200_000
        assert (answer["job"]["status"], len(answer["warnings"])) == (1, 1)
        packed = await stack.call("GET", "/job/j/results/?amount=99", headers={**BEARER, "Accept": MESSAGEPACK})
        assert [row["success"] for row in msgpack.unpackb(packed)["results"]][:4] == [text.encode(), raw, "small", text]


async def test_messagepack_answers_have_a_bound():
    """They cannot be streamed; the error says how to go on."""
    limits = replace(Limits(), page_items_max=1, body_bytes_max=3000)
    async with joined(limits) as (stack, agent):
        await stack.submit(*[{"parameter": 1}] * 4)
        for _ in range(4):
            await stack.finish(agent, values.encode(b"x" * 2000))
        await until(lambda: not stack.broker.service.reactor.state.tasks)
        headers = {**BEARER, "Accept": MESSAGEPACK}
        data = await stack.call("GET", "/job/j/results/?amount=99", headers=headers, status=413)
        assert "cursor" in msgpack.unpackb(data)["error"]["message"]


async def test_each_makes_a_task_for_every_matching_worker_connected_now():
    """The answer lists them in the order of the tasks."""
    async with joined(capabilities=("gpu",)) as (stack, _), await stack.broker.agent("v") as other:
        await other.join()
        answer = await stack.submit({"parameter": 1, "each": {"worker_regex": "[vw]"}})
        assert (sorted(answer["locations"]), len(answer["tasks"])) == (["v", "w"], 2)
        answer = await stack.submit({"parameter": 1, "each": {"requires": ["gpu"]}}, {"parameter": 2, "location": "x"})
        assert answer["locations"] == ["w", "x"]
        assert await stack.submit({"parameter": 1, "each": {"worker_regex": "x"}}) == {"tasks": [], "locations": []}
        for wrong in (
            {"location": "w"},
            {"each": {"worker_regex": "("}},
            {"each": {"a": 1}},
            {"parameter": {"__dart__": 1}},
        ):
            await stack.submit({"parameter": 1, "each": {}, **wrong}, status=400)


async def test_tasks_are_listed_with_state_and_reason():
    """Pages by id, filtered by state; what does not apply is left out."""
    async with joined() as (stack, agent):
        ids = (
            await stack.submit({"parameter": 1, "tag": "t"}, {"parameter": 2, "location": "x", "requires": ["gpu"]})
        )["tasks"]
        await stack.finish(agent, b"\xa1E", success=False)
        await agent.receive(Ack)
        page = await stack.call("GET", "/job/j/tasks/", params={"amount": 1})
        assert (page["next"], page["tasks"][0]["state"], page["tasks"][0]["tag"]) == (ids[0], "failed", "t")
        page = await stack.call("GET", "/job/j/tasks/", params=[("state", "queued"), ("state", "running")])
        assert [(task["id"], task["requires"]) for task in page["tasks"]] == [(ids[1], ["gpu"])]
        assert "x" in page["tasks"][0]["pending_reason"]
        await stack.call("GET", "/job/j/tasks/?state=odd", status=400)
        assert (await stack.call("GET", f"/job/j/tasks/{ids[1]}/"))["task"]["state"] == "queued"
        assert (await stack.call("DELETE", f"/job/j/tasks/{ids[1]}/"))["cancelled"] is True
        assert (await stack.call("DELETE", f"/job/j/tasks/{ids[1]}/"))["cancelled"] is False
        await stack.call("GET", "/job/j/tasks/999/", status=404)
        (failed,) = await stack.results(amount=9)
        assert failed["error"] == "E"
        assert "success" not in failed


async def test_an_expired_task_is_a_result_with_a_code():
    """`error`, `error_code`, its location as worker, no host, duration 0.0."""
    async with rest() as stack:
        await stack.define()
        await stack.submit({"parameter": 1, "location": "x", "expires": 0.01})
        (row,) = (await stack.call("GET", "/job/j/results/?wait=10&after=0"))["results"]
        assert (row["worker"], row["host"], row["duration"], row["error_code"]) == ("x", "", 0.0, 111)
        assert isinstance(row["error"], str)


async def test_a_stopped_job_still_takes_tasks_unless_told_otherwise():
    """`if_stopped: fail` is 409; `if_offline: fail` too where nobody matches."""
    async with rest() as stack:
        await stack.define()
        await stack.call("DELETE", "/job/j/")
        assert len((await stack.submit({"parameter": 1}))["tasks"]) == 1
        body = {"location_and_parameters": [{"parameter": 1}], "if_stopped": "fail"}
        assert (await stack.call("POST", "/job/j/tasks/", json=body, status=409))["error"]["code"] == 42
        answer = await stack.submit({"parameter": 1, "location": "x", "if_offline": "fail"}, status=409)
        assert answer["error"]["code"] == 44


async def test_an_idempotency_key_on_each_remembers_whom_it_met():
    """A repetition does not meet the workers of a later time; after a restart it says that it cannot know."""
    async with joined() as (stack, agent):
        headers = {**BEARER, "Idempotency-Key": "one"}
        entry = {"parameter": 1, "each": {}}
        first = await stack.submit(entry, headers=headers)
        async with await stack.broker.agent("v") as other:
            await other.join()
            assert await stack.submit(entry, headers=headers) == first
        assert agent.name == first["locations"][0]


async def test_many_middling_values_are_streamed_in_batches():
    """Neither one write a row nor one for all."""
    payload = values.encode(["x" * 100_000])
    async with joined() as (stack, agent):
        await stack.submit(*[{"parameter": 1}] * 7)
        await stack.finish(agent, *[payload] * 7)
        await until(lambda: not stack.broker.service.reactor.state.tasks)
        assert [row["success"] for row in await stack.results(amount=9)] == [["x" * 100_000]] * 7


async def test_an_answer_by_cursor_is_bounded_and_the_next_goes_on():
    """However many were asked for: what one page of the store holds, and the cursor says where it ends."""
    async with joined(replace(Limits(), answer_page_bytes_max=3000, page_items_max=2)) as (stack, agent):
        await stack.submit(*[{"parameter": 1}] * 5)
        await stack.finish(agent, *[values.encode(f"{number}" * 1000) for number in range(5)])
        await until(lambda: not stack.broker.service.reactor.state.tasks)
        found, cursor = [], "0"
        while True:
            answer = await stack.call("GET", "/job/j/results/", params={"after": cursor, "amount": 1000})
            if not answer["results"]:
                break
            assert len(answer["results"]) < 5
            found += [row["success"][0] for row in answer["results"]]
            cursor = answer["cursor"]
        assert found == list("01234")


async def test_a_worker_cannot_write_into_others_results():
    """Bytes that are more than a value, or none, stand for themselves: others' results are read all the same."""
    forged = b"\x01\xa5error\x02\xa2id\x03"
    async with (
        rest() as stack,
        await stack.broker.agent("honest") as honest,
        await stack.broker.agent("rogue") as rogue,
    ):
        await honest.join()
        await rogue.join()
        await stack.define()
        await stack.submit({"location": "rogue"}, {"location": "rogue"}, {"location": "honest"})
        await stack.finish(rogue, forged, b"\xc1")
        await stack.finish(honest, b"\x07")
        await until(lambda: not stack.broker.service.reactor.state.tasks)
        answer = await stack.call("GET", "/job/j/results/?after=0", headers={**BEARER, "Accept": MESSAGEPACK})
        results = values.decode(answer)["results"]
        assert [row["worker"] for row in results] == ["rogue", "rogue", "honest"]
        assert [row["success"]["__dart__"] for row in results[:2]] == ["damaged", "damaged"]
        assert [row.get("encoding") for row in results] == ["damaged", "damaged", None]
        assert results[2]["success"] == 7
