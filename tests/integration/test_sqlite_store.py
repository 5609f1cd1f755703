"""The SQLite store keeps the contract, across reopening, with slow sweeping and without."""

from dataclasses import replace

import pytest

from dart.broker.store.sqlite import SqliteStore
from dart.limits import Limits
from harness.store_contract import StoreContract

LIMITS = replace(Limits(), idempotency_keys_max=5, audit_rows_max=4)


class SqliteContract(StoreContract):
    """A restart is a close and an opening."""

    limits = LIMITS

    @pytest.fixture
    def opened(self):
        stores = []
        yield stores
        for store in stores:
            store.close()

    @pytest.fixture
    def store(self, tmp_path, opened):
        store = SqliteStore(tmp_path / "dart.db", self.limits)
        opened.append(store)
        store.recover()
        return store

    @pytest.fixture
    def restart(self, tmp_path, opened):
        def reopen(store):
            store.close()
            opened.append(SqliteStore(tmp_path / "dart.db", self.limits))
            # The test goes on with either name: both mean the store that is open now.
            store.__dict__.update(opened[-1].__dict__)
            return store

        return reopen


class TestSqliteStore(SqliteContract):
    """The contract."""


class TestSqliteStoreThatSweepsSlowly(SqliteContract):
    """The contract holds although hardly any row of what was forgotten has been deleted yet."""

    limits = replace(LIMITS, sweep_rows_max=0)
