"""API keys in the core: bounded, revoked once, their use remembered roughly."""

import pytest

from dart.broker.core.events import KeyIssued, KeysSeen, KeyWithdrawn
from dart.broker.core.records import KeyAdded, KeyForgotten, KeyRevoked, KeysUsed
from dart.errors import ConflictError, LimitError, UnknownKeyError
from harness.recorder import Recorder
from harness.store_samples import api_key


@pytest.fixture
def r():
    return Recorder(keys_max=3, key_use_seconds=60.0)


def issue(r, key_id, **changes):
    key = api_key(key_id, **{"expires_at_ms": 0, **changes})
    return r.ask(lambda token: KeyIssued(token, key)), key


def revoke(r, key_id):
    return r.ask(lambda token: KeyWithdrawn(token, key_id))


def test_an_issued_key_is_kept(r):
    """And known after a restart, whole."""
    key_id, key = issue(r, "a")
    assert key_id == "a"
    assert r.records() == [KeyAdded(key)]
    r.restart()
    assert r.core.keys == {"a": key}


def test_an_id_is_given_once(r):
    """A second key of the same id is refused and changes nothing."""
    _, key = issue(r, "a")
    with pytest.raises(ConflictError, match="'a'"):
        issue(r, "a", name="other")
    assert r.core.keys == {"a": key}


def test_a_key_is_revoked_once(r):
    """The first time holds; an unknown id is an error."""
    issue(r, "a")
    assert revoke(r, "a") == 1_000_000
    assert r.records() == [KeyRevoked("a", 1_000_000)]
    r.now += 5
    assert revoke(r, "a") == 1_000_000
    assert r.records() == []
    assert r.core.keys["a"].revoked_at_ms == 1_000_000
    with pytest.raises(UnknownKeyError, match="'b'"):
        revoke(r, "b")


def test_keys_that_count_no_more_make_room(r):
    """The one that ended first goes; keys that count are never dropped, a further one is refused."""
    issue(r, "a", expires_at_ms=1_009_000)
    issue(r, "b")
    issue(r, "c")
    with pytest.raises(LimitError, match="keys_max"):
        issue(r, "d")
    assert r.records() == []
    r.now = 1008.0
    revoke(r, "b")
    r.now = 1009.0
    _, d = issue(r, "d")
    assert r.records() == [KeyForgotten("b"), KeyAdded(d)]
    _, e = issue(r, "e")
    assert r.records() == [KeyForgotten("a"), KeyAdded(e)]
    with pytest.raises(LimitError):
        issue(r, "f")
    assert set(r.core.keys) == set(r.store.keys) == {"c", "d", "e"}


def test_use_is_remembered_roughly(r):
    """Once in `key_use_seconds`, several keys in one record that nothing waits for; unknown ones are no error."""
    issue(r, "a")
    issue(r, "b")
    r.do(KeysSeen(("a", "b", "z")))
    assert r.records() == [KeysUsed((("a", 1_000_000), ("b", 1_000_000)))]
    r.now += 59.9
    r.do(KeysSeen(("a",)))
    assert r.records() == []
    r.now += 0.1
    r.do(KeysSeen(("a",)))
    assert r.records() == [KeysUsed((("a", 1_060_000),))]
    assert [key.last_used_at_ms for key in r.core.keys.values()] == [1_060_000, 1_000_000]
