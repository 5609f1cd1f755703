"""Streams of events over REST: what they say, to whom, and what becomes of readers who are slow or come back."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from dart.broker.core.access import NameRule
from dart.limits import Limits
from dart.rest.auth import Scope
from dart.wire.messages import Bye, Log, Progress, ProgressReport
from dart_client.events import EventParser
from harness import contract
from harness.broker_stack import until
from harness.rest_stack import BEARER, KEY, add_key, joined, rest


class Reader:
    def __init__(self, answer):
        self.answer = answer
        self.parser = EventParser()
        self.events = []

    async def next(self, kind):
        """The next event of a kind; others before it are skipped."""
        async with asyncio.timeout(10):
            while True:
                while self.events:
                    event = self.events.pop(0)
                    if event.kind == kind:
                        return event
                data = await self.answer.content.readany()
                assert data, "the stream ended"
                self.events += self.parser.feed(data)

    async def rest(self):
        """All to the end of the stream."""
        async with asyncio.timeout(10):
            return [*self.events, *self.parser.feed(await self.answer.content.read())]


@asynccontextmanager
async def reading(stack, path="/events/", *, key=KEY, last="", status=200, **query):
    headers = {"Authorization": f"Bearer {key}"} | ({"Last-Event-ID": last} if last else {})
    async with stack.session.get(stack.url + path, headers=headers, params=query) as answer:
        assert answer.status == status
        reader = Reader(answer)
        if status == 200:
            assert answer.content_type == "text/event-stream"
            while not reader.parser.last_id:
                reader.events += reader.parser.feed(await answer.content.readany())
        yield reader


def kinds(events):
    return [event.kind for event in events]


async def test_the_whole_story_of_a_task():
    """Queued, reports, lines, result; the job's own stream has the same and nothing of others."""
    async with joined() as (stack, agent), reading(stack) as reader, reading(stack, "/job/j/events/") as of_job:
        await stack.define("other")
        (task,) = (await stack.submit({"location": "w", "parameter": 1}))["tasks"]
        queued = await reader.next("queued")
        assert (queued.data["first"], queued.data["amount"], queued.data["location"]) == (task, 1, "w")
        agent.credit(1)
        (lease,) = await agent.leases(1)
        agent.send(Progress((ProgressReport(lease.ref, 0.4, "epoch 3"),)))
        agent.send(Log(((lease.ref, "one"), (lease.ref, "two\ndata: forged"))))
        progress = await reader.next("progress")
        assert (progress.data["task"], progress.data["fraction"], progress.data["text"]) == (task, 0.4, "epoch 3")
        lines = await reader.next("log")
        assert (lines.data["worker"], lines.data["lines"]) == ("w", ["one", "two\ndata: forged"])
        agent.answer(lease)
        result = await reader.next("result")
        assert (result.data["task"], result.data["state"], result.data["worker"]) == (task, "succeeded", "w")
        seen = [await of_job.next(kind) for kind in ("queued", "progress", "log", "result")]
        assert {event.data["job"] for event in seen} == {"j"}
        agent.send(Bye("enough"))
        gone = await reader.next("worker")
        assert (gone.data["worker"], gone.data["state"]) == ("w", "disconnected")
        assert "enough" in gone.data["reason"]


async def test_who_comes_back_misses_nothing():
    """From its last id, by header or by query; the header is the newer of the two."""
    async with rest() as stack, reading(stack) as reader:
        await stack.define("a")
        first = await reader.next("job")
        await stack.define("b")
        second = await reader.next("job")
        async with reading(stack, after="oldest", last=first.id) as again:
            assert await again.next("job") == second
        async with reading(stack, after=first.id, follow="false") as again:
            assert await again.rest() == [second]
        async with reading(stack, after="oldest", follow="false", events="job") as all_of_it:
            assert [event.data["job"] for event in await all_of_it.rest()] == ["a", "b"]


async def test_what_is_gone_is_told():
    """Too old, or of another start of the server: a `missed` event comes first. Who reads changes alone has more."""
    async with rest(Limits(events_kept_max=2)) as stack, reading(stack) as reader:
        for name in "abcd":
            await stack.define(name)
        last = (await reader.next("job")).id
        epoch = last.partition("-")[0]
        async with reading(stack, after=f"{epoch}-0", follow="false") as old:
            events = await old.rest()
            assert (kinds(events), events[0].data["amount"]) == (["missed", "job", "job"], 2)
        async with reading(stack, last="00000000-7", follow="false") as stranger:
            events = await stranger.rest()
            assert kinds(events) == ["missed", "job", "job"]
            assert "started again" in events[0].data["reason"]
        for place in (f"{epoch}-0", "oldest"):
            async with reading(stack, after=place, follow="false", events="worker,job") as of_changes:
                events = await of_changes.rest()
                assert [(it.id, it.data["job"]) for it in events] == [
                    (f"{epoch}-{n}", name) for n, name in enumerate("abcd", 1)
                ]


async def test_a_failed_commit_is_a_gap_for_all_readers():
    """Nothing that became void was told, and what is told from then on has other ids."""
    async with rest() as stack, reading(stack) as reader:
        await stack.define("a")
        before = await reader.next("job")
        stack.broker.service._begin_recovery("a test")
        missed = await reader.next("missed")
        assert missed.id.partition("-")[0] != before.id.partition("-")[0]


async def test_a_key_sees_what_it_is_bound_to():
    """Jobs by name; workers by where a task is meant to run, or runs."""
    async with rest() as stack, await stack.broker.agent("w") as w, await stack.broker.agent("x") as x:
        keys, ring = stack.broker.gateway.keys, stack.ring
        await add_key(keys, ring, "of-jobs", Scope.READ, jobs=NameRule(("mine",)))
        await add_key(keys, ring, "of-workers", Scope.READ, workers=NameRule(("w",)))
        await w.join()
        await x.join()
        for job in ("mine", "others"):
            await stack.define(job)
            await stack.submit(*({"location": name, "parameter": 1} for name in ("w", "x")), job=job)
        await stack.submit({"parameter": 1}, job="mine")
        async with reading(stack, key="of-jobs", after="oldest", follow="false") as reader:
            assert {event.data["job"] for event in await reader.rest() if "job" in event.data} == {"mine"}
        async with reading(stack, key="of-workers", after="oldest", follow="false", events="queued,worker") as reader:
            events = await reader.rest()
            assert {event.data.get("location", event.data.get("worker")) for event in events} == {"w"}
            assert {event.data["job"] for event in events if "job" in event.data} == {"mine", "others"}
        async with reading(stack, worker="x", after="oldest", follow="false") as reader:
            assert kinds(await reader.rest()) == ["worker", "queued", "queued"]
        async with reading(stack, "/job/others/events/", key="of-jobs", status=403):
            pass


async def test_a_stream_ends_with_its_key_and_with_the_server():
    """And not before."""
    async with rest() as stack:
        keys, ring = stack.broker.gateway.keys, stack.ring
        await add_key(keys, ring, "spare", Scope.READ)
        async with reading(stack, key="spare") as reader:
            await keys.revoke("spare")
            assert await reader.rest() == []
        await until(lambda: stack.broker.gateway.events.readers == 0)


async def test_requests_that_cannot_be_are_refused():
    """Unknown jobs, kinds and places; and one stream too many."""
    async with rest(Limits(event_streams_max=1)) as stack:
        await stack.call("GET", "/job/nobody/events/", status=404)
        for query in (
            {"after": "yesterday"},
            {"events": "log,rain"},
            {"follow": "?"},
            {"more": "1"},
            {"worker": "a\n"},
        ):
            await stack.call("GET", "/events/", params=query, status=400)
        came_back = {**BEARER, "Last-Event-ID": "00000000-1"}  # which makes no other argument right
        await stack.call("GET", "/events/", params={"after": "yesterday"}, headers=came_back, status=400)
        async with reading(stack), reading(stack, status=429) as refused:
            members = json.loads(await refused.answer.read())
            assert "event_streams_max" in members["error"]["message"]


async def test_a_quiet_stream_says_that_it_lives():
    """By a comment with the id up to which nothing was for this reader, which is no gap later."""
    async with rest(Limits(event_quiet_seconds=0.05)) as stack, reading(stack, events="log") as reader:
        assert reader.parser.last_id.endswith("-0")
        for name in "abcd":
            await stack.define(name)
        while not reader.parser.last_id.endswith("-4"):
            assert reader.parser.feed(await reader.answer.content.readany()) == []


async def test_a_reader_that_takes_nothing_is_cut_and_holds_nobody_up():
    """Others read on meanwhile, and nothing is kept for it but the ring that all share."""
    limits = replace(Limits(), request_seconds_max=0.4, slow_bytes_per_second_min=1_000, events_kept_max=300)
    async with joined(limits) as (stack, agent), reading(stack, events="log") as other:
        await stack.submit({"parameter": 1})
        agent.credit(1)
        (lease,) = await agent.leases(1)
        head = f"GET /events/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
        events = stack.broker.gateway.events
        _, writer = await asyncio.open_connection("127.0.0.1", stack.port, limit=1)
        writer.transport.pause_reading()
        writer.write(head)
        await until(lambda: events.readers == 2)
        for _ in range(40):
            agent.send(Log(tuple((lease.ref, "x" * 2000) for _ in range(100))))
            await other.next("log")
        await until(lambda: events.readers == 1)
        writer.transport.abort()


@pytest.mark.parametrize("path", ["/events/", "/job/{job}/events/"])
def test_it_is_a_stream_in_the_document(path):
    """With its header, which browsers send by themselves."""
    operation = contract.DOCUMENT["paths"][path]["get"]
    assert list(operation["responses"]["200"]["content"]) == ["text/event-stream"]
    assert "Last-Event-ID" in {parameter["name"] for parameter in operation["parameters"]}
