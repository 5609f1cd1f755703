"""Sessions: a cookie and a proof in the place of a key; neither is worth anything alone, and both end with the key."""

import asyncio
from contextlib import asynccontextmanager

import aiohttp

from dart.broker.core.access import NameRule
from dart.limits import Limits
from dart.rest.auth import Scope
from dart.rest.routes import ROUTES
from harness.broker_stack import until
from harness.rest_stack import KEY, add_key, joined, rest

LOOPBACK = {"unsafe": True}
"""Cookies of addresses, which aiohttp's jar leaves out otherwise."""


class Browser:
    """Logs in, and shows what a test wants it to show."""

    def __init__(self, stack, session):
        self.stack = stack
        self.session = session
        self.proof = ""

    async def log_in(self, key=KEY, **headers):
        headers = {"Authorization": f"Bearer {key}", **headers}
        async with self.session.post(f"{self.stack.url}/session/", headers=headers) as answer:
            said = await answer.json()
            assert answer.status == 200, said
            self.proof = said["proof"]
            (cookie,) = answer.headers.getall("Set-Cookie")
            assert KEY not in str(said) + cookie
            return said["session"], cookie

    async def ask(self, path="/session/", method="GET", *, proof=None, **options):
        headers = {"X-Dart-Session": self.proof if proof is None else proof} if proof != "" else {}
        async with self.session.request(method, self.stack.url + path, headers=headers, **options) as answer:
            said = await answer.json() if answer.content_type == "application/json" else {}
            return answer.status, said

    async def status(self, *arguments, **options):
        return (await self.ask(*arguments, **options))[0]


@asynccontextmanager
async def browser(stack):
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(**LOOPBACK)) as session:
        yield Browser(stack, session)


async def test_a_session_is_its_key_until_it_is_ended():
    """It says whose it is; the cookie is for no script, no other site, this server alone; its end is in the audit."""
    async with rest() as stack, browser(stack) as one:
        who, cookie = await one.log_in("submit")
        assert (who["key"], who["scope"]) == ("submit", "submit")
        name, *attributes = cookie.split("; ")
        assert name.startswith("dart-")
        assert set(attributes) == {"HttpOnly", "Max-Age=43200", "Path=/", "SameSite=Strict"}
        assert await one.ask() == (200, {"session": who})
        assert await one.status("/job/") == 200
        assert await one.status("/key/") == 403
        assert await one.status(method="DELETE") == 200
        assert await one.status() == 401
        entries = (await stack.call("GET", "/audit/"))["audit"]
        told = [(entry["what"], entry["who"]) for entry in entries if entry["what"].startswith("session")]
        assert told == [("session.begin", "key submit (submit)"), ("session.end", "key submit (submit)")]


async def test_over_tls_the_cookie_never_leaves_it():
    """Also where something before the server ends TLS: the page's origin shows it. `__Host-` keeps others from it."""
    async with rest() as stack, browser(stack) as one:
        _, cookie = await one.log_in(Origin="https://dart.example")
        assert cookie.startswith("__Host-dart-")
        assert "; Secure" in cookie
        held = cookie.partition(";")[0]
        one.session.cookie_jar.clear()
        async with one.session.get(
            f"{stack.url}/session/", headers={"Cookie": held, "X-Dart-Session": one.proof}
        ) as answer:
            assert answer.status == 200


async def test_neither_half_of_a_session_is_worth_anything():
    """A cookie that another port of the host or a foreign page makes the browser send; a proof read from a storage."""
    async with rest() as stack, browser(stack) as one, browser(stack) as other:
        await one.log_in()
        await stack.define()
        assert await one.status("/job/j/", "DELETE", proof="") == 401
        assert await one.status("/job/j/", proof="") == 401
        assert await one.status("/job/j/", "DELETE", proof="x" * 43) == 401
        assert await other.status("/job/j/", "DELETE", proof=one.proof) == 401
        await other.log_in()
        assert await other.status("/job/j/", "DELETE", proof=one.proof) == 401
        assert (await stack.call("GET", "/job/j/status/"))["job"]["status"] == 1
        assert await one.status("/job/j/", "DELETE") == 200


async def test_a_session_does_only_what_the_page_does():
    """It makes no key, no token, no backup, no other session, and stops no server, whatever its key may."""
    allowed = {
        ("DELETE", "/session/"),
        ("DELETE", "/job/{job}/"),
        ("DELETE", "/job/{job}/tasks/{id}/"),
        ("POST", "/worker/{name}/drain/"),
        ("GET", "/key/"),
        ("DELETE", "/key/{key_id}/"),
        ("GET", "/audit/"),
    }
    names = {"job": "j", "name": "w", "id": "9", "key_id": "nobodys", "token_id": "0" * 16, "sha256": "0" * 64}
    async with joined() as (stack, _), browser(stack) as one:
        for route in (route for route in ROUTES if route.scope is not Scope.OPEN):
            await one.log_in()
            query = {"follow": "false"} if "events" in route.path else {"wait": "0"} if route.path == "/module/" else {}
            status = await one.status(route.path.format(**names), route.method, params=query)
            is_reading = route.method in {"GET", "HEAD"} and route.scope is Scope.READ
            is_allowed = is_reading or (route.method, route.path) in allowed
            assert (route.method, route.path, status != 403) == (route.method, route.path, is_allowed)
        assert stack.stops == []


async def test_a_session_sees_what_its_key_is_bound_to():
    """Workers, jobs and the tables of the page."""
    async with joined() as (stack, _), browser(stack) as one:
        await stack.define("mine")
        ring, keys = stack.ring, stack.broker.gateway.keys
        await add_key(keys, ring, "bound", Scope.READ, jobs=NameRule(("mine",)), workers=NameRule(("other",)))
        who, _ = await one.log_in("bound")
        assert (who["jobs"], who["workers"]) == (["mine"], ["other"])
        assert (await one.ask("/overview/workers/"))[1] == {"workers": [], "total": 0}
        _, said = await one.ask("/overview/jobs/")
        assert ([row["name"] for row in said["jobs"]], said["total"]) == (["mine"], 1)
        assert await one.status("/job/j/") == 403


async def test_a_session_ends_with_its_key_at_once():
    """Revoked: the next request is refused and a stream of events ends."""
    async with rest() as stack, browser(stack) as one:
        await add_key(stack.broker.gateway.keys, stack.ring, "eve", Scope.READ)
        await one.log_in("eve")
        headers = {"X-Dart-Session": one.proof}
        stream = asyncio.create_task(one.session.get(f"{stack.url}/events/", headers=headers))
        await until(lambda: stack.broker.gateway.events.readers == 1)
        await stack.call("DELETE", "/key/eve/")
        async with asyncio.timeout(5), await stream as answer:
            await answer.read()
        assert await one.status() == 401
        assert len(stack.ring.sessions) == 0


async def test_what_waits_in_a_session_ends_with_it():
    """Also in another window of the browser."""
    async with rest() as stack, browser(stack) as one:
        await one.log_in()
        stream = asyncio.create_task(one.session.get(f"{stack.url}/events/", headers={"X-Dart-Session": one.proof}))
        await until(lambda: stack.broker.gateway.events.readers == 1)
        assert await one.status(method="DELETE") == 200
        async with asyncio.timeout(5), await stream as answer:
            await answer.read()


async def test_sessions_end_by_themselves():
    """After a working day even in use, after an hour without."""
    for limits in (Limits(session_seconds=0.05), Limits(session_idle_seconds=0.05)):
        async with rest(limits) as stack, browser(stack) as one:
            await one.log_in()
            ends_at = stack.broker.gateway.keys.now_ms + 60
            await until(lambda ends_at=ends_at, stack=stack: stack.broker.gateway.keys.now_ms > ends_at)
            assert await one.status() == 401


async def test_a_key_has_few_sessions():
    """The oldest ends; those of other keys stay."""
    async with rest(Limits(sessions_per_key_max=2)) as stack, browser(stack) as a, browser(stack) as b:
        await a.log_in("read")
        await b.log_in()
        assert await b.status() == 200
        first = (b.proof, {it.key: it.value for it in b.session.cookie_jar})
        await b.log_in()
        await b.log_in()
        assert len(stack.ring.sessions) == 3
        b.session.cookie_jar.update_cookies(first[1])
        assert await b.status(proof=first[0]) == 401
        assert await a.status() == 200


async def test_a_wrong_key_begins_no_session_and_is_slowed_down():
    """As everywhere; nothing of a session is remembered."""
    async with rest(Limits(key_failures_max=2)) as stack:
        headers = {"Authorization": "Bearer wrong"}
        said = []
        for _ in range(4):
            async with stack.session.post(f"{stack.url}/session/", headers=headers) as answer:
                said.append((answer.status, "Set-Cookie" in answer.headers))
        assert said == [(401, False), (401, False), (429, False), (429, False)]
        assert len(stack.ring.sessions) == 0
