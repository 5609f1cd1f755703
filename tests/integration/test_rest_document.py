"""The OpenAPI document and the server that serves it: the same calls, the same statuses; its examples are accepted."""

import asyncio
import itertools
import re

import requests
from aiohttp import web

from dart.limits import Limits
from dart.rest.auth import Scope
from dart.rest.call import Route
from dart.rest.errors import STATUSES
from dart.rest.examples import EXAMPLES, NAMES
from dart.rest.routes import ROUTES
from harness import contract
from harness.cluster import cluster
from harness.contract import DOCUMENT
from harness.rest_stack import BEARER, rest

NEEDS_HOSTS = {("POST", "/worker/"), ("DELETE", "/worker/"), ("POST", "/host/upgrade/")}
"""Their examples name a host, which a test does not have: `tests/e2e/test_hosts.py`."""
LAST = [
    ("DELETE", "/job/{job}/tasks/{id}/"),
    ("DELETE", "/job/{job}/results/{id}/"),
    ("DELETE", "/job/{job}/"),
    ("DELETE", "/module/{name}/"),
    ("DELETE", "/key/{key_id}/"),
    ("DELETE", "/token/{token_id}/"),
    ("POST", "/worker/{name}/drain/"),
    ("POST", "/worker/{name}/revoke/"),
    ("POST", "/server/rotation/"),
    ("GET", "/server/rotation/"),
    ("POST", "/server/rotation/finish/"),
    ("DELETE", "/server/"),
]
FIRST = [
    ("GET", "/server/"),
    ("POST", "/module/"),
    ("POST", "/job/"),
    ("POST", "/job/{job}/tasks/"),
    ("POST", "/key/"),
    ("POST", "/token/"),
    ("PUT", "/blob/{sha256}/"),
]


def test_the_document_has_the_calls_of_the_server_and_no_others():
    """What the router answers, but for the page `/docs`; and the statuses that errors are mapped to."""

    async def routed():
        async with rest() as stack:
            assert isinstance(stack.runner.app, web.Application)
            return {(route.method, route.resource.canonical) for route in stack.runner.app.router.routes()}

    found = {
        (method, re.sub(r":[^}]+}", "}", path).rstrip("/"))
        for method, path in asyncio.run(routed())
        if path != "/" and not path.startswith(("/docs", "/dashboard/"))
    }
    listed = {(method.upper(), path.rstrip("/")) for path, item in DOCUMENT["paths"].items() for method in item}
    assert found == listed
    told = {status for item in DOCUMENT["paths"].values() for it in item.values() for status in it["responses"]}
    # What is no call at all is 404 and 405; a method that a path does not know is in no operation.
    assert told | {"405"} == {str(status) for status in STATUSES.values()} | {"200", "206", "304", "500"}


def filled(route: Route, names: dict[str, str]) -> str:
    return route.path.format(**{**NAMES, **EXAMPLES[route.method, route.path].names, **names})


JSON = {"Content-Type": "application/json"}
ATTEMPTS = {
    "400": {"data": b"{", "headers": {**BEARER, **JSON}},
    "401": {"headers": {"Authorization": "Bearer wrong"}},
    "403": {"headers": {"Authorization": "Bearer read"}},
    "404": {"headers": BEARER},
    "413": {"data": b"{" + b" " * 4096, "headers": {**BEARER, **JSON}},
    "415": {"data": b"{}", "headers": {**BEARER, "Content-Type": "text/xml"}},
}


UNKNOWN = {"job": "other", "name": "other", "id": "99", "key_id": "k9", "token_id": "t9", "sha256": "0" * 64}
SPECIAL = {
    ("POST", "/job/", "404"): {"json": {"name": "x", "module_path": "m", "method": "run", "after": ["other"]}},
    ("PUT", "/blob/{sha256}/", "400"): {"data": b"x", "headers": {**BEARER, "Content-Range": "bytes 7-7/2"}},
}
NOT_SO = {
    ("HEAD", "/blob/{sha256}/", "400"),  # it looks at no arguments; what is no HTTP is 400 everywhere
    ("PUT", "/blob/{sha256}/", "404"),  # only where the name is no SHA-256
    ("PUT", "/blob/{sha256}/", "415"),  # bytes are bytes
    ("GET", "/healthz", "400"),
    ("GET", "/readyz", "400"),
}


async def test_what_can_be_wrong_with_any_call_has_the_status_that_the_document_says(tmp_path):
    """Each call: no JSON, no key, a key that may not, no such name, too large, another type."""
    small = dict.fromkeys(("body_bytes_max", "historic_body_bytes_max", "blob_bytes_max"), 1024)
    small |= {"key_failures_max": 1000, "key_failures_overall_max": 1000}
    tried = 0
    async with rest(Limits(**small), folder=tmp_path) as stack:
        for route, (status, how) in itertools.product(ROUTES, ATTEMPTS.items()):
            listed = DOCUMENT["paths"][route.path][route.method.lower()]["responses"]
            case = (route.method, route.path, status)
            # Which keys of scope read may not read: `test_rest_key_table.py`.
            if status not in listed or case in NOT_SO or (status == "403" and route.scope <= Scope.READ):
                continue
            body = EXAMPLES[route.method, route.path].body
            options = {**how, "json": body} if status == "404" and isinstance(body, dict) else how
            path = filled(route, UNKNOWN if status == "404" else {})
            options = {**options, **SPECIAL.get(case, {})}
            async with stack.session.request(route.method, stack.url + path, **options) as answer:
                tried += 1
                assert str(answer.status) == status, (case, options)
                if route.method != "HEAD":
                    contract.check(route.method, path, answer.status, await answer.json())
    assert tried > 4 * len(ROUTES)


def test_the_requests_of_the_examples_are_accepted(tmp_path):
    """By a real server with a real agent, in an order that makes sense; what is made on the way gives the ids."""
    routes = {(route.method, route.path): route for route in ROUTES}
    between = [call for call in routes if call not in {*FIRST, *LAST, *NEEDS_HOSTS}]
    policy = tmp_path / "policy.json"
    policy.write_text('{"accept_modules": true, "allow": ["pushed/*:*"]}')
    policy.chmod(0o600)
    with cluster(tmp_path) as running, requests.Session() as session:
        running.start_agent(
            "raspberry-3", "--policy", str(policy), "--capability", "camera", "--module-prefix", str(tmp_path)
        )
        certificate = str(running.state_dir / "server.crt")
        session.headers["Authorization"] = f"Bearer {running.server.key}"
        made: dict[str, str] = {}
        for call in [*FIRST, *between, *LAST]:
            route, example = routes[call], EXAMPLES[call]
            # A query says true and false as JSON does.
            query = {name: str(it).lower() if isinstance(it, bool) else it for name, it in example.query.items()}
            body = {"data": example.body} if isinstance(example.body, str) else {"json": example.body}
            if call == ("POST", "/token/"):
                body["json"] = {**example.body, "local": True}  # the server of a test has no other address
            if call == ("POST", "/worker/{name}/revoke/"):
                body["json"] = {**example.body, "agent": made["agent"]}
            path = filled(route, made)
            answer = session.request(
                route.method, running.server.url + path, params=query, verify=certificate, timeout=30, **body
            )
            assert answer.status_code == 200, (call, answer.text)
            if answer.headers["Content-Type"].startswith("application/json"):
                contract.check(route.method, path, 200, answer.json())
            if call == ("POST", "/job/{job}/tasks/"):
                made["id"] = answer.json()["tasks"][0]
            if call in {("POST", "/key/"), ("POST", "/token/")}:
                kind = route.path.strip("/")
                made[f"{kind}_id"] = answer.json()[kind]["id"]
            if call == ("GET", "/worker/{name}/"):
                made["agent"] = answer.json()["worker"]["agents"][0]["id"]
        assert running.server.process.wait(15) == 0
