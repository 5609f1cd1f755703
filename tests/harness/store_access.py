"""What every store must do with keys, join tokens, enrolments and the audit: a part of the store contract."""

import pytest

from dart.broker.core.access import AuditEntry
from dart.broker.core.model import Enrolment
from dart.broker.core.records import (
    EnrolmentAdded,
    EnrolmentForgotten,
    EnrolmentNamed,
    EnrolmentRevoked,
    KeyAdded,
    KeyForgotten,
    KeyRevoked,
    KeysUsed,
    TokenAdded,
    TokenForgotten,
    TokenRevoked,
    TokenSpent,
)
from dart.errors import StoreError
from harness.store_samples import api_key, join_token, noted


class AccessContract:
    """Who may do what, and what was done."""

    def test_keys_come_back_whole(self, store, restart):
        """By id, with every member."""
        first, second = api_key("a"), api_key("b", pepper="", is_weak=False, expires_at_ms=0)
        store.commit([KeyAdded(second), KeyAdded(first)])
        found = restart(store).recover().keys
        assert found == (first, second)
        assert type(found[0].scope) is type(first.scope)
        assert type(found[0].jobs) is type(first.jobs)

    def test_revoked_keys_stay_and_forgotten_ones_go(self, store, restart):
        """Ids that are unknown are no error and bring nothing back."""
        store.commit([KeyAdded(api_key("a")), KeyAdded(api_key("b"))])
        store.commit([KeyRevoked("a", 5), KeyForgotten("b"), KeyRevoked("b", 6), KeyRevoked("c", 7), KeyForgotten("c")])
        assert restart(store).recover().keys == (api_key("a", revoked_at_ms=5),)

    def test_last_use_never_goes_back(self, store, restart):
        """Of each key the latest time holds."""
        store.commit([KeyAdded(api_key("a")), KeyAdded(api_key("b"))])
        store.commit([KeysUsed((("a", 7), ("b", 3), ("c", 9)))])
        store.commit([KeysUsed((("a", 5), ("b", 4)))])
        assert [key.last_used_at_ms for key in restart(store).recover().keys] == [7, 4]

    def test_join_tokens_are_spent_and_revoked(self, store, restart):
        """They come back by id; unknown ones are no error."""
        store.commit([TokenAdded(join_token("b")), TokenAdded(join_token("a")), TokenAdded(join_token("c"))])
        store.commit([TokenSpent("a"), TokenSpent("a"), TokenSpent("z"), TokenRevoked("b", 9), TokenRevoked("z", 9)])
        store.commit([TokenForgotten("c"), TokenForgotten("z")])
        assert restart(store).recover().join_tokens == (
            join_token("a", uses=2),
            join_token("b", revoked_at_ms=9),
        )

    @pytest.mark.parametrize("record", [KeyAdded(api_key("a")), TokenAdded(join_token("a"))])
    def test_what_is_there_is_not_added_again(self, store, record):
        """The group fails as a whole; what it would have noted is not noted."""
        store.commit([record])
        with pytest.raises(StoreError):
            store.commit([noted(1), KeysUsed((("a", 7),)), TokenSpent("a"), record])
        found = store.look()
        assert [key.last_used_at_ms for key in found.keys] in ([], [0])
        assert [token.uses for token in found.join_tokens] in ([], [0])
        assert store.audit(after=0, amount=9) == []
        store.commit([noted(2)])
        assert [row.sequence for row in store.audit(after=0, amount=9)] == [1]

    def test_enrolments_are_named_and_revoked(self, store, restart):
        """A pattern becomes a name; revoked ones stay until they are forgotten; unknown ones are no error."""
        edge = Enrolment("aa", b"k", "edge-.*", 1, token_id="t", name_is_pattern=True)
        plain = Enrolment("bb", b"l", "plain", 2)
        store.commit([EnrolmentAdded(edge), EnrolmentAdded(plain)])
        assert restart(store).recover().enrolments == (edge, plain)
        store.commit([EnrolmentNamed("aa", "edge-7"), EnrolmentNamed("zz", "z")])
        store.commit([EnrolmentRevoked("bb", 7), EnrolmentRevoked("zz", 7)])
        assert restart(store).recover().enrolments == (
            edge._replace(name="edge-7", name_is_pattern=False),
            plain._replace(revoked_at_ms=7),
        )
        store.commit([EnrolmentForgotten("bb"), EnrolmentForgotten("zz")])
        assert restart(store).recover().enrolments == (edge._replace(name="edge-7", name_is_pattern=False),)

    def test_audit_is_read_both_ways(self, store, restart):
        """In pages that join without gap or repeat, every member kept."""
        store.commit([noted(n) for n in range(1, 4)])
        store.commit([noted(4)])
        store = restart(store)
        assert store.audit(after=0, amount=1)[0].entry == AuditEntry(1, "who1", "what", "tärget", "done", "::1", "r-1")
        assert self._times(store, after=0, amount=3) == [1, 2, 3]
        assert self._times(store, after=3, amount=3) == [4]
        assert self._times(store, after=0, amount=3, newest_first=True) == [4, 3, 2]
        assert self._times(store, after=2, amount=3, newest_first=True) == [1]
        assert self._times(store, after=1, amount=3, newest_first=True) == []

    def test_oldest_entries_of_the_audit_go(self, store, restart):
        """No more than `audit_rows_max` (4 here) are kept; numbers are never used again."""
        store.commit([noted(n) for n in range(1, 8)])
        assert self._times(store, after=0, amount=9) == [4, 5, 6, 7]
        store = restart(store)
        store.commit([noted(8)])
        found = store.audit(after=0, amount=9)
        assert [(row.sequence, row.entry.at_ms) for row in found] == [(5, 5), (6, 6), (7, 7), (8, 8)]

    def test_access_outlives_the_jobs(self, store, restart):
        """A start without jobs forgets nobody's key and nothing of the audit."""
        store.commit([KeyAdded(api_key("a")), TokenAdded(join_token("b")), noted(1)])
        found = restart(store).recover(forget_jobs=True)
        assert (found.keys, found.join_tokens) == ((api_key("a"),), (join_token("b"),))
        assert self._times(store, after=0, amount=9) == [1]

    @staticmethod
    def _times(store, **asked):
        return [row.entry.at_ms for row in store.audit(**asked)]
