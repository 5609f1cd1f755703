"""Members that mean harm: names full of SQL, paths and escapes, patterns that explode, bodies that are no requests."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from urllib.parse import quote

import msgpack
import pytest
from yarl import URL

from dart.broker.store.sqlite import SqliteStore
from dart.limits import Limits
from harness import contract
from harness.broker_stack import until
from harness.rest_stack import BEARER, KEY, MESSAGEPACK, rest

NAMES = [
    "'; DROP TABLE jobs; --", "' OR '1'='1", 'x" OR ""="', "%", "_", "a%", "a_", "ab", "\\", "\\'", "`", "$(id)", "{0}",
    "{job}", "%s%n%x", "%(message)s", "..", ".", "...", "%2e%2e%2f", "~", "-", "--", "*", "?a=b&c", "#x", ";", "a b",
    "<b>", "\u00e4\u00f6", "a\u0308", "\U0001f600", "\u65e5\u672c", "x" * 255, "\U0001f600" * 255, "null", "true", "1",
    "..\\..\\x", "1e999",
]  # fmt: skip
CLIMBING = [
    "../../etc/passwd", "/etc/passwd", "a/../../b", "a\0b", "a\nb", "a\r\nX-Evil: 1", "\x1b[2J", "a\u2028b", "\ud800",
    "a\u202eb", "\x7f", "\x9b31m", "", " " * 256, "x" * 10_000,
]  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """What there is under the folder of the test, after the store has been opened."""
    return lambda: sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))


@asynccontextmanager
async def kept(tmp_path, limits=None):
    """REST over a database on disk."""
    limits = limits or Limits()
    async with rest(limits, SqliteStore(tmp_path / "state" / "dart.db", limits)) as stack:
        yield stack


@pytest.fixture(autouse=True)
def _folder(tmp_path):
    (tmp_path / "state").mkdir()


async def get(stack, name, more="", **options):
    """A call whose path has the name with everything encoded that can be."""
    encoded = quote(name, safe="").replace(".", "%2E")
    method = options.pop("method", "GET")
    url = URL(f"{stack.url}/job/{encoded}/{more}", encoded=True)
    async with stack.session.request(method, url, headers=BEARER, **options) as answer:
        members = await answer.json()
        contract.check(method, f"/job/x/{more}", answer.status, members)
        return answer.status, members


async def names_of(stack):
    return [job["name"] for job in (await stack.call("GET", "/job/?amount=1000"))["jobs"]]


async def test_names_are_kept_to_the_letter_and_do_nothing(tmp_path, files):
    """Each names one job: in the list, in its path, as a cursor; is a tag, a location; purging it hurts no other."""
    async with kept(tmp_path) as stack:
        before = files()
        for name in NAMES:
            await stack.call("POST", "/job/", json={"name": name, "module_path": "m", "method": "run"})
        assert set(await names_of(stack)) == set(NAMES)
        for name in NAMES:
            assert await get(stack, name, "status/") == (200, {"job": {"name": name, "status": 1}})
            # A comparison that lacks a part is refused.
            requires = [] if set(name) & set("=<>!") else [name]
            entry = {"location": name, "tag": name, "requires": requires, "parameter": name}
            _, made = await get(
                stack, name, "tasks/", method="POST", json={"key": KEY, "location_and_parameters": [entry]}
            )
            _, page = await get(stack, name, "tasks/")
            (task,) = page["tasks"]
            assert (task["id"], task["location"], task["tag"]) == (made["tasks"][0], name, name)
            assert task["requires"] == requires
            async with stack.session.get(f"{stack.url}/job/", params={"after": name}, headers=BEARER) as answer:
                assert {job["name"] for job in (await answer.json())["jobs"]} == {it for it in NAMES if it > name}
        for position, name in enumerate(NAMES[:12], 1):
            assert (await get(stack, name, "?purge=true", method="DELETE"))[0] == 200
            assert set(await names_of(stack)) == set(NAMES[position:])
        assert files() == before


async def test_idempotency_keys_are_kept_to_the_letter(tmp_path):
    """SQL and wildcards in one key do not reach another's answer."""
    async with kept(tmp_path) as stack:
        texts = [name for name in NAMES if name.isascii()]
        for text in texts:
            headers = {**BEARER, "Idempotency-Key": text}
            body = {"name": f"of {text}"[:255], "module_path": "m", "method": "run"}
            for _ in range(2):
                await stack.call("POST", "/job/", json=body, headers=headers)
            await stack.call("POST", "/job/", json={**body, "method": "other"}, headers=headers, status=409)
        assert len(await names_of(stack)) == len(texts)


async def test_names_that_climb_break_or_command_are_refused_everywhere(tmp_path, files):
    """As the name of a job, worker, capability, module, tag; no file is made, and nothing is kept."""
    async with kept(tmp_path) as stack:
        await stack.define()
        before = files()
        job = {"name": "n", "module_path": "m", "method": "run"}
        key = {"name": "n", "public_key": "0" * 40}
        for text in CLIMBING:
            packed = {**BEARER, "Content-Type": MESSAGEPACK}
            cases = [
                *(("/job/", {**job, member: text}) for member in ("name", "method")),
                *((("/job/", {**job, "requires": [text]}), ("/job/j/tasks/", {"requires": [text]})) if text else ()),
                ("/enroll/", {**key, "name": text}),
                *((("/job/j/tasks/", {"location": text}),) if text else ()),
            ]
            for path, members in cases:
                wanted = {"location_and_parameters": [members]} if path.endswith("tasks/") else members
                body = msgpack.packb(wanted, unicode_errors="surrogatepass")
                answer = await stack.call("POST", path, data=body, headers=packed, status=400)
                # Whatever is quoted of it is quoted.
                assert text == "" or text not in answer["error"]["message"] or text.isprintable()
            if text not in ("/etc/passwd", " " * 256):  # below the prefix; a name of blanks
                body = msgpack.packb({**job, "module_path": text}, unicode_errors="surrogatepass")
                await stack.call("POST", "/job/", data=body, headers=packed, status=400)
        assert await names_of(stack) == ["j"]
        assert files() == before


BODIES = {
    "keys that are integers": msgpack.packb({1: 2}),
    "keys that are bytes": msgpack.packb({b"name": "x"}),
    "a key that is a list": b"\x81\x91\x01\x01",
    "a key that is nil": b"\x81\xc0\x01",
    "a map of 2^32 pairs": b"\xdf\xff\xff\xff\xff\xa1a\x01",
    "a list of 2^32": b"\xdd\xff\xff\xff\xff\x01",
    "a text of 2^32 bytes": b"\xdb\xff\xff\xff\xffx",
    "bytes of 2^32": b"\xc6\xff\xff\xff\xffx",
    "an extension of 2^32 bytes": b"\xc9\xff\xff\xff\xff\x01x",
    "an extension": b"\x81\xa4name\xd4\x01\x00",
    "a timestamp": b"\x81\xa4name\xd6\xff\x00\x00\x00\x01",
    "a broken timestamp": b"\x81\xa4name\xd5\xff\x00\x00",
    "a byte that means nothing": b"\xc1",
    "two values": b"\x80\x80",
    "deep": b"\x81\xa1x" + b"\x91" * 10_000 + b"\x01",
    "deep maps": b"\x81\xa1x" * 10_000 + b"\x01",
    "half": msgpack.packb({"name": "x", "module_path": "m", "method": "run"})[:-2],
    "text that is not UTF-8": b"\x81\xa4name\xa2\xff\xfe",
    "NaN": b"\x81\xa4wait\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
}
JSON_BODIES = {
    "10^400": b'{"wait":1' + b"0" * 400 + b"}",
    "-10^400": b'{"wait":-1' + b"0" * 400 + b"}",
    "1e400": b'{"wait":1e400}',
    "NaN": b'{"wait":NaN}',
    "Infinity": b'{"wait":Infinity}',
    "deep": b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "deep objects": b'{"x":' * 10_000 + b"1" + b"}" * 10_000,
    "deep, not closed": b"[" * 100_000,
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": "{}".encode("utf-16"),
    "a comment": b"{/* x */}",
    "a comma too many": b'{"name":"x",}',
    "single quotes": b"{'name':'x'}",
    "a bare control character": b'{"name":"a\x01b"}',
    "half an escape": b'{"name":"\\u12"}',
    "half a surrogate": b'{"name":"\\ud800"}',
    "two documents": b"{}{}",
    "nothing but a text": b'"key"',
    "nothing but blanks": b" " * 100_000,
}
PATHS = ("/job/", "/job/j/tasks/", "/enroll/", "/worker/", "/worker/w/ping/")


@pytest.mark.parametrize("path", PATHS)
async def test_bodies_that_are_no_requests_are_refused(path):
    """Each on each call, in the one shape, and quickly."""
    async with rest() as stack:
        await stack.define()
        for bodies, kind in ((BODIES, MESSAGEPACK), (JSON_BODIES, "application/json")):
            for name, body in bodies.items():
                began = time.perf_counter()
                headers = {**BEARER, "Content-Type": kind}
                async with stack.session.post(stack.url + path, data=body, headers=headers) as answer:
                    members = await answer.json()
                    # A ping of a worker that nobody knows may be just that; an enrolment is small.
                    also = {"/worker/w/ping/": 404, "/enroll/": 413}.get(path, 400)
                    assert answer.status in (400, also), (name, members)
                    contract.check("POST", path, answer.status, members)
                assert time.perf_counter() - began < 2.0, name
        assert len(await names_of(stack)) == 1


async def test_of_two_members_of_one_name_the_last_counts_everywhere():
    """Also of the key: the one that the scan finds first decides, and a second one changes nothing."""
    async with rest() as stack:
        body = b'{"name":"first","name":"last","module_path":"m","method":"run","method":"go"}'
        made = await stack.call("POST", "/job/", data=body)
        assert made["job"]["name"] == "last"
        assert (await stack.call("GET", "/job/last/"))["job"]["config"]["method"] == "go"
        for keys, status in ((("wrong", KEY), 401), ((KEY, "wrong"), 200), (("read", KEY), 200)):
            text = "{" + ",".join(f'"key":{json.dumps(key)}' for key in keys) + "}"
            await stack.call("GET", "/server/", data=text, headers={}, status=status)
        text = f'{{"key":"read","key":"{KEY}","name":"x","public_key":"{"0" * 40}"}}'
        await stack.call("POST", "/enroll/", data=text, headers={}, status=403)


EXPLODING = [
    "(a+)+$", "(a*)*$", "(a|a)*$", "(a|aa)+$", "(a|a?)+$", "(.*)*x", "(.*a){25}x", "a*a*a*a*a*a*a*a*a*a*x",
    "(a?){60}a{60}x", "(a{0,60}){0,60}x", "(?=(a+)+$)b", "(?!(a+)+$)b", "(?<=(a+)+)b", r"(a*)\1*\1*\1*x", r"(.*)\1{9}x",
    "(a|b|ab)*bc", "([a-z]+)*!x", r"(\w+\w*)+x", "(((a+)?)+)?x", "a{1,30}a{1,30}a{1,30}a{1,30}a{1,30}x",
    "(a{1,3}){1,30}x", "(?:a|(?:a|(?:a|aa)+)+)+x", "(?=a*a*a*a*a*x)a*", "^(a+)*$|^(a|a)*!x$",
    ".*.*.*.*.*.*.*.*.*=.*", "(x+x+)+y", "((a{200}){200})", "(" * 49 + "a+" + ")+" * 49,
]  # fmt: skip


async def test_patterns_that_explode_end_in_time_and_hold_nobody_up(tmp_path):
    """In results, in `each`, in standing jobs: refused, or done within their 20 ms for all the names together."""
    async with rest() as stack:
        await stack.define()
        entries = [{"location": "a" * length + "!", "parameter": 1, "expires": 0.01} for length in range(40, 70)]
        await stack.submit(*entries)
        await until(lambda: not stack.broker.service.reactor.state.tasks)
        async with await stack.broker.agent("a" * 60 + "!") as agent:
            await agent.join()
            for number, pattern in enumerate(EXPLODING):
                standing = {"name": f"s{number}", "module_path": "m", "method": "run", "standing": True}
                each = {"location_and_parameters": [{"parameter": 1, "each": {"worker_regex": pattern}}]}
                calls = [
                    ("GET", "/job/j/results/", {"json": {"amount": 1, "worker_regex": pattern}}),
                    ("POST", "/job/j/tasks/", {"json": each}),
                    ("POST", "/job/", {"json": {**standing, "worker_regex": pattern}}),
                ]
                for method, path, options in calls:
                    longest = asyncio.create_task(_longest_turn())
                    async with stack.session.request(method, stack.url + path, headers=BEARER, **options) as answer:
                        members = await answer.json()
                        assert answer.status in (200, 400), (pattern, members)
                        contract.check(method, path, answer.status, members)
                    longest.cancel()
                    # 20 ms are promised; the pattern's compiler comes on top.
                    assert await longest < 0.2, pattern


async def _longest_turn():
    """The longest turn of the loop until cancelled, in time of this thread: a busy machine makes it no longer."""
    longest, last = 0.0, time.thread_time()
    try:
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            longest, last = max(longest, now - last), now
    except asyncio.CancelledError:
        return longest
