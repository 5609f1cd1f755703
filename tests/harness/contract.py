"""Holds real answers against the OpenAPI document, which here must name every member there is."""

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from unittest import mock

import jsonschema_rs

from dart.limits import Limits
from dart.rest.call import Call, Route
from dart.rest.openapi import document
from dart.rest.routes import ROUTES

DOCUMENT = document(ROUTES, Limits())
NO_ROUTE = {404: 30, 405: 35}


def _closed(part: Any) -> Any:
    """The schema with no further members anywhere but in `Error`, whose details are many."""
    if isinstance(part, dict):
        made = {name: _closed(value) for name, value in part.items()}
        if made.get("type") == "object" and "properties" in made and "additionalProperties" not in made:
            made["additionalProperties"] = False
        return made
    return [_closed(item) for item in part] if isinstance(part, list) else part


@cache
def _validator(name: str) -> Any:
    schemas = copy.deepcopy(DOCUMENT["components"]["schemas"])
    closed = {known: schema if known == "Error" else _closed(schema) for known, schema in schemas.items()}
    return jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}", "components": {"schemas": closed}})


def validate(name: str, instance: Any) -> None:
    """Fail unless the instance is what this component says, to the last member."""
    found = [f"{list(error.instance_path)}: {error.message[:500]}" for error in _validator(name).iter_errors(instance)]
    assert not found, (name, found, str(instance)[:1000])


def route_of(method: str, path: str) -> Route | None:
    """The call that this request is."""
    bare = path.partition("?")[0].rstrip("/")
    for route in ROUTES:
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route.path.rstrip("/")))
        if route.method == method and re.fullmatch(pattern, bare):
            return route
    return None


def check(method: str, path: str, status: int, members: Any) -> None:
    """Fail unless the document allows this JSON answer."""
    route = route_of(method, path)
    if route is None:
        validate("Error", members)
        assert members["error"]["code"] == NO_ROUTE[status]
        return
    responses = DOCUMENT["paths"][route.path][method.lower()]["responses"]
    assert str(status) in responses, f"{method} {route.path} answers {status}, which the document does not have"
    if status == 200:
        if isinstance(route.answers, type):
            validate(route.answers.__name__, members)
        return
    validate("Error", members)
    codes = DOCUMENT["components"]["responses"][responses[str(status)]["$ref"].rpartition("/")[2]]["x-codes"]
    assert members["error"]["code"] in codes, f"{method} {route.path} answers code {members['error']['code']}"


@contextmanager
def takes_what_it_says() -> Iterator[None]:
    """Meanwhile a handler that reads its members as another type than its route says fails."""
    members = Call.members

    async def checked(call: Call, kind: Any) -> Any:
        assert kind is call.route.takes, f"{call.route.path} takes {kind.__name__}; its row in ROUTES says otherwise"
        return await members(call, kind)

    with mock.patch.object(Call, "members", checked):
        yield
