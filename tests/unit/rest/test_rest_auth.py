"""Keys, scopes, and the search for `key` in the first bytes of a body."""

import msgpack
import pytest

from dart.errors import ForbiddenError, UnauthorizedError
from dart.rest.app import ROUTES
from dart.rest.auth import KeyRing, Scope, bearer_key, caller_of
from dart.rest.key_scan import Scan, key_in_json, key_in_messagepack

KEYS = KeyRing("admin-key", ["000"])
KEYS.add("read-key", name="r", scope=Scope.READ)
KEYS.add("submit-key", name="s", scope=Scope.SUBMIT)

SCOPES = {
    ("GET", "/server/"): "read", ("DELETE", "/server/"): "admin",
    ("GET", "/server/backup/"): "admin", ("GET", "/worker/"): "read",
    ("POST", "/worker/"): "admin", ("DELETE", "/worker/"): "admin", ("GET", "/worker/{name}/"): "read",
    ("POST", "/worker/{name}/drain/"): "admin", ("POST", "/worker/{name}/ping/"): "admin",
    ("POST", "/enroll/"): "admin", ("POST", "/job/"): "submit", ("GET", "/job/"): "read",
    ("GET", "/job/{job}/"): "read", ("DELETE", "/job/{job}/"): "submit", ("GET", "/job/{job}/status/"): "read",
    ("POST", "/job/{job}/tasks/"): "submit", ("GET", "/job/{job}/tasks/"): "read",
    ("GET", "/job/{job}/tasks/{id}/"): "read", ("DELETE", "/job/{job}/tasks/{id}/"): "submit",
    ("GET", "/job/{job}/results/"): "read", ("DELETE", "/job/{job}/results/{id}/"): "submit",
    ("GET", "/healthz"): "open", ("GET", "/readyz"): "open", ("GET", "/openapi.json"): "read",
}  # fmt: skip


def test_every_route_has_the_scope_of_the_contract():
    """The table is complete: a route that is added must be decided on here, too."""
    assert {(route.method, route.path): route.scope.name.lower() for route in ROUTES} == SCOPES
    assert sum(route.historic for route in ROUTES) == 12


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_key_may_do_what_its_scope_contains(route):
    """Nothing more, and an unknown one nothing."""
    for text, scope in (
        ("read-key", Scope.READ),
        ("submit-key", Scope.SUBMIT),
        ("admin-key", Scope.ADMIN),
        ("000", Scope.ADMIN),
    ):
        if scope >= route.scope:
            assert caller_of(KEYS, text, route.scope).scope is scope
        else:
            with pytest.raises(ForbiddenError, match=route.scope.name.lower()):
                caller_of(KEYS, text, route.scope)
    with pytest.raises(UnauthorizedError):
        caller_of(KEYS, "wrong", route.scope)


def test_the_refusal_of_the_old_key_says_what_to_do():
    """Programs with 000 in them are many."""
    with pytest.raises(UnauthorizedError, match="--legacy-key 000"):
        caller_of(KeyRing("x"), "000", Scope.READ)
    with pytest.raises(UnauthorizedError) as caught:
        caller_of(KeyRing("x"), "001", Scope.READ)
    assert "legacy" not in caught.value.message


def test_no_key_says_where_it_belongs():
    """And an empty ring knows nobody."""
    with pytest.raises(UnauthorizedError, match="Bearer"):
        caller_of(KEYS, None, Scope.READ)
    assert KeyRing().find("") is None


def test_bearer_headers():
    """The scheme in any case; other schemes are refused, none is none."""
    assert bearer_key(None) is None
    assert bearer_key("bearer  x ") == "x"
    for wrong in ("Basic x", "Bearer", "Bearer ", ""):
        with pytest.raises(UnauthorizedError, match="Bearer KEY"):
            bearer_key(wrong)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"key": "k", "x": [', "k"),
        (b'{"key":"k"', "k"),
        (b' \n{"a": {"key": "no"}, "b": ["key", "no", {}], "c": 1e5, "d": null, "key"\t:\r"yes"}', "yes"),
        (b'{"a": "}\\"key\\": \\\\", "key": "\\u0041\\n"}', "A\n"),
        (b'{"a": "key", "b": "c", "key": "k"}', "k"),
        (b"{}", Scan.ABSENT),
        (b'{"a": 1}', Scan.ABSENT),
        (b'{"key": 5}', Scan.ABSENT),
        (b'{"key": {"key": "k"}}', Scan.ABSENT),
        (b'{"key": "\\q"}', Scan.ABSENT),
        (b'{"key": "\xff"}', Scan.ABSENT),
        (b'["key", "k"]', Scan.ABSENT),
        (b'"key"', Scan.ABSENT),
        (b"5", Scan.ABSENT),
        (b"", Scan.MORE),
        (b"  ", Scan.MORE),
        (b"{", Scan.MORE),
        (b'{"key": "unended', Scan.MORE),
        (b'{"key": "half\\', Scan.MORE),
        (b'{"a": [[[', Scan.MORE),
        (b"{" * 4096, Scan.MORE),
        (b'{"a":' * 800, Scan.MORE),
    ],
)
def test_the_key_of_a_json_object_is_found_by_a_scan(body, found):
    """Only the top-level member, only as text, in bytes that may end anywhere."""
    assert key_in_json(body) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (msgpack.packb({"key": "k"}), "k"),
        (msgpack.packb({"a": {"key": "no"}, "b": [1] * 50, 5: b"x", "key": "k", "z": 1}), "k"),
        (msgpack.packb({"key": b"k"}), Scan.ABSENT),
        (msgpack.packb({"a": 1}), Scan.ABSENT),
        (msgpack.packb({}), Scan.ABSENT),
        (msgpack.packb(["key", "k"]), Scan.ABSENT),
        (msgpack.packb({"a": "x" * 100})[:-1], Scan.MORE),
        (b"\xdf\xff\xff\xff\xff", Scan.MORE),
        (b"", Scan.MORE),
        (b"\xc1", Scan.ABSENT),
        (b"\x82\xa1a\xc1", Scan.ABSENT),
        (b"\x82\xa1\xff\x01", Scan.ABSENT),
        (b"\x81\xa1a" + b"\x91" * 4000, Scan.ABSENT),
        (b"\x81\x90\x01", Scan.ABSENT),
        (b"\x81\xa1a\xdd\xff\xff\xff\xff", Scan.MORE),
    ],
)
def test_the_key_of_a_messagepack_map_too(body, found):
    """Whatever the bytes are."""
    assert key_in_messagepack(body) == found
