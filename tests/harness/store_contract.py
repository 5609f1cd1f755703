"""What every store must do. A subclass gives the fixtures `store` (already recovered once) and `restart`."""

import math
from typing import get_args

import pytest

from dart.broker.core.model import Enrolment, JobStatus, TaskState
from dart.broker.core.records import (
    AttemptsCounted,
    EnrolmentAdded,
    EnrolmentForgotten,
    EnrolmentNamed,
    EnrolmentRevoked,
    JobForgotten,
    JobStatusSet,
    KeyAdded,
    KeyForgotten,
    KeyRevoked,
    KeysUsed,
    LeaseAdded,
    LeasesClosed,
    Record,
    ResultForgotten,
    ResultsBounded,
    SubmissionClosed,
    SubmissionOpened,
    TasksDoomed,
    TokenAdded,
    TokenForgotten,
    TokenRevoked,
    TokenSpent,
)
from dart.errors import StoreError
from dart.ids import Attempt, AttemptRef
from harness.store_access import AccessContract
from harness.store_definitions import FINAL, DefinitionContract
from harness.store_samples import answered, api_key, done, finished, job, join_token, noted, result_ids, results, tasks


class OutcomeContract:
    """Outcomes and how they are read."""

    def test_outcome_comes_back_whole(self, store, restart):
        """All members of an outcome, extremes included, survive."""
        record = finished(1, 2, TaskState.FAILED, "wörk", b"\0\xff", start_time_ms=2**63 - 1, duration_seconds=1e-300)
        store.commit([job(1), tasks(1, 2), record])
        (found,) = results(restart(store), 1)
        assert found == (
            1,
            2,
            TaskState.FAILED,
            "wörk",
            "host",
            "here",
            "tag2",
            2,
            2**63 - 1,
            1e-300,
            7,
            1_700_000_000_250,
            b"\0\xff",
        )
        assert type(found.state) is TaskState

    def test_outcome_with_an_odd_duration_is_recorded(self, store):
        """No number that a clock may give stops a commit."""
        store.commit([job(1), tasks(1, 2, 3)])
        store.commit([finished(1, 2, duration_seconds=math.nan), finished(1, 3, duration_seconds=math.inf)])
        first, second = results(store, 1)
        assert math.isnan(first.duration_seconds)
        assert second.duration_seconds == math.inf

    def test_finished_task_is_open_no_more(self, store, restart):
        """Its row and its parameter are gone with its outcome's coming."""
        store.commit([job(1), tasks(1, 2, 3)])
        store.commit([finished(1, 2)])
        store = restart(store)
        assert [task.id for task in store.recover().tasks] == [3]
        assert store.parameters([2, 3]) == {3: b"parameter"}

    def test_a_task_has_one_outcome(self, store):
        """A second outcome, in the same group or later, under whichever job, changes nothing."""
        store.commit([job(1), job(2), tasks(1, 3)])
        store.commit([finished(2, 3), finished(1, 3), finished(1, 3, TaskState.FAILED)])
        store.commit([finished(1, 3, TaskState.FAILED)])
        assert [(r.id, r.state) for r in results(store, 1)] == [(3, TaskState.SUCCEEDED)]
        assert results(store, 2) == []
        assert [j.tally for j in store.recover().jobs] == [{("bob", TaskState.SUCCEEDED): 1}, {}]

    def test_task_added_and_finished_in_one_group(self, store):
        """Order within a group counts."""
        store.commit([job(1), *done(1, 2, 3)])
        assert result_ids(store, 1) == [2, 3]
        assert store.recover().tasks == ()

    def test_tally_counts_by_worker_and_state(self, store, restart):
        """It counts all groups together, and what is deleted stays counted."""
        store.commit([job(1), *done(1, 2, 3), *done(1, 4, state=TaskState.CANCELLED, worker="")])
        store.commit([*done(1, 5), *done(1, 6, state=TaskState.LOST, worker="eve"), ResultForgotten(1, 5)])
        assert restart(store).recover().jobs[0].tally == {
            ("bob", TaskState.SUCCEEDED): 3,
            ("", TaskState.CANCELLED): 1,
            ("eve", TaskState.LOST): 1,
        }

    def test_results_come_in_the_order_recorded(self, store):
        """Not in the order of ids; `sequence` grows."""
        store.commit([job(1), tasks(1, 2, 3, 4)])
        store.commit([finished(1, 4)])
        store.commit([finished(1, 2), finished(1, 3)])
        found = results(store, 1)
        assert [r.id for r in found] == [4, 2, 3]
        assert [r.sequence for r in found] == sorted({r.sequence for r in found})

    def test_results_leave_cancelled_tasks_out(self, store):
        """Whether or not workers are named."""
        store.commit([job(1), *done(1, 2, state=TaskState.CANCELLED), *done(1, 3)])
        assert result_ids(store, 1) == result_ids(store, 1, ("bob",)) == [3]

    def test_results_of_some_workers(self, store):
        """Merged in the order recorded; names asked twice count once; unknown names and none at all give nothing."""
        store.commit([job(1), job(2)])
        for task_id, worker in enumerate(["a", "b", "c", "a", "b", "a"], 10):
            store.commit(done(1, task_id, worker=worker))
        assert result_ids(store, 1, ("a", "b", "a")) == [10, 11, 13, 14, 15]
        assert result_ids(store, 1, ("a", "b"), amount=2) == [10, 11]
        assert result_ids(store, 1, ("a", "b", "c", "y", "z"), amount=2, after=1) == [11, 12]
        assert result_ids(store, 1, ("c", "z")) == [12]
        assert result_ids(store, 1, ("z",)) == result_ids(store, 1, ()) == result_ids(store, 2, ("a",)) == []

    def test_bounds_keep_the_newest_results(self, store, restart):
        """By number, bytes and age; the tally stays, cancelled tasks go by age alone, other jobs are not touched."""
        store.commit([job(1), job(2), *done(1, *range(10, 40)), *done(2, 50, finished_at_ms=1)])
        store.commit([*done(1, 40, state=TaskState.CANCELLED), *done(1, 41, payload=b"x" * 90)])
        assert self._held(store, results=20) == [*range(21, 40), 41]
        assert self._held(store, payload_bytes=100) == [38, 39, 41]
        assert len(store.finished_tasks(1, after=0, amount=99, states=FINAL)) == 4
        store.commit(done(1, 42, finished_at_ms=1_800_000_000_000))
        assert self._held(store, before_ms=1_800_000_000_000) == [42]
        assert [task.id for task in store.finished_tasks(1, after=0, amount=99, states=FINAL)] == [42]
        assert self._held(store) == [42]
        assert result_ids(store, 2) == [50]
        (found, _) = restart(store).recover().jobs
        assert found.tally == {("bob", TaskState.SUCCEEDED): 32, ("bob", TaskState.CANCELLED): 1}

    def test_bounds_after_deletions(self, store):
        """What a client deleted, twice perhaps, counts no more."""
        store.commit([job(1), *done(1, *range(10, 20)), *done(1, 20, state=TaskState.CANCELLED)])
        store.commit([ResultForgotten(1, 19), ResultForgotten(1, 19), ResultForgotten(1, 20)])
        assert self._held(store, results=9) == list(range(10, 19))
        assert self._held(store, results=8, payload_bytes=1 << 30) == list(range(11, 19))

    def test_bounds_of_unknown_jobs(self, store):
        """Are no error."""
        store.commit([ResultsBounded(99, 1, 1, 1)])
        store.commit([job(1), *done(1, 10), JobForgotten(1), ResultsBounded(1, 1, 1, 1)])
        assert result_ids(store, 1) == []

    @staticmethod
    def _held(store, *, before_ms=0, results=0, payload_bytes=0):
        """Ids of what is left of job 1 once these bounds hold."""
        store.commit([ResultsBounded(1, before_ms, results, payload_bytes)])
        for number in range(99):
            # Groups that change something: a store may clear away as much as they do.
            store.commit([answered(f"key{number}", 1)])
        return result_ids(store, 1)

    @pytest.mark.parametrize("workers", [None, ("bob", "eve"), ("bob",)])
    def test_pages_of_results_join_without_gap_or_repeat(self, store, workers):
        """The cursor is the sequence of the last row taken."""
        store.commit([job(1), *done(1, *range(2, 25))])
        found, after = [], 0
        while page := results(store, 1, workers, after=after, amount=5):
            assert len(page) == 5 or page[-1].id == 24
            found += [r.id for r in page]
            after = page[-1].sequence
        assert found == list(range(2, 25))

    @pytest.mark.parametrize("workers", [None, ("bob",)])
    def test_page_of_results_is_bounded_in_bytes(self, store, workers):
        """The row that reaches the bound is the last; the first comes whatever its size."""
        store.commit([job(1), *done(1, 2, 3, 4, 5, payload=b"x" * 100)])
        assert result_ids(store, 1, workers, bytes_max=1) == [2]
        assert result_ids(store, 1, workers, bytes_max=100) == [2]
        assert result_ids(store, 1, workers, bytes_max=101) == [2, 3]

    def test_forgotten_result_is_gone(self, store, restart):
        """Cancelled ones too; unknown ids, and ids of other jobs, are no error and change nothing."""
        store.commit([job(1), job(2), *done(1, 3, 4), *done(1, 5, state=TaskState.CANCELLED), tasks(1, 6)])
        store.commit([ResultForgotten(1, 3), ResultForgotten(1, 5), ResultForgotten(2, 4), ResultForgotten(1, 6)])
        store.commit([ResultForgotten(1, 3), finished(1, 3)])
        store = restart(store)
        assert result_ids(store, 1) == [4]
        assert [r.id for r in store.results_of(1, [3, 4, 5])] == [4]
        assert [task.id for task in store.recover().tasks] == [6]

    def test_sequences_are_never_used_again(self, store, restart):
        """A cursor stays good after the newest result was deleted."""
        store.commit([job(1), *done(1, 2)])
        (first,) = results(store, 1)
        store.commit([ResultForgotten(1, 2)])
        store = restart(store)
        store.commit(done(1, 3))
        assert result_ids(store, 1, after=first.sequence) == [3]

    def test_latest_sequence_is_a_cursor_for_now(self, store, restart):
        """Nothing recorded before has a greater one, everything after; deleted results and starts change nothing."""
        assert store.latest_sequence() == 0
        store.commit([job(1), *done(1, 2, 3), *done(1, 4, state=TaskState.CANCELLED)])
        store.commit([ResultForgotten(1, 3)])
        store = restart(store)
        store.recover()
        before = store.latest_sequence()
        assert before >= results(store, 1)[-1].sequence
        assert result_ids(store, 1, after=before) == []
        store.commit(done(1, 5))
        assert result_ids(store, 1, after=before) == [5]
        assert store.latest_sequence() > before

    def test_results_of_given_tasks(self, store):
        """In the order asked, cancelled ones included, of this job only, open and unknown ones left out."""
        store.commit([job(1), job(2), *done(1, *range(10, 2500)), *done(2, 2600), tasks(1, 2700)])
        store.commit(done(1, 2800, state=TaskState.CANCELLED))
        found = store.results_of(1, [2800, 2700, 2600, 11, 99_999, 10])
        assert [(r.id, r.state, r.payload) for r in found] == [
            (2800, TaskState.CANCELLED, b"value"),
            (11, TaskState.SUCCEEDED, b"value"),
            (10, TaskState.SUCCEEDED, b"value"),
        ]
        assert [r.id for r in store.results_of(1, range(10, 2500))] == list(range(10, 2500))
        assert store.results_of(1, []) == []

    def test_finished_tasks_come_by_id_without_payload(self, store):
        """Of the states asked for; pages join by the last id."""
        states = [TaskState.FAILED, TaskState.SUCCEEDED, TaskState.CANCELLED]
        store.commit([job(1), tasks(1, *range(2, 32))])
        store.commit([finished(1, task_id, states[task_id % 3]) for task_id in reversed(range(2, 32))])
        found = store.finished_tasks(1, after=0, amount=4, states=FINAL)
        assert [(t.id, t.payload) for t in found] == [(2, b""), (3, b""), (4, b""), (5, b"")]
        asked = frozenset({TaskState.SUCCEEDED, TaskState.CANCELLED})
        found = store.finished_tasks(1, after=4, amount=5, states=asked)
        assert [(t.id, t.state) for t in found] == [(i, states[i % 3]) for i in (5, 7, 8, 10, 11)]
        assert store.finished_tasks(1, after=0, amount=5, states=frozenset({TaskState.LOST})) == []
        assert store.finished_tasks(1, after=0, amount=5, states=frozenset()) == []
        assert store.finished_tasks(9, after=0, amount=5, states=FINAL) == []


class OtherContract:
    def test_look_tells_what_recover_would(self, store, restart):
        """Without changing anything: the incarnation stays, tasks of an unfinished submission are left out."""
        store.commit([job(1), tasks(1, 2), SubmissionOpened(3, 4), tasks(1, 3), LeaseAdded(1, "aa", ())])
        seen = store.look()
        assert store.look() == seen
        assert seen == restart(store).recover()._replace(incarnation=seen.incarnation)
        assert [task.id for task in seen.tasks] == [2]

    def test_room_is_told(self, store):
        """Bytes that can still be written."""
        assert store.room() > 0

    """Leases, enrolments, answers, groups."""

    def test_leases_come_back_in_order(self, store, restart):
        """With every attempt; closed ones are gone; closing an unknown one is no error."""
        attempts = (AttemptRef(2**62, Attempt(3, 1)), AttemptRef(8, Attempt(2, 5)))
        store.commit([LeaseAdded(2, "bb", ()), LeaseAdded(1, "aa", attempts), LeaseAdded(3, "aa", attempts)])
        store.commit([LeasesClosed((3, 77))])
        first, second = restart(store).recover().leases
        assert (first.lease_id, first.agent_id, first.attempts) == (1, "aa", attempts)
        assert (second.lease_id, second.attempts) == (2, ())

    def test_enrolments_come_back(self, store, restart):
        """The latest of a key holds."""
        old, new, other = (
            Enrolment(*row) for row in [("aa", b"k", "a", 1), ("aa", b"k", "b", 2), ("00", b"l", "b", 1)]
        )
        store.commit([EnrolmentAdded(old), EnrolmentAdded(new), EnrolmentAdded(other)])
        assert restart(store).recover().enrolments == (other, new)

    def test_answer_is_remembered_until_it_expires(self, store, restart):
        """At its very millisecond it is gone."""
        store.commit([answered("key", 2**63 - 1, expires_at_ms=500)])
        store = restart(store)
        assert store.answer("key", 499) == (b"digest", 2**63 - 1)
        assert store.answer("key", 500) is None
        assert store.answer("other", 0) is None

    def test_answer_can_be_given_anew(self, store):
        """A key whose answer expired takes a new one."""
        store.commit([answered("key", 1, expires_at_ms=500)])
        store.commit([answered("key", 2, expires_at_ms=900, digest=b"other")])
        assert store.answer("key", 600) == (b"other", 2)

    def test_oldest_answers_go_first(self, store):
        """No more than `idempotency_keys_max` (5 here) are remembered."""
        for n in range(8):
            store.commit([answered(f"key{n}", n)])
        assert [store.answer(f"key{n}", 0) for n in range(3)] == [None] * 3
        assert [store.answer(f"key{n}", 0) for n in range(3, 8)] == [(b"digest", n) for n in range(3, 8)]

    def test_empty_group(self, store):
        """Nothing to write is no error."""
        store.commit([])

    def test_contradiction_changes_nothing(self, store, restart):
        """A group that cannot be applied to its end has no effect at all, and the store goes on."""
        store.commit([job(1), *done(1, 2, 3), tasks(1, 4), answered("key", 1), LeaseAdded(1, "aa", ())])
        before = self._all(store)
        group = [
            job(10),
            *done(1, 11),
            finished(1, 4),
            ResultForgotten(1, 2),
            answered("key", 2),
            LeasesClosed((1,)),
            SubmissionOpened(12, 20),
            JobStatusSet(1, JobStatus.STOPPED),
            EnrolmentAdded(Enrolment("aa", b"k", "a", 1)),
            JobForgotten(10),
        ]
        for contradiction in (
            job(1, "new"),
            job(30, "job1"),
            tasks(1, 4),
            LeaseAdded(1, "aa", ()),
            SubmissionOpened(12, 13),
        ):
            prefix = group[:5] if isinstance(contradiction, LeaseAdded) else [g for g in group if g != finished(1, 4)]
            with pytest.raises(StoreError):
                store.commit([*prefix, contradiction])
            assert self._all(store) == before
        store.commit(group)
        assert [j.status for j in restart(store).recover().jobs] == [JobStatus.STOPPED]

    @staticmethod
    def _all(store):
        return (
            store.recover()._replace(incarnation=0),
            results(store, 1),
            store.finished_tasks(1, after=0, amount=99, states=FINAL),
            store.parameters([4, 11]),
            store.answer("key", 0),
        )

    def test_every_kind_of_record_is_known(self, store):
        """A new kind of record cannot be forgotten here: this list has them all."""
        samples = [
            job(1),
            SubmissionOpened(2, 3),
            tasks(1, 2, 3),
            SubmissionClosed(2, complete=True),
            AttemptsCounted(2, 1, 0),
            finished(1, 2),
            ResultForgotten(1, 2),
            ResultsBounded(1, 0, 1, 0),
            LeaseAdded(1, "aa", ()),
            LeasesClosed((1,)),
            EnrolmentAdded(Enrolment("aa", b"k", "a", 1)),
            EnrolmentNamed("aa", "b"),
            EnrolmentRevoked("aa", 2),
            EnrolmentForgotten("aa"),
            KeyAdded(api_key("a")),
            KeysUsed((("a", 1),)),
            KeyRevoked("a", 2),
            KeyForgotten("a"),
            TokenAdded(join_token("a")),
            TokenSpent("a"),
            TokenRevoked("a", 2),
            TokenForgotten("a"),
            noted(1),
            answered("key", 1),
            JobStatusSet(1, JobStatus.STOPPED),
            TasksDoomed(1, 3),
            JobForgotten(1),
        ]
        assert {type(sample) for sample in samples} == set(get_args(Record))
        for sample in samples:
            store.commit([sample])

    def test_probe_succeeds(self, store):
        """While writing works."""
        store.probe()

    def test_close_is_harmless_when_repeated(self, store):
        """Also twice."""
        store.close()
        store.close()


class StoreContract(DefinitionContract, OutcomeContract, AccessContract, OtherContract):
    """All of it."""
