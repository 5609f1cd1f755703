"""Keys, scopes, and the search for `key` in the first bytes of a body."""

import asyncio
from dataclasses import replace

import msgpack
import pytest

from dart.errors import ForbiddenError, LimitError, UnauthorizedError
from dart.limits import Limits
from dart.rest import key_text
from dart.rest.auth import KeyRing, Scope, bearer_key
from dart.rest.caller import NOBODY
from dart.rest.key_scan import Scan, key_in_json, key_in_messagepack
from dart.rest.routes import ROUTES
from harness.held_keys import HeldKeys
from harness.rest_stack import FixedKey

LIMITS = Limits()
PEPPER = b"pepper"
FAR = "192.0.2.7"


def ring(held=None, **changes):
    return KeyRing(FixedKey("admin-key"), held or HeldKeys(), changes.pop("limits", LIMITS), pepper=PEPPER, **changes)


def refused(keys, text, address="", needed=Scope.READ):
    """What is said to who comes with this key."""
    with pytest.raises((UnauthorizedError, LimitError, ForbiddenError)) as caught:
        keys.caller(text, needed, address)
    return caught.value


SCOPES = {
    ("GET", "/server/"): "read", ("DELETE", "/server/"): "admin",
    ("GET", "/events/"): "read", ("GET", "/job/{job}/events/"): "read",
    ("GET", "/server/backup/"): "admin", ("GET", "/worker/"): "read",
    ("POST", "/worker/"): "admin", ("DELETE", "/worker/"): "admin", ("POST", "/host/upgrade/"): "admin",
    ("GET", "/worker/{name}/"): "read",
    ("PUT", "/blob/{sha256}/"): "submit", ("GET", "/blob/{sha256}/"): "read", ("HEAD", "/blob/{sha256}/"): "read",
    ("GET", "/audit/"): "admin", ("POST", "/worker/{name}/drain/"): "admin", ("POST", "/worker/{name}/ping/"): "admin",
    ("GET", "/module/"): "read", ("POST", "/module/"): "admin", ("DELETE", "/module/{name}/"): "admin",
    ("POST", "/worker/{name}/revoke/"): "admin", ("POST", "/token/"): "admin", ("GET", "/token/"): "admin",
    ("DELETE", "/token/{token_id}/"): "admin", ("GET", "/server/rotation/"): "admin",
    ("POST", "/server/rotation/"): "admin", ("POST", "/server/rotation/finish/"): "admin",
    ("POST", "/enroll/"): "admin", ("POST", "/job/"): "submit", ("GET", "/job/"): "read",
    ("GET", "/job/{job}/"): "read", ("DELETE", "/job/{job}/"): "submit", ("GET", "/job/{job}/status/"): "read",
    ("POST", "/job/{job}/tasks/"): "submit", ("GET", "/job/{job}/tasks/"): "read",
    ("GET", "/job/{job}/tasks/{id}/"): "read", ("DELETE", "/job/{job}/tasks/{id}/"): "submit",
    ("GET", "/job/{job}/results/"): "read", ("DELETE", "/job/{job}/results/{id}/"): "submit",
    ("GET", "/key/"): "admin", ("POST", "/key/"): "admin", ("DELETE", "/key/{key_id}/"): "admin",
    ("GET", "/healthz"): "open", ("GET", "/readyz"): "open", ("GET", "/openapi.json"): "read",
    ("GET", "/metrics"): "read", ("GET", "/job/{job}/results/{id}/"): "read",
    ("POST", "/session/"): "read", ("GET", "/session/"): "read", ("DELETE", "/session/"): "read",
    ("GET", "/overview/"): "read", ("GET", "/overview/workers/"): "read", ("GET", "/overview/jobs/"): "read",
}  # fmt: skip


def test_every_route_has_the_scope_of_the_contract():
    """The table is complete: a route that is added must be decided on here, too."""
    assert {(route.method, route.path): route.scope.name.lower() for route in ROUTES} == SCOPES
    assert sum(route.historic for route in ROUTES) == 12


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_a_key_may_do_what_its_scope_contains(route):
    """Nothing more, and an unknown one nothing."""
    held = HeldKeys()
    keys = ring(held, legacy_keys=["000"])
    for text, scope in (
        (held.make(Scope.READ), Scope.READ),
        (held.make(Scope.SUBMIT), Scope.SUBMIT),
        (held.make(Scope.ADMIN), Scope.ADMIN),
        ("admin-key", Scope.ADMIN),
        ("000", Scope.ADMIN),
    ):
        if scope >= route.scope:
            assert keys.caller(text, route.scope).scope is scope
        else:
            error = refused(keys, text, needed=route.scope)
            assert (type(error), error.details) == (ForbiddenError, {"scope": route.scope.name.lower()})
    assert type(refused(keys, "wrong", needed=route.scope)) is UnauthorizedError


async def test_the_refusal_of_the_old_key_says_what_to_do():
    """Programs with 000 in them are many."""
    assert "--legacy-key 000" in refused(ring(), "000").message
    assert "dart key add --text 000" in refused(ring(), "000").message
    assert "legacy" not in refused(ring(), "001").message


async def test_no_key_says_where_it_belongs():
    """It is no wrong one, and an empty one is."""
    assert "Bearer" in refused(ring(), None).message
    assert "does not know" in refused(ring(), "").message
    assert "does not know" in refused(KeyRing(FixedKey(""), HeldKeys(), LIMITS), "").message


async def test_expired_and_revoked_are_told_to_who_has_the_text():
    """Of any other text with the same id only that it is not known."""
    held = HeldKeys()
    text = held.make(expires_at_ms=held.now_ms + 1)
    (key_id,) = held.held
    keys = ring(held)
    assert keys.caller(text, Scope.SUBMIT).id == key_id
    held.now_ms += 1
    assert "expired at 1970-01-01 00:16:40 UTC" in refused(keys, text).message
    held.hold(key_id, **{**held.held[key_id]._asdict(), "revoked_at_ms": 5_000, "id": key_id})
    assert "was revoked at 1970-01-01 00:00:05 UTC" in refused(keys, text).message
    guess = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert refused(keys, guess).message == refused(keys, key_text.new_key()[1]).message
    assert "does not know" in refused(keys, guess).message
    assert held.used_ids == [key_id]


async def test_a_text_that_was_made_is_never_taken_for_a_chosen_one():
    """Nor the other way round, whatever the store says."""
    held = HeldKeys()
    key_id, text = key_text.new_key()
    held.hold(key_id, digest=key_text.peppered(PEPPER, text), pepper=key_text.name_of(PEPPER))
    assert "does not know" in refused(ring(held), text).message
    held.hold(key_id, digest=key_text.digest("chosen"))
    assert "does not know" in refused(ring(held), "chosen").message


async def test_chosen_texts_need_the_pepper_they_were_added_with():
    """With another one they are strangers, and the list says why."""
    held = HeldKeys()
    held.choose("a text of mine, long", PEPPER)
    assert ring(held).caller("a text of mine, long", Scope.ADMIN).name == "name of a text of mine, long"
    other = KeyRing(FixedKey("admin-key"), held, LIMITS, pepper=b"other")
    assert "does not know" in refused(other, "a text of mine, long").message
    assert "key.pepper" in other.trouble(held.held["a text of mine, long"])


async def test_weak_keys_count_where_they_may():
    """Elsewhere their owner is told why they do not; strong ones count."""
    held = HeldKeys()
    held.choose("000", PEPPER)
    held.choose("correct horse battery", PEPPER)
    keys = ring(held, weak_keys_count=False)
    assert "--allow-weak-key" in refused(keys, "000").message
    assert keys.caller("correct horse battery", Scope.ADMIN)
    assert ring(held).caller("000", Scope.ADMIN)


async def test_a_text_that_is_added_again_is_the_new_key():
    """The one that counts, before those that do not."""
    held = HeldKeys()
    sealed = {"digest": key_text.peppered(PEPPER, "000"), "pepper": key_text.name_of(PEPPER)}
    held.hold("new", **sealed, created_at_ms=5)
    held.hold("old", **sealed, created_at_ms=2, revoked_at_ms=3)
    held.hold("newest", **sealed, created_at_ms=9, revoked_at_ms=9)
    keys = ring(held)
    assert keys.caller("000", Scope.READ).id == "new"
    assert (keys.is_taken("000"), keys.is_taken("001"), keys.is_taken("admin-key")) == (True, False, True)
    held.hold("new", **sealed, revoked_at_ms=5)
    assert not keys.is_taken("000")
    assert ring(held, legacy_keys=["000"]).is_taken("000")


async def test_too_many_wrong_keys_get_429_and_right_ones_pass():
    """By address; a made key, the admin's and a strong chosen one are never locked out."""
    held = HeldKeys()
    keys = ring(held)
    text, strong = held.make(), held.choose("correct horse battery", PEPPER)
    for number in range(LIMITS.key_failures_max):
        assert type(refused(keys, f"wrong{number}", FAR)) is UnauthorizedError
    error = refused(keys, "wrong", FAR)
    assert (type(error), error.details) == (LimitError, {"retry_after": 3})
    assert type(refused(keys, "wrong", "192.0.2.8")) is UnauthorizedError
    for right in (text, strong, "admin-key"):
        assert keys.caller(right, Scope.SUBMIT, FAR)


async def test_weak_keys_are_not_found_by_guessing():
    """Where too many wrong ones come from they are taken only if this address has used this very key before."""
    held = HeldKeys()
    held.choose("000", PEPPER)
    keys = ring(held, legacy_keys=["001"])
    assert keys.caller("000", Scope.READ, FAR)
    for number in range(LIMITS.key_failures_max):
        refused(keys, f"wrong{number}", FAR)
        refused(keys, f"wrong{number}", "127.0.0.1")
    assert type(refused(keys, "001", FAR)) is LimitError
    assert keys.caller("000", Scope.READ, FAR)
    assert keys.caller("001", Scope.READ, "192.0.2.8")
    for here in ("127.0.0.1", "::1", "::ffff:127.0.0.1", ""):
        assert keys.caller("001", Scope.READ, here)


async def test_acquaintances_are_bounded():
    """The latest are remembered."""
    held = HeldKeys()
    held.choose("000", PEPPER)
    keys = ring(held, limits=replace(LIMITS, key_addresses_max=2))
    for number in range(9):
        keys.caller("000", Scope.READ, f"192.0.2.{number}")
    assert [address for _, address in keys._acquainted] == ["192.0.2.7", "192.0.2.8"]


async def test_whoever_waits_hears_that_his_key_is_gone():
    """Revoked, replaced, forgotten, expired; keys of the command line stay."""
    held, admin = HeldKeys(), FixedKey("admin-key")
    keys = KeyRing(admin, held, LIMITS, legacy_keys=["000"])
    texts = [held.make(), held.make(), held.make(expires_at_ms=held.now_ms + 50)]
    revoked, forgotten, _ = held.held
    callers = [keys.caller(text, Scope.READ) for text in (*texts, "admin-key", "000")]
    waiting = [asyncio.create_task(keys.until_gone(caller)) for caller in callers]
    await asyncio.sleep(0)
    held.hold(revoked, digest=b"", revoked_at_ms=5)
    held.on_revoked()
    assert "was revoked at" in (await waiting[0]).message
    assert not any(task.done() for task in waiting[1:])
    del held.held[forgotten]
    held.on_revoked()
    assert "was revoked" in (await waiting[1]).message
    held.now_ms += 50
    assert "expired" in (await waiting[2]).message
    admin.key, admin.version = "new-key", 2
    assert "does not know" in refused(keys, "admin-key").message
    assert keys.caller("new-key", Scope.ADMIN).version == 2
    held.on_revoked()
    assert "replaced" in (await waiting[3]).message
    assert not waiting[4].done()
    assert keys.gone(NOBODY) is None
    waiting[4].cancel()


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
