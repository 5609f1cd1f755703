"""The store in memory keeps the contract, and fails where a test plants it."""

from dataclasses import replace

import pytest

from dart.broker.store.memory import MemoryStore
from dart.errors import StoreError
from dart.limits import Limits
from harness.store_contract import StoreContract
from harness.store_samples import done, job, result_ids


@pytest.fixture
def store():
    store = MemoryStore(replace(Limits(), idempotency_keys_max=5, audit_rows_max=4))
    store.recover()
    return store


class TestMemoryStore(StoreContract):
    """The contract; a restart is no more than a further recovery."""

    @pytest.fixture
    def restart(self):
        return lambda store: store


def test_planted_failure_is_one_commit(store):
    """The commit after it succeeds, and nothing of the failed one is there."""
    store.fail_next = True
    with pytest.raises(StoreError, match="planted"):
        store.commit([job(1), *done(1, 2)])
    assert store.recover().jobs == ()
    store.commit([job(1), *done(1, 2)])
    assert result_ids(store, 1) == [2]


def test_lasting_failure_holds_until_it_is_taken_away(store):
    """Commit, probe and recovery fail, as they would with a full disk."""
    store.failing = True
    for write in (lambda: store.commit([job(1)]), store.probe, store.recover, store.probe):
        with pytest.raises(StoreError):
            write()
    store.failing = False
    store.probe()
    assert store.recover().jobs == ()


def test_unknown_record_is_refused(store):
    """What is no record is a fault of the caller, and leaves no trace."""
    with pytest.raises(TypeError):
        store.commit([job(1), "nonsense"])
    assert store.recover().jobs == ()
