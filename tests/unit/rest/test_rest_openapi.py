"""The OpenAPI document: whole, true to the table of calls, and made of the types that validate."""

import json
import re
from dataclasses import replace
from pathlib import Path

import jsonschema_rs
import pytest

from dart.errors import DartError, HostUnreachableError, UnknownJobError
from dart.limits import Limits
from dart.rest import job_schemas, jobs, member_types, names, openapi, policies, schemas
from dart.rest.auth import Scope
from dart.rest.call import Route
from dart.rest.errors import STATUSES, status_of
from dart.rest.openapi import document
from dart.rest.routes import ROUTES
from harness import contract
from harness.contract import DOCUMENT

SCHEMAS = DOCUMENT["components"]["schemas"]


def refers(part):
    """Every reference in the document."""
    if isinstance(part, dict):
        yield from ([part["$ref"]] if isinstance(part.get("$ref"), str) else [])
        part = list(part.values())
    if isinstance(part, list):
        for item in part:
            yield from refers(item)


def operation(method, path):
    return DOCUMENT["paths"][path][method.lower()]


def parameters(method, path):
    return {(it["in"], it["name"]): it for it in operation(method, path)["parameters"]}


def test_every_call_is_there_with_types_and_a_sentence():
    """A row of ROUTES that lacks something makes this fail, and the message says what to add."""
    listed = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert listed == {(route.method, route.path) for route in ROUTES}
    ids = [it["operationId"] for item in DOCUMENT["paths"].values() for it in item.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"takes": None}, "takes="),
        ({"answers": None}, "answers="),
        ({"path": "/x/"}, "GET /x/ has no example"),
        ({"handler": names.check_name}, "docstring of dart.rest.names.check_name"),
    ],
)
def test_a_call_without_its_types_is_refused_with_what_to_do(change, told):
    """So nobody forgets them."""
    route = Route("GET", "/job/", jobs.list_all, Scope.READ, takes=schemas.JobPage, answers=job_schemas.Jobs)
    assert document((route,), Limits())["paths"]["/job/"]["get"]["summary"]
    with pytest.raises(ValueError, match=re.escape(told)):
        document((route._replace(**change),), Limits())


def test_every_reference_leads_somewhere_and_every_schema_is_one():
    """Also as JSON; each schema is valid JSON Schema."""
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT
    for reference in set(refers(DOCUMENT)):
        found = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    for schema in SCHEMAS.values():
        jsonschema_rs.meta.validate(schema)


def test_every_code_of_an_error_is_listed_with_its_status():
    """In the description, in the schema, and at the calls that answer with it."""

    def all_of(kind):
        return {kind, *(deeper for child in kind.__subclasses__() for deeper in all_of(child))}

    # Other parts refine them, with the same codes.
    mapped = {deeper for kind in STATUSES for deeper in all_of(kind) if deeper.__module__ == "dart.errors"} | {
        DartError
    }
    assert set(SCHEMAS["Error"]["properties"]["error"]["properties"]["code"]["enum"]) == {it.code for it in mapped}
    for kind in mapped:
        assert f"| {kind.code} | {status_of(kind(''))} |" in DOCUMENT["info"]["description"]
    unknown = DOCUMENT["components"]["responses"]["errors-31-32"]
    assert (unknown["x-codes"], UnknownJobError.code) == ([31, 32], 31)
    for method, path, status in (("POST", "/job/", "409"), ("GET", "/server/", "401"), ("GET", "/job/{job}/", "404")):
        assert status in operation(method, path)["responses"]
    assert "401" not in operation("GET", "/healthz")["responses"]


def test_errors_that_other_parts_refine_do_no_harm():
    """With the same code, and made of what they like: the document has those of the vocabulary."""

    class RefinedError(HostUnreachableError):
        def __init__(self, one, other):
            super().__init__(f"{one} {other}")

    assert RefinedError not in openapi._error_classes()
    assert HostUnreachableError in openapi._error_classes()


def test_scopes_are_the_roles_that_a_key_needs():
    """As the table of calls has them; the probes need no key, this document needs one."""
    for route in ROUTES:
        needed = [] if route.scope is Scope.OPEN else [{"key": [route.scope.name.lower()]}]
        assert operation(route.method, route.path)["security"] == needed
    assert operation("GET", "/openapi.json")["security"] == [{"key": ["read"]}]


def test_arguments_stand_where_they_may_be_given():
    """GET and DELETE in the query, others in the body, `key` never in the query."""
    wanted = parameters("GET", "/job/{job}/results/")
    assert {("path", "job"), ("query", "amount"), ("query", "worker_regex"), ("query", "wait")} <= set(wanted)
    assert not any(name == "key" for route in ROUTES for _, name in parameters(route.method, route.path))
    assert ("query", "cursor") in parameters("POST", "/job/{job}/tasks/")
    assert ("query", "location_and_parameters") not in parameters("POST", "/job/{job}/tasks/")
    assert ("query", "ssh") not in parameters("DELETE", "/worker/")
    assert ("header", "Idempotency-Key") in parameters("DELETE", "/job/{job}/")
    assert "requestBody" not in operation("GET", "/job/")
    assert operation("POST", "/job/")["requestBody"]["required"]
    assert not operation("POST", "/worker/{name}/ping/")["requestBody"]["required"]


def test_unknown_members_are_refused_where_the_document_says_so():
    """The additions refuse them, the twelve historic calls ignore them."""
    assert SCHEMAS["NewEnrolment"]["additionalProperties"] is False
    assert "additionalProperties" not in SCHEMAS["NewJob"]
    assert operation("POST", "/job/")["x-historic"]
    assert "x-historic" not in operation("GET", "/job/")


def test_bounds_are_those_of_this_server():
    """Limits that a server was started with stand in its document."""
    mine = document(ROUTES, replace(Limits(), name_chars_max=7, pattern_chars_max=11))["components"]["schemas"]
    assert mine["NewJob"]["properties"]["name"]["maxLength"] == 7
    assert mine["NewJob"]["properties"]["worker_regex"]["maxLength"] == 11
    assert not re.search(r'"(?:max|min)\w+": "', json.dumps(mine))
    assert SCHEMAS["NewTask"]["properties"]["priority"]["maximum"] == member_types.PRIORITY_MAX
    assert set(policies.MEMBERS) <= set(SCHEMAS["NewTask"]["properties"])


@pytest.mark.parametrize(
    ("member", "good", "bad"),
    [
        ("name", ["a", "task_0_2026-11-22T08:19:01.770818", "ä #1", "日本"], ["", "a/b", "a\n", "a\0", "\x1b[2J"]),
        (
            "module_path",
            ["a", "a/b", "/a", "..a/b.c", "a b"],
            ["", "/", "..", "a/../b", "../a", "a//b", "a.py", "a\\b"],
        ),
        ("method", ["run", "_a1", "größe"], ["", "1a", "a.b", "os.system('x')", "a b"]),
        ("priority", [5, -5, "-5", "17"], [1_000_001, "x", "1.5", ""]),
        ("timeout", [0, 1.5, "2.5", "10"], [-1, 1e10, "x", "nan", "-1"]),
        ("on_lost", ["requeue"], ["nothing", ""]),
        ("standing", [True, "true", "no", ""], ["maybe"]),
    ],
)
def test_the_document_and_the_server_judge_members_alike(member, good, bad):
    """What the schema allows the checks take, what it forbids they refuse."""
    validator = contract._validator("NewJob")
    base = {"name": "n", "module_path": "m", "method": "run"}
    for value, wanted in (*((value, True) for value in good), *((value, False) for value in bad)):
        assert validator.is_valid({**base, member: value}) is wanted, value
        assert _taken({**base, member: value}) is wanted, value


def _taken(members):
    """Whether the checks of the call `POST /job/` take these members."""
    try:
        job, _ = schemas.read_members(members, schemas.NewJob)
        names.check_name(job.name, "name", Limits())
        names.check_module_path(job.module_path, Limits())
        names.check_method(job.method, Limits())
        policies.check_members({name: members[name] for name in policies.MEMBERS if name in members}, Limits())
        schemas.flag(job.standing, "standing")
    except DartError:
        return False
    return True


def test_the_check_of_answers_can_fail():
    """An unknown member, a missing one, a status and a code that the document does not have."""
    contract.check("GET", "/healthz", 200, {"status": "ok"})
    error = {"error": {"code": 31, "message": "m", "category": "not found"}}
    contract.check("GET", "/job/x/", 404, error)
    for wrong in (
        ("GET", "/healthz", 200, {"status": "ok", "more": 1}),
        ("GET", "/healthz", 200, {}),
        ("GET", "/healthz", 404, error),
        ("GET", "/job/", 200, {"jobs": [{"name": "x"}]}),
        ("GET", "/worker/x/", 404, error),
        ("GET", "/nothing/", 404, error),
    ):
        with pytest.raises(AssertionError):
            contract.check(*wrong)
    assert openapi.errors_of(ROUTES[0])


def test_the_javascript_client_names_schemas_that_there_are():
    """Its types are checked whole where Node is; a name that is gone is found anywhere."""
    sources = Path(__file__).parents[3] / "clients" / "javascript" / "src"
    named = {name for source in sources.glob("*.js") for name in re.findall(r'Schemas\["(\w+)"\]', source.read_text())}
    assert len(named) > 3
    assert named <= SCHEMAS.keys()
