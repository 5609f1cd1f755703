"""Every call with every kind of key: the whole table, made of ROUTES, so that a new call must be decided on here."""

import asyncio
import hashlib
import itertools
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from dart.broker.core.access import NameRule
from dart.rest.auth import Scope
from dart.rest.routes import ROUTES
from harness.broker_stack import until
from harness.rest_stack import BEARER, KEY, add_key, rest

# What a key may do with each call, in the order of COLUMNS:
#   + does it   - 403, nothing happens   ? 404, as if it were not there   0 200, and nothing happens   . does not apply
TABLE = {
    #                                      read submit admin | job: own, other's | worker: own, other's
    ("GET", "/server/"):                    "+ + +   + .   + .",
    ("DELETE", "/server/"):                 "- - +   - .   - .",
    ("GET", "/server/backup/"):             "- - +   - .   - .",
    ("GET", "/worker/"):                    "+ + +   + .   + .",
    ("POST", "/worker/"):                   "- - +   - .   - .",
    ("DELETE", "/worker/"):                 "- - +   - .   - .",
    ("POST", "/host/upgrade/"):             "- - +   - .   - .",
    ("GET", "/worker/{name}/"):             "+ + +   + +   + -",
    ("POST", "/worker/{name}/drain/"):      "- - +   - -   - -",
    ("POST", "/worker/{name}/ping/"):       "- - +   - -   - -",
    ("POST", "/worker/{name}/revoke/"):     "- - +   - -   - -",
    ("GET", "/module/"):                    "+ + +   + .   + .",
    ("POST", "/module/"):                   "- - +   - .   - .",
    ("DELETE", "/module/{name}/"):          "- - +   - .   - .",
    ("POST", "/enroll/"):                   "- - +   - .   - .",
    ("GET", "/token/"):                     "- - +   - .   - .",
    ("POST", "/token/"):                    "- - +   - .   - .",
    ("DELETE", "/token/{token_id}/"):       "- - +   - .   - .",
    ("GET", "/server/rotation/"):           "- - +   - .   - .",
    ("POST", "/server/rotation/"):          "- - +   - .   - .",
    ("POST", "/server/rotation/finish/"):   "- - +   - .   - .",
    ("GET", "/key/"):                       "- - +   - .   - .",
    ("POST", "/key/"):                      "- - +   - .   - .",
    ("DELETE", "/key/{key_id}/"):           "- - +   - .   - .",
    ("GET", "/blob/{sha256}/"):             "+ + +   + .   + .",
    ("HEAD", "/blob/{sha256}/"):            "+ + +   + .   + .",
    ("PUT", "/blob/{sha256}/"):             "- + +   + .   + .",
    ("GET", "/audit/"):                     "- - +   - .   - .",
    ("GET", "/job/"):                       "+ + +   + .   + .",
    ("POST", "/job/"):                      "- + +   + -   + +",
    ("GET", "/job/{job}/"):                 "+ + +   + -   + +",
    ("DELETE", "/job/{job}/"):              "- + +   + -   - -",
    ("GET", "/job/{job}/status/"):          "+ + +   + -   + +",
    ("POST", "/job/{job}/tasks/"):          "- + +   + -   + -",
    ("GET", "/job/{job}/tasks/"):           "+ + +   + -   + +",
    ("GET", "/job/{job}/tasks/{id}/"):      "+ + +   + -   + ?",
    ("DELETE", "/job/{job}/tasks/{id}/"):   "- + +   + -   + ?",
    ("GET", "/job/{job}/results/"):         "+ + +   + -   + +",
    ("GET", "/job/{job}/results/{id}/"):    "+ + +   + -   + ?",
    ("DELETE", "/job/{job}/results/{id}/"): "- + +   + -   + 0",
    ("POST", "/session/"):                  "+ + +   + .   + .",
    ("GET", "/session/"):                   "+ + +   + .   + .",
    ("DELETE", "/session/"):                "+ + +   + .   + .",
    ("GET", "/overview/"):                  "+ + +   + .   + .",
    ("GET", "/overview/workers/"):          "+ + +   + .   + .",
    ("GET", "/overview/jobs/"):             "+ + +   + .   + .",
    ("GET", "/metrics"):                    "+ + +   + .   + .",
    ("GET", "/job/{job}/events/"):          "+ + +   + -   + +",
    ("GET", "/events/"):                    "+ + +   + .   + .",
    ("GET", "/openapi.json"):               "+ + +   + .   + .",
    ("GET", "/healthz"):                    "+ + +   + .   + .",
    ("GET", "/readyz"):                     "+ + +   + .   + .",
}  # fmt: skip
# A key, and whose job and which worker it tries.
COLUMNS = (
    ("read", "mine", "w"), ("submit", "mine", "w"), (KEY, "mine", "w"),
    ("of-jobs", "mine", "w"), ("of-jobs", "others", "w"),
    ("of-workers", "mine", "w"), ("of-workers", "mine", "x"),
)  # fmt: skip
ROTATION = (("GET", "/server/rotation/"), ("POST", "/server/rotation/"), ("POST", "/server/rotation/finish/"))
SHA256 = hashlib.sha256(b"{}").hexdigest()
"""Of the body that requests without members have."""
NOT_HERE = (("POST", "/worker/"), ("DELETE", "/worker/"), ("POST", "/host/upgrade/"), *ROTATION)
"""Checked and let through, but not offered by this version, or not by the stack of these tests: 503."""


def test_every_call_is_in_the_table_and_no_other():
    """What is not decided on here is not offered."""
    assert set(TABLE) == {(route.method, route.path) for route in ROUTES}
    assert {len(row.split()) for row in TABLE.values()} == {len(COLUMNS)}


@asynccontextmanager
async def blob_folder():
    """With one blob in it."""
    with TemporaryDirectory() as name:
        folder = Path(name) / "blobs"
        folder.mkdir(mode=0o700)
        (folder / SHA256).write_bytes(b"{}")
        yield folder


@asynccontextmanager
async def scene():
    """Two workers, two jobs with a result and an open task on each, and a key of every kind."""
    async with (
        blob_folder() as folder,
        rest(folder=folder) as stack,
        await stack.broker.agent("w") as w,
        await stack.broker.agent("x") as x,
    ):
        await w.join()
        await x.join()
        results, tasks = {}, {}
        for job in ("mine", "others"):
            await stack.define(job)
            entries = [{"location": "w", "parameter": 1}, {"location": "x", "parameter": 1}]
            done = (await stack.submit(*entries, job=job))["tasks"]
            await asyncio.gather(stack.finish(w, b"\x01"), stack.finish(x, b"\x02"))
            await until(lambda: not stack.broker.service.reactor.state.tasks)
            results[job] = dict(zip("wx", done, strict=True))
        for job in ("mine", "others"):
            tasks[job] = dict(zip("wx", (await stack.submit(*entries, job=job))["tasks"], strict=True))
        keys, ring = stack.broker.gateway.keys, stack.ring
        await add_key(keys, ring, "of-jobs", Scope.SUBMIT, jobs=NameRule(("mine",), "mine-.*"))
        await add_key(keys, ring, "of-workers", Scope.SUBMIT, workers=NameRule(("w",)))
        await add_key(keys, ring, "of-both", Scope.SUBMIT, jobs=NameRule(("mine",)), workers=NameRule((), "w.*"))
        await add_key(keys, ring, "spare", Scope.READ)
        yield SimpleNamespace(stack=stack, results=results, tasks=tasks, numbers=itertools.count(), w=w, x=x)


def request_of(it, route, job, worker):
    """Path and body of a call that would do something to this job or this worker."""
    ids = it.results if "results" in route.path else it.tasks
    names = {
        "job": job,
        "name": worker,
        "id": ids[job][worker],
        "key_id": "spare",
        "token_id": "0" * 16,
        "sha256": SHA256,
    }
    path = route.path.format(**names)
    bodies = {
        ("POST", "/job/"): {"name": f"{job}-{next(it.numbers)}", "module_path": "m", "method": "run"},
        ("POST", "/job/{job}/tasks/"): {"location_and_parameters": [{"location": worker, "parameter": 1}]},
        ("POST", "/worker/"): {"name": "n", "hosts": ["h"]},
        ("DELETE", "/worker/"): {"hosts": ["h"]},
        ("POST", "/host/upgrade/"): {"hosts": ["h"]},
        ("GET", "/module/"): {"wait": 0},
        ("GET", "/events/"): {"follow": False},
        ("GET", "/job/{job}/events/"): {"follow": False},
        ("POST", "/module/"): {"name": "m", "wait": 0},
        ("DELETE", "/module/{name}/"): {"wait": 0},
        ("POST", "/enroll/"): {"name": "n", "public_key": "0" * 40},
        ("POST", "/key/"): {"scope": "admin"},
        ("POST", "/token/"): {"name": "n", "local": True},
    }
    return path, bodies.get((route.method, route.path), {})


def state_of(it):
    """All that a call could change."""
    core = it.stack.broker.service.reactor.state
    tasks = {task.id: task.state for task in core.tasks.values()}
    jobs = {job.name: (job.status, dict(job.tally)) for job in core.jobs.values()}
    kept = it.stack.broker.store._outcome_sequences
    draining = [agent.draining for agent in core.agents.values()]
    return (
        tasks,
        jobs,
        set(kept),
        draining,
        set(core.keys),
        dict(core.enrolments),
        dict(core.join_tokens),
        list(it.stack.stops),
        len(it.stack.broker.gateway.blobs),
    )


async def answer(it, route, path, body, key):
    """Status and error code."""
    headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
    async with it.stack.session.request(route.method, it.stack.url + path, headers=headers, json=body) as reply:
        members = (await reply.json() if reply.content_type == "application/json" else None) or {}
        return reply.status, members.get("error", {}).get("code", 0)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_each_key_against_each_call(route):
    """What is refused changes nothing; what is allowed is done."""
    expected = dict(zip(COLUMNS, TABLE[route.method, route.path].split(), strict=True))
    async with scene() as it:
        before = state_of(it)
        for (key, job, worker), sign in expected.items():
            if sign in "-?0":
                path, body = request_of(it, route, job, worker)
                wanted = {"-": (403, 21), "?": (404, 32), "0": (200, 0)}[sign]
                assert (key, job, worker, await answer(it, route, path, body, key)) == (key, job, worker, wanted)
        assert state_of(it) == before
        done = (503, 71) if (route.method, route.path) in NOT_HERE else (200, 0)
        if route.path.endswith("/server/backup/"):
            done = (409, 40)  # the store in memory has nothing to back up
        if (route.method, route.path) == ("POST", "/token/"):
            done = (409, 40)  # without TLS nobody may join
        if "token_id" in route.path:
            done = (404, 34)
        for (key, job, worker), sign in expected.items():
            if sign == "+":
                path, body = request_of(it, route, job, worker)
                assert (key, job, worker, await answer(it, route, path, body, key)) == (key, job, worker, done)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_no_call_without_a_key_that_counts(route):
    """None, wrong, expired, revoked, in the query: 401, and nothing happens; only what needs no key is answered."""
    async with scene() as it:
        keys, ring = it.stack.broker.gateway.keys, it.stack.ring
        await add_key(keys, ring, "revoked", Scope.ADMIN)
        await keys.revoke("revoked")
        await add_key(keys, ring, "expired", Scope.ADMIN, seconds=0.001)
        await until(lambda: keys.now_ms > keys.get("expired").expires_at_ms)
        before = state_of(it)
        path, body = request_of(it, route, "mine", "w")
        wanted = (401, 20) if route.scope is not Scope.OPEN else (200, 0)
        if route.method == "HEAD":
            wanted = (401, 0)  # its answers have no bodies
        for key in (None, "wrong", "revoked", "expired"):
            assert (key, await answer(it, route, path, body, key)) == (key, wanted)
            if key is not None:
                assert (key, await answer(it, route, path, {"key": key, **body}, None)) == (key, wanted)
        for key in (KEY, "000", "wrong"):
            assert (key, await answer(it, route, f"{path}?key={key}", body, None)) == (key, wanted)
        if route.scope is not Scope.OPEN:
            assert await answer(it, route, f"{path}?key={KEY}", body, KEY) == wanted
        assert state_of(it) == before


async def names(it, path, member, key, field="name"):
    found = await it.stack.call("GET", path, headers={"Authorization": f"Bearer {key}"})
    return [entry[field] for entry in found[member]]


async def test_lists_show_what_the_key_may_see():
    """Jobs page by page, workers, tasks and results; all of it to who is not bound."""
    async with scene() as it:
        for number in range(5):
            await it.stack.define(f"mine-{number}")
        seen = ["mine", *(f"mine-{number}" for number in range(5))]
        assert await names(it, "/job/?amount=9", "jobs", "of-jobs") == seen
        headers = {"Authorization": "Bearer of-jobs"}
        paged, after = [], ""
        while True:
            page = await it.stack.call("GET", "/job/", params={"amount": 4, "after": after}, headers=headers)
            paged += [job["name"] for job in page["jobs"]]
            after = page.get("next", "")
            if not after:
                break
            assert after in seen
        assert paged == seen
        assert await names(it, "/job/", "jobs", "of-workers") == [*seen, "others"]
        assert await names(it, "/worker/", "workers", "of-jobs") == ["w", "x"]
        assert await names(it, "/worker/", "workers", "of-workers") == ["w"]
        of_job = (("tasks", "tasks", "location"), ("results?amount=9", "results", "worker"))
        for path, member, field in ((f"/job/mine/{of}", member, field) for of, member, field in of_job):
            assert set(await names(it, path, member, "submit", field)) == {"w", "x"}
            assert set(await names(it, path, member, "of-workers", field)) == {"w"}
            assert set(await names(it, path, member, "of-both", field)) == {"w"}
        assert await names(it, "/job/mine/results?amount=9&worker_regex=x", "results", "of-workers", "id") == []
        assert await names(it, "/job/mine/results?amount=9&worker_regex=.", "results", "of-workers", "worker") == ["w"]


async def test_tasks_of_a_key_that_is_bound_to_workers_stay_there():
    """Neither without a location, nor by capability, nor by `each`, nor as a standing job do they get elsewhere."""
    async with scene() as it:
        bound = {"headers": {"Authorization": "Bearer of-both"}, "job": "mine"}
        for entry in ({}, {"requires": ["gpu"]}, {"location": "x"}, {"location": "ww/"}):
            status = 400 if "/" in entry.get("location", "") else 403
            refused = await it.stack.submit({"location": "w"}, {"parameter": 1, **entry}, **bound, status=status)
            assert refused["error"]["field"].startswith("location_and_parameters[1]")
        for each in ({}, {"worker_regex": ".*"}):
            done = await it.stack.submit({"each": each, "parameter": 1}, **bound)
            assert done["locations"] == ["w"]
        assert (await it.stack.submit({"each": {"worker_regex": "x"}, "parameter": 1}, **bound))["tasks"] == []
        standing = {"name": "mine", "module_path": "m", "method": "run", "standing": True}
        refused = await it.stack.call("POST", "/job/", json=standing, headers=bound["headers"], status=403)
        assert refused["error"]["field"] == "standing"
        assert {task.policy.location for task in it.stack.broker.service.reactor.state.tasks.values()} == {"w", "x"}
        # Its own job it may stop, tasks of others in it included.
        await it.stack.call("DELETE", "/job/mine/", headers=bound["headers"])


async def test_tasks_without_location_are_seen_where_they_are_and_touched_by_nobody_bound():
    """They could have run anywhere."""
    async with scene() as it:
        bound = {"headers": {"Authorization": "Bearer of-workers"}}
        (free,) = (await it.stack.submit({"parameter": 1}, job="others"))["tasks"]
        await it.stack.call("GET", f"/job/others/tasks/{free}/", **bound, status=404)
        await it.stack.call("DELETE", f"/job/others/tasks/{free}/", **bound, status=404)
        for job in ("mine", "others"):
            await it.stack.call("DELETE", f"/job/{job}/tasks/{it.tasks[job]['w']}/")
        await it.stack.finish(it.w, b"\x07")
        await until(lambda: int(free) not in it.stack.broker.service.reactor.state.tasks)
        assert (await it.stack.call("GET", f"/job/others/tasks/{free}/", **bound))["task"]["worker"] == "w"
        await it.stack.call("DELETE", f"/job/others/results/{free}/", **bound)
        await it.stack.call("DELETE", "/job/nothing/results/1/", **bound)
        await it.stack.call("DELETE", "/job/others/results/999999/", **bound)
        assert (await it.stack.call("GET", f"/job/others/tasks/{free}/"))["task"]["state"] == "succeeded"


async def test_after_names_own_jobs_only():
    """In definitions and in tasks; what others made its own job come after holds all the same."""
    async with scene() as it:
        bound = {"headers": {"Authorization": "Bearer of-jobs"}}
        standing = {"module_path": "m", "method": "run", "standing": True}
        await it.stack.call("POST", "/job/", json={"name": "mine-init", **standing}, **bound)
        await it.stack.call("POST", "/job/", json={"name": "init", **standing}, headers=BEARER)
        after = {"name": "mine-a", "module_path": "m", "method": "run", "after": ["init"]}
        refused = await it.stack.call("POST", "/job/", json=after, **bound, status=403)
        assert refused["error"]["job"] == "init"
        await it.stack.call("POST", "/job/", json=after, headers=BEARER)
        await it.stack.submit({"parameter": 1}, job="mine-a", **bound)
        await it.stack.submit({"parameter": 1, "after": ["mine-init"]}, job="mine-a", **bound)
        for name in ("init", "nothing"):
            refused = await it.stack.submit({"parameter": 1, "after": [name]}, job="mine-a", **bound, status=403)
            assert refused["error"]["job"] == name


async def test_a_long_poll_of_a_bound_key_waits_for_its_own_results():
    """What comes from other workers does not end it."""
    async with scene() as it:
        headers = {"Authorization": "Bearer of-workers"}
        poll = asyncio.create_task(it.stack.call("GET", "/job/mine/results/?after=now&wait=9", headers=headers))
        await asyncio.sleep(0)
        await it.stack.finish(it.x, b"\x03")
        await until(lambda: int(it.tasks["mine"]["x"]) not in it.stack.broker.service.reactor.state.tasks)
        assert not poll.done()
        await it.stack.finish(it.w, b"\x04")
        assert [row["worker"] for row in (await poll)["results"]] == ["w"]
