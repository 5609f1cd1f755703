"""Idempotency keys that are known to be new."""

from dart.broker.known_keys import KnownKeys


def test_a_key_that_was_added_is_never_denied():
    """Also when the filters change places: the newest are in one of the two."""
    known = KnownKeys(keys_max=100)
    keys = [f"key{number}" for number in range(350)]
    for number, key in enumerate(keys):
        known.add([key, key])
        newest = keys[max(0, number - 99) : number + 1]
        assert all(known.may_have(each) for each in newest)
    assert sum(known.may_have(key) for key in keys) <= 205, "the oldest are forgotten"


def test_a_new_key_is_denied_nearly_always():
    """What is not sure costs a read, no more."""
    known = KnownKeys(keys_max=100_000)
    known.add(f"old{number}" for number in range(20_000))
    assert sum(known.may_have(f"new{number}") for number in range(2_000)) < 20
