"""Examples of the OpenAPI document: for everything that has a body or a name, and each as its schema says."""

import copy

import jsonschema_rs
import pytest

from dart.errors import DartError
from dart.rest import examples
from dart.rest.examples import ERRORS, EXAMPLES
from dart.rest.routes import ROUTES
from harness import contract
from harness.contract import DOCUMENT

NOT_SHOWN = {"application/octet-stream", "application/vnd.sqlite3"}
"""Bytes, as answers."""
OPERATIONS = [(method, path) for path, item in DOCUMENT["paths"].items() for method in item]


def resolved(part):
    """What a reference of the document stands for."""
    found = part
    while "$ref" in found:
        found, steps = DOCUMENT, found["$ref"].removeprefix("#/").split("/")
        for step in steps:
            found = found[step]
    return found


def examples_of(content):
    return (
        [content["example"]] if "example" in content else [it["value"] for it in content.get("examples", {}).values()]
    )


def check(schema, example):
    if "$ref" in schema:
        contract.validate(schema["$ref"].rpartition("/")[2], example)
        return
    whole = {**copy.deepcopy(schema), "components": DOCUMENT["components"]}
    assert jsonschema_rs.validator_for(whole).is_valid(example), (schema, example)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_parameter_and_every_body_has_an_example_that_fits(method, path):
    """Parameters, the request's body, and the answer of each status; closed, so that no member is made up."""
    operation = DOCUMENT["paths"][path][method]
    for parameter in operation["parameters"]:
        schema = parameter["schema"]
        # A page fills in what stands at the parameter, which is wanted for those that have to be there.
        (example,) = [parameter["example"]] if parameter["required"] else schema["examples"]
        check(schema, example)
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    answers = [resolved(answer) for answer in operation["responses"].values()]
    for part in bodies + answers:
        for kind, content in part.get("content", {}).items():
            if kind == "application/msgpack" or (part not in bodies and kind in NOT_SHOWN):
                assert "application/json" in part["content"] or kind in NOT_SHOWN
                continue
            found = examples_of(content)
            assert found, (method, path, kind)
            for example in found:
                check(content["schema"], example)


def test_there_is_no_example_of_what_is_not_there():
    """Calls, arguments and codes that are gone leave none behind."""
    assert set(EXAMPLES) == {(route.method, route.path) for route in ROUTES}
    for (method, path), example in EXAMPLES.items():
        operation = DOCUMENT["paths"][path][method.lower()]
        known = {(it["in"], it["name"]) for it in operation["parameters"]}
        assert {("query", name) for name in example.query} <= known, path
        assert {("path", name) for name in example.names} <= known, path
        assert (example.body is not None) == ("requestBody" in operation), path
    assert set(ERRORS) == set(
        DOCUMENT["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"]
    )


def test_an_example_that_does_not_fit_is_noticed(monkeypatch):
    """A wrong member, a missing one, a wrong type: this file would fail."""
    for wrong in (
        {"job": {"name": "j"}},
        {"job": {"name": "j", "status": 7}},
        {"job": {"name": "j", "status": 1}, "x": 1},
    ):
        with pytest.raises(AssertionError):
            check({"$ref": "#/components/schemas/StatusOfJob"}, wrong)
    with pytest.raises(AssertionError):
        check({"type": "string", "pattern": "^a$"}, "b")
    assert DartError.code in examples.ERRORS
