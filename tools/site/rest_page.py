"""The page of REST, made of the OpenAPI document, which is made of the types that requests are read with."""

import json
from collections.abc import Iterator
from typing import Any

from dart.limits import Limits
from dart.rest.openapi import document
from dart.rest.routes import ROUTES


def page() -> str:
    """Every call with what it takes, what it answers, and what it may refuse with."""
    made = document(ROUTES, Limits())
    text = [
        "# REST, call by call\n",
        "Made of the OpenAPI document that every server has at `/openapi.json`; [in prose](../rest.md).\n",
    ]
    for path, methods in made["paths"].items():
        for method, call in methods.items():
            text.append(f"## {method.upper()} {path}\n")
            text += _about(call, made["components"])
    return "\n".join(text)


def undocumented() -> list[str]:
    """Calls without a sentence; `document` itself refuses those without types."""
    paths = document(ROUTES, Limits())["paths"]
    return [
        f"{method.upper()} {path}: no summary"
        for path, methods in paths.items()
        for method, call in methods.items()
        if not call.get("summary")
    ]


def _about(call: dict[str, Any], components: dict[str, Any]) -> Iterator[str]:
    needs = ", ".join(scope for each in call["security"] for scope in each["key"]) or "no key"
    yield f"{call['summary']}. Needs: {needs}.{' One of the historic calls.' if call.get('x-historic') else ''}\n"
    rows = [
        (it["name"], it["in"], _type(it["schema"]), it.get("description", ""), it["required"])
        for it in call.get("parameters", ())
    ]
    rows += [
        (name, "body", _type(schema), schema.get("description", ""), name in needed)
        for properties, needed in [_members(call.get("requestBody"), components)]
        for name, schema in properties.items()
    ]
    if rows:
        yield "| argument | in | type | |"
        yield "| --- | --- | --- | --- |"
        for name, where, kind, about, required in rows:
            needed = " (required)" if required else ""
            yield f"| `{name}`{needed} | {where} | {kind} | {about.replace('|', chr(92) + '|')} |"
        yield ""
    errors = []
    for status, answer in sorted(call["responses"].items()):
        if "$ref" in answer:
            codes = components["responses"][answer["$ref"].rpartition("/")[2]]["x-codes"]
            errors.append(f"{status} ({', '.join(map(str, codes))})")
        else:
            properties, _ = _members(answer, components)
            members = ", ".join(f"`{name}`" for name in properties) or ", ".join(answer.get("content", ()))
            yield f"- {status}: {members or answer['description']}"
    yield f"- [errors](errors.md#errors): {', '.join(errors)}\n"


def _members(body: dict[str, Any] | None, components: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Properties of a JSON body, and which it must have."""
    schema = (body or {}).get("content", {}).get("application/json", {}).get("schema", {})
    if "$ref" in schema:
        schema = components["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema.get("properties", {}), schema.get("required", [])


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    for together in ("anyOf", "oneOf"):
        if together in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[together]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))
