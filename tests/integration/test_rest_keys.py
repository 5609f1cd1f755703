"""Keys over REST: shown once, revoked at once, bounded, guessed in vain."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest

from dart.broker.core.access import NameRule
from dart.broker.store.memory import MemoryStore
from dart.broker.store.sqlite import SqliteStore
from dart.limits import Limits
from dart.rest.auth import Scope
from harness.broker_stack import until
from harness.rest_stack import BEARER, KEY, add_key, rest


def bearer(key, **more):
    return {"Authorization": f"Bearer {key}", **more}


@asynccontextmanager
async def polling(stack, key, job="j"):
    """A long poll of this key, which waits."""
    waiters = stack.broker.gateway._waiters
    poll = asyncio.create_task(
        stack.session.get(f"{stack.url}/job/{job}/results/?after=0&wait=30", headers=bearer(key))
    )
    await until(lambda: len(waiters) > 0)
    yield poll
    poll.cancel()


async def test_a_key_is_told_once():
    """Not in the list, not when the request is repeated, not in a second answer; it works at once."""
    async with rest() as stack:
        headers = {**BEARER, "Idempotency-Key": "one"}
        made = await stack.call("POST", "/key/", json={"scope": "submit", "name": "phone"}, headers=headers)
        text, key = made["text"], made["key"]
        assert (key["name"], key["scope"], key["valid"]) == ("phone", "submit", True)
        assert await stack.call("POST", "/key/", json={"scope": "submit", "name": "phone"}, headers=headers) == {
            "key": key
        }
        assert text not in str(await stack.call("GET", "/key/"))
        await stack.call("POST", "/job/", json={"name": "j", "module_path": "m", "method": "f"}, headers=bearer(text))
        await stack.call("GET", "/job/j/", headers={}, json={"key": text})
        assert text.encode() not in b"".join(key.digest for key in stack.broker.store.look().keys)


async def test_two_keys_are_valid_side_by_side_until_one_is_revoked():
    """The next request of the revoked one is refused, with a reason; repeated: nothing further."""
    async with rest() as stack:
        old, new = [await stack.call("POST", "/key/", json={"scope": "read"}) for _ in range(2)]
        for each in (old, new):
            await stack.call("GET", "/server/", headers=bearer(each["text"]))
        first = await stack.call("DELETE", f"/key/{old['key']['id']}/")
        assert await stack.call("DELETE", f"/key/{old['key']['id']}/") == first
        refused = await stack.call("GET", "/server/", headers=bearer(old["text"]), status=401)
        assert f"{old['key']['name']} was revoked at" in refused["error"]["message"]
        await stack.call("GET", "/server/", headers=bearer(new["text"]))
        listed = {key["id"]: key for key in (await stack.call("GET", "/key/"))["keys"]}
        assert (listed[old["key"]["id"]]["valid"], listed[new["key"]["id"]]["valid"]) == (False, True)
        assert "was revoked" in listed[old["key"]["id"]]["reason"]
        await stack.call("DELETE", "/key/nothing/", status=404)


async def test_a_long_poll_ends_when_its_key_is_revoked():
    """With 401; those of other keys go on."""
    async with rest() as stack:
        await stack.define()
        async with polling(stack, "read") as poll, polling(stack, "submit") as other:
            await until(lambda: len(stack.broker.gateway._waiters) == 2)
            await stack.call("DELETE", "/key/read/")
            async with await poll as reply:
                assert (reply.status, (await reply.json())["error"]["code"]) == (401, 20)
            assert not other.done()


async def test_a_long_poll_ends_when_its_key_expires():
    """Though nothing happens at that time."""
    async with rest() as stack:
        await stack.define()
        await add_key(stack.broker.gateway.keys, stack.ring, "brief", Scope.READ, seconds=0.4)
        async with polling(stack, "brief") as poll, await poll as reply:
            assert reply.status == 401
            assert "expired at" in (await reply.json())["error"]["message"]


async def test_a_submission_that_waits_ends_too():
    """What it submitted stays."""
    async with rest() as stack:
        await stack.define()
        options = {"headers": bearer("submit"), "json": {"location_and_parameters": [{}], "wait": 30}}
        waiting = asyncio.create_task(stack.call("POST", "/job/j/tasks/", status=401, **options))
        await until(lambda: stack.broker.service.reactor.state.tasks)
        await stack.call("DELETE", "/key/submit/")
        assert "revoked" in (await waiting)["error"]["message"]
        assert len(stack.broker.service.reactor.state.tasks) == 1


async def test_a_long_answer_breaks_off_when_its_key_is_revoked(monkeypatch):
    """No more results after that; the client sees that it has not all of them."""
    async with rest(replace(Limits(), page_items_max=1)) as stack, await stack.broker.agent() as agent:
        await stack.define()
        await agent.join()
        await stack.submit(*[{"parameter": 1}] * 5)
        await stack.finish(agent, *[b"\x01"] * 5)
        await until(lambda: not stack.broker.service.reactor.state.tasks)
        results = stack.broker.gateway.results

        async def revoking(*arguments, **options):
            number = 0
            async for page in results(*arguments, **options):
                number += 1
                if number == 4:
                    await stack.broker.gateway.keys.revoke("read")
                yield page

        monkeypatch.setattr(stack.broker.gateway, "results", revoking)
        with pytest.raises(aiohttp.ClientError):
            await stack.call("GET", "/job/j/results/?amount=9", headers=bearer("read"))
        assert len((await stack.call("GET", "/job/j/results/?amount=9"))["results"]) == 5


async def test_the_admin_key_is_replaced_while_the_server_runs():
    """The old one is refused at the next request, and its long polls end when somebody comes with the new one."""
    async with rest() as stack:
        await stack.define()
        admin = stack.ring._admin

        def replaced():
            if admin.version == 1:
                admin.key, admin.version = "another key of the owner", 2
            return admin.key

        async with polling(stack, KEY) as poll:
            admin.text = replaced
            await stack.call("GET", "/server/", headers=bearer(KEY), status=401)
            async with await poll as reply:
                assert (reply.status, "replaced" in (await reply.json())["error"]["message"]) == (401, True)
        await stack.call("GET", "/key/", headers=bearer("another key of the owner"))


async def test_nobody_locks_himself_out():
    """The key of the state directory and those of the command line are listed and cannot be revoked."""
    async with rest() as stack:
        keys = (await stack.call("GET", "/key/"))["keys"]
        assert [(key["id"], key["scope"]) for key in keys[:2]] == [("admin", "admin"), ("legacy-1", "admin")]
        for key, what in (("admin", "admin.key"), ("legacy-1", "--legacy-key")):
            refused = await stack.call("DELETE", f"/key/{key}/", status=409)
            assert what in refused["error"]["message"]


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({}, "scope"),
        ({"scope": "root"}, "scope"),
        ({"scope": "open"}, "scope"),
        ({"scope": "admin", "jobs": ["j"]}, "scope"),
        ({"scope": "admin", "worker_regex": "w"}, "scope"),
        ({"scope": "read", "name": "admin"}, "name"),
        ({"scope": "read", "name": "legacy-7"}, "name"),
        ({"scope": "read", "name": "a/b"}, "name"),
        ({"scope": "read", "jobs": ["a/b"]}, "jobs[]"),
        ({"scope": "read", "jobs": ["j"] * 1001}, "jobs"),
        ({"scope": "read", "job_regex": "("}, "job_regex"),
        ({"scope": "read", "worker_regex": "(a+)+"}, "worker_regex"),
        ({"scope": "read", "expires": -1}, "expires"),
        ({"scope": "read", "text": "dart_mine"}, "text"),
        ({"scope": "read", "text": " "}, "text"),
        ({"scope": "read", "text": "x" * 513}, "text"),
        ({"scope": "read", "nonsense": 1}, "nonsense"),
    ],
)
async def test_keys_that_cannot_be(members, field):
    """The message names the member; none is made."""
    async with rest() as stack:
        refused = await stack.call("POST", "/key/", json=members, status=400)
        assert refused["error"]["field"] == field
        assert f"`{field}`" in refused["error"]["message"]
        assert len(stack.broker.gateway.keys.known()) == 2


async def test_a_text_of_ones_own():
    """As old programs have it; it is not told again, marked as weak, and is one key at a time."""
    async with rest() as stack:
        made = await stack.call("POST", "/key/", json={"scope": "submit", "text": "111"})
        assert set(made) == {"key"}
        assert made["key"]["weak"]
        await stack.call("GET", "/server/", headers={}, json={"key": "111"})
        for taken in ("111", "000", "submit"):
            refused = await stack.call("POST", "/key/", json={"scope": "read", "text": taken}, status=409)
            assert refused["error"]["field"] == "text"
        await stack.call("DELETE", f"/key/{made['key']['id']}/")
        await stack.call("GET", "/server/", headers=bearer("111"), status=401)
        await stack.call("POST", "/key/", json={"scope": "read", "text": "111"})
        await stack.call("GET", "/server/", headers=bearer("111"))
        await stack.call("POST", "/job/", json={"name": "x"}, headers=bearer("111"), status=403)


async def test_weak_texts_are_refused_where_others_reach_the_server():
    """Strong ones are not."""
    async with rest() as stack:
        stack.ring.weak_keys_count = False
        refused = await stack.call("POST", "/key/", json={"scope": "read", "text": "111"}, status=409)
        assert "--allow-weak-key" in refused["error"]["message"]
        await stack.call("POST", "/key/", json={"scope": "read", "text": "correct horse battery"})
        await stack.call("GET", "/server/", headers=bearer("correct horse battery"))


async def test_who_guesses_is_slowed_down_and_locks_nobody_out():
    """429 with `retry_after` from the same address, in the header and in the body; right keys pass."""
    async with rest(replace(Limits(), key_failures_max=3, key_failure_seconds=60.0)) as stack:
        made = (await stack.call("POST", "/key/", json={"scope": "read"}))["text"]
        for _ in range(3):
            await stack.call("GET", "/server/", headers=bearer("wrong"), status=401)
        for how in ({"headers": bearer("wrong")}, {"headers": {}, "json": {"key": "wrong"}}):
            refused = await stack.call("GET", "/server/", **how, status=429)
            assert (refused["error"]["code"], refused["error"]["retry_after"]) == (52, 60)
        for right in (made, KEY, "read", "000"):
            await stack.call("GET", "/server/", headers=bearer(right))
        await stack.call("GET", "/server/", headers={}, status=401)


async def test_keys_survive_a_restart_with_their_last_use(tmp_path):
    """No text of a key, made or chosen, is in any file of the store, nor a plain hash of a chosen one."""
    texts = []
    for _ in range(2):
        store = SqliteStore(tmp_path / "dart.db", Limits())
        async with rest(store=store) as stack:
            if not texts:
                texts = [
                    (await stack.call("POST", "/key/", json={"scope": "read", "name": "made"}))["text"],
                    "a text that I chose",
                ]
                await stack.call("POST", "/key/", json={"scope": "read", "name": "chosen", "text": texts[1]})
            for text in texts:
                await stack.call("GET", "/server/", headers=bearer(text))
            listed = {key["name"]: key for key in (await stack.call("GET", "/key/"))["keys"]}
            assert listed["made"]["last_used_at"] >= listed["made"]["created_at"] > 0
            assert "last_used_at" not in listed["legacy-1"]
        stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert b"a text" not in stored
        assert texts[0].encode() not in stored
        assert texts[0][-43:].encode() not in stored


async def test_a_store_that_cannot_write_neither_lets_in_nor_shuts_out():
    """A revocation that was not kept did not happen; keys open what can be read meanwhile."""
    store = MemoryStore()
    async with rest(store=store) as stack:
        store.failing = True
        await stack.call("DELETE", "/key/read/", status=503)
        await stack.call("POST", "/key/", json={"scope": "read", "text": "111"}, status=503)
        await until(lambda: stack.broker.service._image is not None)
        await stack.call("GET", "/job/", headers=bearer("read"))
        await stack.call("GET", "/job/", headers=bearer("111"), status=401)
        store.failing = False
        await until(lambda: not stack.broker.service.trouble)
        await stack.call("GET", "/job/", headers=bearer("read"))
        await stack.call("DELETE", "/key/read/")
        await stack.call("GET", "/job/", headers=bearer("read"), status=401)


async def test_keys_are_bounded_in_number():
    """One that counts is never dropped for another; revoked ones make room."""
    async with rest(replace(Limits(), keys_max=3)) as stack:
        made = await stack.call("POST", "/key/", json={"scope": "read"})
        refused = await stack.call("POST", "/key/", json={"scope": "read"}, status=429)
        assert "keys_max" in refused["error"]["message"]
        await stack.call("DELETE", f"/key/{made['key']['id']}/")
        await stack.call("POST", "/key/", json={"scope": "read"})


async def test_lists_go_on_where_a_page_has_nothing_to_show():
    """However few of the jobs a key may see."""
    async with rest(replace(Limits(), page_items_max=2)) as stack:
        for number in range(9):
            await stack.define(f"j{number}")
        rule = NameRule(("j8",), "j[04]")
        await add_key(stack.broker.gateway.keys, stack.ring, "some", Scope.READ, jobs=rule)
        first = await stack.call("GET", "/job/?amount=2", headers=bearer("some"))
        assert ([job["name"] for job in first["jobs"]], first["next"]) == (["j0", "j4"], "j4")
        second = await stack.call("GET", "/job/?amount=2&after=j4", headers=bearer("some"))
        assert ([job["name"] for job in second["jobs"]], "next" in second) == (["j8"], False)


async def test_a_key_that_is_revoked_while_its_body_comes_submits_nothing():
    """Large bodies take their time; what counts is whether the key does at their end."""
    async with rest() as stack:
        await stack.define()
        body = b'{"location_and_parameters": [{"location": "w", "parameter": 1}]}'
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def pieces():
            yield body[:20]
            begun.set()
            await go_on.wait()
            yield body[20:]

        headers = bearer("submit", **{"Content-Type": "application/json"})
        sending = asyncio.create_task(stack.session.post(f"{stack.url}/job/j/tasks/", data=pieces(), headers=headers))
        await begun.wait()
        await until(lambda: stack.broker.gateway.keys.get("submit").last_used_at_ms > 0)
        await stack.call("DELETE", "/key/submit/")
        go_on.set()
        async with await sending as reply:
            assert (reply.status, "was revoked" in await reply.text()) == (401, True)
        assert not stack.broker.service.reactor.state.tasks


async def test_the_idempotency_key_of_another_caller_tells_nothing():
    """A key bound to a worker repeats the request of an admin to the letter: no ids, names or results of others."""
    async with rest() as stack, await stack.broker.agent("w") as w, await stack.broker.agent("x") as x:
        await w.join()
        await x.join()
        await stack.define()
        await add_key(stack.broker.gateway.keys, stack.ring, "of-w", Scope.SUBMIT, workers=NameRule(("w",)))
        body = {"location_and_parameters": [{"each": {}, "parameter": 1}], "wait": 1}
        again = {"Idempotency-Key": "1"}
        first = asyncio.create_task(stack.call("POST", "/job/j/tasks/", json=body, headers={**BEARER, **again}))
        await asyncio.gather(stack.finish(w, b"\x01"), stack.finish(x, b"\x02"))
        assert len((await first)["results"]) == 2
        refused = await stack.call("POST", "/job/j/tasks/", json=body, headers=bearer("of-w", **again), status=409)
        assert "another request" in refused["error"]["message"]
        assert "x" not in refused["error"].get("details", {}).values()
