"""The OpenAPI 3.1 document, made of the table of calls and of the very types that requests are read with."""

import inspect
import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from dart import __version__
from dart.errors import (
    DartError,
    ForbiddenError,
    IdempotencyConflictError,
    InvalidRequestError,
    LimitError,
    MalformedError,
    StoreError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnknownBlobError,
    UnknownJobError,
    UnknownKeyError,
    UnknownTaskError,
    UnknownTokenError,
    UnknownWorkerError,
    UnsupportedMediaTypeError,
    ValueNotPortableError,
)
from dart.limits import Limits
from dart.rest.auth import Scope
from dart.rest.bodies import EVENT_STREAM, JSON, MESSAGEPACK
from dart.rest.call import Answer, Call, Route
from dart.rest.errors import STATUSES, status_of
from dart.rest.examples import ERRORS, EXAMPLES, HEADERS, NAMES, Example
from dart.rest.schemas import BETWEEN_MEMBERS, Members, NewTask

_SCHEMAS: Final = "#/components/schemas/"
_RESPONSES: Final = "#/components/responses/"
_HEADERS: Final = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
_BOUNDS: Final = ("minLength", "maxLength", "minItems", "maxItems", "maxProperties", "minimum", "maximum")
_NAMES: Final = {
    "job": ("name of a job", UnknownJobError),
    "name": ("name of a worker", UnknownWorkerError),
    "key_id": ("id of an API key; never its text", UnknownKeyError),
    "sha256": ("SHA-256 of a blob: 64 hexadecimal digits", UnknownBlobError),
    "token_id": ("id of a join token; never its text", UnknownTokenError),
    "id": ("id of a task and of its result: decimal digits", UnknownTaskError),
}
_ALWAYS: Final = (MalformedError, InvalidRequestError, TooLargeError, UnsupportedMediaTypeError, LimitError)
_PROBED: Final = (MalformedError, LimitError)
"""Of calls that look at no body."""
_ANY_NAME: Final = frozenset({("DELETE", "/job/{job}/results/{id}/"), ("DELETE", "/module/{name}/")})
"""To forget what is not there is no error."""
_READING: Final = frozenset({"GET", "HEAD"})
_KEYED: Final = (UnauthorizedError, ForbiddenError)
_BROKEN: Final = (DartError, StoreError, UnavailableError)
_ABOUT: Final = """\
The interface of a DART server. `docs/rest.md` tells the same in prose.

- A path answers with and without its trailing slash. Every success answers 200.
- Bodies are JSON or MessagePack (`Content-Type`), answers are what `Accept` asks for.
- Arguments of GET and DELETE may also be members of such a body; the query wins. Calls with `x-historic` ignore \
members that they do not know and list them under `warnings`; the others refuse them.
- Integers may come as decimal text, and truth values as in a query.
- The key: `Authorization: Bearer KEY`; or `key`, first among the members of the body, within its first 4 KiB.
- Ids are texts of decimal digits, times Unix milliseconds, durations seconds. No member is ever null.
- Names of members under `ssh` may also be written with `-`.
- In a name that stands in a path, what a URL cannot have is percent-encoded.
"""


async def show(call: Call) -> Answer:
    """`GET /openapi.json`: this document, with the limits of this very server."""
    await call.members(Members)
    return document(call.tools.routes, call.limits)


@cache
def document(routes: tuple[Route, ...], limits: Limits) -> dict[str, Any]:
    """The whole document, JSON values only.

    Raises:
        ValueError: A call lacks its types or its sentence; the message says which and what to do.
    """
    types = [kind for route in routes for kind in (route.takes, route.answers) if isinstance(kind, type)]
    _, schemas = msgspec.json.schema_components([NewTask, *types], ref_template=_SCHEMAS + "{name}")
    for together, rule in BETWEEN_MEMBERS.items():
        if together.__name__ in schemas:
            schemas[together.__name__] |= rule
    for route in routes:
        if _has_body(route) and not route.historic:
            # What `Call.note_unknown` does.
            schemas[_takes(route).__name__]["additionalProperties"] = False
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    schemas["Error"] = _error_schema()
    made = {
        "openapi": "3.1.0",
        "info": {
            "title": "DART",
            "version": __version__,
            "description": f"{_ABOUT}\n{_error_table()}",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": _error_responses(routes),
            "headers": {
                "RequestId": {"description": "stands in the server's log, too", "schema": {"type": "string"}},
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "an API key"}},
        },
    }
    _set_limits(made, limits)
    return made


def errors_of(route: Route) -> list[type[DartError]]:
    """What a call may answer instead of 200."""
    is_open = route.scope is Scope.OPEN
    found: list[type[DartError]] = [*_BROKEN, *route.errors, *(_PROBED if is_open else (*_ALWAYS, *_KEYED))]
    if (route.method, route.path) not in _ANY_NAME:
        found += [_NAMES[name][1] for name in _names_in(route) if name in _NAMES]
    if route.method not in _READING:
        found += [IdempotencyConflictError, ValueNotPortableError]
    return sorted(set(found), key=lambda kind: (status_of(kind("")), kind.code))


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    takes = _takes(route)
    example = _example(route)
    operation: dict[str, Any] = {
        "operationId": f"{route.handler.__module__.rpartition('.')[2]}.{route.handler.__name__}",
        "tags": [route.path.split("/")[1]],
        "summary": _summary(route),
        "parameters": list(_parameters(route, schemas[takes.__name__], example)),
        "responses": dict(_responses(route, example)),
        "security": [] if route.scope is Scope.OPEN else [{"key": [route.scope.name.lower()]}],
    }
    if route.historic:
        operation["x-historic"] = True
    if route.body:
        # Without bytes: an empty value, or one that is here already.
        operation["requestBody"] = {"required": False, "content": {route.body: {"schema": {}, "example": example.body}}}
    elif _has_body(route):
        schema = {"$ref": _SCHEMAS + takes.__name__}
        required = bool(schemas[takes.__name__].get("required"))
        operation["requestBody"] = {"required": required, "content": _content(schema, example.body)}
    return operation


def _example(route: Route) -> Example:
    found = EXAMPLES.get((route.method, route.path))
    if found is None:
        raise ValueError(f"{route.method} {route.path} has no example; give it a row in EXAMPLES of rest/examples.py.")
    return found


def _takes(route: Route) -> type[Members]:
    if route.takes is None or route.answers is None:
        raise ValueError(
            f"{route.method} {route.path} lacks its types: give its row in ROUTES `takes=` (what its handler passes to"
            " `call.members`) and `answers=` (a TypedDict of one of the `_schemas.py`, or a media type)."
        )
    return route.takes


def _summary(route: Route) -> str:
    """From the first line of the handler's docstring, "`GET /path`: what it does."."""
    first = (inspect.getdoc(route.handler) or "").partition("\n")[0]
    found = re.fullmatch(r"`[A-Z]+ /[^`]*`: (.+?)\.?", first)
    if found is None:
        name = f"{route.handler.__module__}.{route.handler.__name__}"
        raise ValueError(f"The docstring of {name} must begin with a line such as `GET /path/`: what it does.")
    return found[1][:1].upper() + found[1][1:]


def _names_in(route: Route) -> list[str]:
    return re.findall(r"{(\w+)}", route.path)


def _has_body(route: Route) -> bool:
    return route.method not in {*_READING, "DELETE"}


def _parameters(route: Route, schema: dict[str, Any], example: Example) -> Iterator[dict[str, Any]]:
    """Examples of what may be left out stand in its schema: from `example`, pages fill it in, and then it is sent."""
    for name in _names_in(route):
        about = _NAMES[name][0] if name in _NAMES else name
        told = {"description": about, "example": example.names.get(name, NAMES.get(name, name))}
        yield {"name": name, "in": "path", "required": True, **told, "schema": {"type": "string", "minLength": 1}}
    for name, member in schema["properties"].items():
        in_query = name in route.in_query if _has_body(route) else name != "key" and "$ref" not in member
        if in_query:
            shown = {"examples": [example.query[name]]} if name in example.query else {}
            shape = {**member, **shown}
            yield {"name": name, "in": "query", "required": name in schema["required"], "schema": shape}
    if route.answers == EVENT_STREAM:
        place = {"type": "string", "pattern": "^(?:now|oldest|[0-9a-f]{8}-[0-9]{1,18})?$"}
        about = "id of the last event that was read; counts more than `after`, unless it is empty"
        yield _header("Last-Event-ID", about, place)
    if route.method not in _READING:
        text = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}
        yield _header("Idempotency-Key", "the same request with the same key is done once", text)


def _header(name: str, about: str, schema: dict[str, Any]) -> dict[str, Any]:
    told = {"description": about, "schema": {**schema, "examples": [HEADERS[name]]}}
    return {"name": name, "in": "header", "required": False, **told}


def _responses(route: Route, example: Example) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(route.answers, str):
        shown = {} if example.answer is None else {"example": example.answer}
        content: dict[str, Any] = {route.answers: {"schema": {}, **shown}}
    else:
        content = _content({"$ref": f"{_SCHEMAS}{route.answers.__name__}"}, example.answer)
    if route.path.startswith("/blob/") and route.method == "GET":
        yield "206", {"description": "the part that `Range` asked for", "headers": _HEADERS, "content": content}
        yield "304", {"description": "`If-None-Match` has its hash", "headers": _HEADERS}
    yield "200", {"description": "done", "headers": _HEADERS, "content": content}
    for status, kinds in _by_status(errors_of(route)).items():
        yield str(status), {"$ref": _RESPONSES + _response_name(kinds)}


def _by_status(kinds: Sequence[type[DartError]]) -> dict[int, list[type[DartError]]]:
    found: dict[int, list[type[DartError]]] = {}
    for kind in kinds:
        found.setdefault(status_of(kind("")), []).append(kind)
    return found


def _response_name(kinds: Sequence[type[DartError]]) -> str:
    return "-".join(("errors", *(str(kind.code) for kind in kinds)))


def _error_responses(routes: Sequence[Route]) -> dict[str, dict[str, Any]]:
    """Each set of errors that some call answers with one status."""
    sets = [kinds for route in routes for kinds in _by_status(errors_of(route)).values()]
    return {
        _response_name(kinds): {
            "description": "; ".join(f"{kind.code}: {_sentence(kind)}" for kind in kinds),
            "headers": _HEADERS,
            "content": {
                JSON: {
                    "schema": {"$ref": f"{_SCHEMAS}Error"},
                    "examples": {str(kind.code): {"value": _error_example(kind)} for kind in kinds},
                },
                MESSAGEPACK: {"schema": {"$ref": f"{_SCHEMAS}Error"}},
            },
            "x-codes": [kind.code for kind in kinds],
        }
        for kinds in sets
    }


def _error_example(kind: type[DartError]) -> dict[str, Any]:
    known: dict[str, Any] = {"code": kind.code, "category": kind.category}
    return {"error": known | ERRORS[kind.code]}


def _content(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {JSON: {"schema": schema, "example": example}, MESSAGEPACK: {"schema": schema}}


def _error_classes() -> list[type[DartError]]:
    """Every class of error that an answer may have."""
    found: set[type[DartError]] = set()
    ahead = list(STATUSES)
    while ahead:
        kind = ahead.pop()
        found.add(kind)
        # Other parts refine these for themselves, with the same code.
        ahead += [each for each in kind.__subclasses__() if each.__module__ == DartError.__module__]
    return sorted({DartError, *found}, key=lambda kind: kind.code)


def _error_schema() -> dict[str, Any]:
    properties = {
        "code": {"type": "integer", "enum": [kind.code for kind in _error_classes()]},
        "message": {"type": "string", "description": "what is wrong, with which member, what to do"},
        "category": {"type": "string", "enum": sorted({kind.category for kind in _error_classes()})},
        "field": {"type": "string", "description": "the member at fault"},
        "job": {"type": "string"},
        "offset": {"type": "integer", "description": "bytes of an interrupted upload that are here"},
        "retry_after": {"type": "number", "description": "seconds"},
    }
    error = {"type": "object", "properties": properties, "required": ["code", "message", "category"]}
    return {"title": "Error", "type": "object", "properties": {"error": error}, "required": ["error"]}


def _error_table() -> str:
    rows = [f"| {kind.code} | {status_of(kind(''))} | {_sentence(kind)} |" for kind in _error_classes()]
    return "\n".join(["| code | status | meaning |", "| --- | --- | --- |", *rows, ""])


def _sentence(kind: type[DartError]) -> str:
    if kind is DartError:
        return "The server's own fault"
    return (inspect.getdoc(kind) or "").partition("\n")[0].removesuffix(".")


def _set_limits(part: Any, limits: Limits) -> None:
    """Put the numbers where a bound is the name of a limit."""
    if isinstance(part, dict):
        for name, value in part.items():
            if name in _BOUNDS and isinstance(value, str):
                part[name] = getattr(limits, value)
            else:
                _set_limits(value, limits)
    elif isinstance(part, list):
        for item in part:
            _set_limits(item, limits)
