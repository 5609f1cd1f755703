"""Whatever groups of records come, the SQLite store tells the same as the plain model in memory."""

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dart.broker.core.model import Enrolment, JobStatus, OnLost, TaskPolicy, TaskState
from dart.broker.core.records import (
    AttemptsCounted,
    EnrolmentAdded,
    EnrolmentForgotten,
    EnrolmentNamed,
    EnrolmentRevoked,
    JobAdded,
    JobForgotten,
    JobStatusSet,
    KeyAdded,
    KeyForgotten,
    KeyRevoked,
    KeysUsed,
    LeaseAdded,
    LeasesClosed,
    ResultForgotten,
    SubmissionClosed,
    SubmissionOpened,
    TasksAdded,
    TasksDoomed,
    TokenAdded,
    TokenForgotten,
    TokenRevoked,
    TokenSpent,
)
from dart.broker.store.memory import MemoryStore
from dart.broker.store.sqlite import SqliteStore
from dart.errors import StoreError
from dart.ids import Attempt, AttemptRef
from dart.limits import Limits
from harness.store_contract import FINAL
from harness.store_samples import CONFIG, answered, api_key, finished, join_token, noted, result_ids, results

LIMITS = replace(Limits(), sweep_rows_max=0, idempotency_keys_max=3, audit_rows_max=3)
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Durability is not what is tested here."""
WORKERS = ("", "a", "b")

_policies = st.builds(
    TaskPolicy,
    location=st.sampled_from(WORKERS),
    requires=st.sampled_from([(), ("gpu",)]),
    priority=st.integers(-(2**31), 2**31),
    timeout_seconds=st.floats(0, 1e9),
    retries=st.integers(0, 9),
    lost_retries=st.integers(0, 9),
    on_lost=st.sampled_from(OnLost),
    expires_at_ms=st.sampled_from([0, 2**62]),
    retry_delay_seconds=st.floats(0, 1e9),
    lost_retry_delay_seconds=st.floats(0, 1e9),
)
_rows = st.tuples(_policies, st.text(st.characters(exclude_categories=["Cs"]), max_size=3), st.binary(max_size=20))
# Numbers that choose among what is there when the step is carried out.
_choice = st.integers(0, 40)
_steps = st.one_of(
    st.tuples(st.just("job")),
    st.tuples(st.just("stop"), _choice),
    st.tuples(st.just("doom"), _choice, _choice),
    st.tuples(st.just("forget"), _choice),
    st.tuples(st.just("tasks"), _choice, st.lists(_rows, min_size=1, max_size=4)),
    st.tuples(st.just("open"), st.integers(1, 6)),
    st.tuples(st.just("slice"), _choice, _choice, st.lists(_rows, min_size=1, max_size=3)),
    st.tuples(st.just("close"), _choice, st.booleans()),
    st.tuples(st.just("finish"), _choice, _choice, st.sampled_from(sorted(FINAL)), st.sampled_from(WORKERS)),
    st.tuples(st.just("finish"), _choice, _choice, st.sampled_from(sorted(FINAL)), st.sampled_from(WORKERS)),
    st.tuples(st.just("count"), _choice, _choice, _choice),
    st.tuples(st.just("delete"), _choice, _choice),
    st.tuples(st.just("lease"), _choice, _choice),
    st.tuples(st.just("unlease"), _choice),
    st.tuples(st.just("enrol"), st.sampled_from("ab"), _choice),
    st.tuples(st.just("access"), st.sampled_from("abc"), st.sampled_from("engrtfpsouv"), _choice),
    st.tuples(st.just("access"), st.sampled_from("abc"), st.sampled_from("engrtfpsouv"), _choice),
    st.tuples(st.just("note"), _choice),
    st.tuples(st.just("answer"), st.sampled_from("abcdef"), _choice),
    # Ids that are taken: such a group must fail, as a whole, in both.
    st.tuples(st.just("again"), _choice),
)
_groups = st.lists(st.tuples(st.lists(_steps, max_size=8), st.sampled_from(["", "", "", "recover"])), max_size=8)


class _Numbers:
    """Gives out ids that are never reused and remembers them, so that later steps can name them."""

    def __init__(self):
        self.highest = 0
        self.jobs = []
        self.tasks = []
        self.submissions = []
        self.reserved = {}
        self.leases = 0

    def record(self, step):
        """The record a step means now."""
        kind, *rest = step
        return getattr(self, f"_{kind}")(*rest)

    def _job(self):
        self.highest += 1
        self.jobs.append(self.highest)
        return JobAdded(self.highest, f"job{self.highest}", CONFIG, self.highest)

    def _of(self, known, choice):
        return known[choice % len(known)] if known else 10**6 + choice

    def _stop(self, job):
        return JobStatusSet(self._of(self.jobs, job), JobStatus.STOPPED)

    def _doom(self, job, task):
        return TasksDoomed(self._of(self.jobs, job), self._of(self.tasks, task))

    def _forget(self, job):
        return JobForgotten(self._of(self.jobs, job))

    def _tasks(self, job, rows):
        first = self.highest + 1
        self.highest += len(rows)
        self.tasks += range(first, self.highest + 1)
        return TasksAdded(self._of(self.jobs, job), first, tuple(rows))

    def _open(self, amount):
        first = self.highest + 1
        self.highest += amount
        self.submissions.append(first)
        self.reserved[first] = list(range(first, first + amount))
        return SubmissionOpened(first, self.highest)

    def _slice(self, submission, job, rows):
        reserved = self.reserved.get(self._of(self.submissions, submission), [])
        if len(reserved) < len(rows):
            return self._tasks(job, rows)
        ids = [reserved.pop(0) for _ in rows]
        self.tasks += ids
        return TasksAdded(self._of(self.jobs, job), ids[0], tuple(rows))

    def _close(self, submission, complete):
        first = self._of(self.submissions, submission)
        # No slice follows the end.
        self.reserved.pop(first, None)
        return SubmissionClosed(first, complete)

    def _finish(self, job, task, state, worker):
        return finished(self._of(self.jobs, job), self._of(self.tasks, task), state, worker, bytes([task]) * task)

    def _count(self, task, errors, losses):
        return AttemptsCounted(self._of(self.tasks, task), errors, losses)

    def _delete(self, job, task):
        return ResultForgotten(self._of(self.jobs, job), self._of(self.tasks, task))

    def _lease(self, agent, task):
        self.leases += 1
        refs = (AttemptRef(self._of(self.tasks, task), Attempt(1, agent)),)
        return LeaseAdded(self.leases, f"agent{agent % 3}", refs)

    def _unlease(self, lease):
        return LeasesClosed((lease, lease + 1))

    def _enrol(self, agent, time):
        return EnrolmentAdded(Enrolment(agent, b"k", f"name{time}", time))

    def _access(self, name, what, time):
        return {
            "e": EnrolmentNamed(name, f"named{time}"),
            "n": EnrolmentRevoked(name, time),
            "g": EnrolmentForgotten(name),
            # An id that is taken makes a group fail: in half the cases it is a new one.
            "r": KeyAdded(api_key(f"{name}{time}" if time % 2 else name)),
            "t": KeyRevoked(name, time),
            "f": KeysUsed(((name, time), ("a", 20))),
            "p": KeyForgotten(name),
            "s": TokenAdded(join_token(f"{name}{time}" if time % 2 else name)),
            "o": TokenSpent(name),
            "u": TokenRevoked(name, time),
            "v": TokenForgotten(name),
        }[what]

    def _note(self, time):
        return noted(time)

    def _answer(self, key, answer):
        return answered(key, answer, expires_at_ms=10**9)

    def _again(self, job):
        return JobAdded(10**7 + job, f"job{self._of(self.jobs, job)}", CONFIG, 1)


def _told(store, numbers):
    """All that a store tells, but for its id."""
    pages = []
    for job in numbers.jobs:
        pages.append(results(store, job))
        pages.append(results(store, job, after=3, amount=2))
        pages.append(results(store, job, bytes_max=10))
        pages += [result_ids(store, job, workers) for workers in [("a",), ("b", ""), ("a", "b", "c"), ()]]
        pages.append(store.finished_tasks(job, after=2, amount=3, states=FINAL))
        pages.append(store.finished_tasks(job, after=0, amount=9, states=frozenset({TaskState.LOST, TaskState.FAILED})))
        pages.append(store.results_of(job, numbers.tasks))
    audit = store.audit(after=0, amount=9), store.audit(after=3, amount=2, newest_first=True)
    keys = store.answered_keys(0, 3), store.answered_keys(2, 9)
    look = store.look()._replace(store_id="")
    return pages, store.parameters(numbers.tasks), [store.answer(key, 0) for key in "abcdef"], keys, audit, look


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_groups)
def test_stores_tell_the_same(groups):
    """After every group, after recoveries, and when a group is refused."""
    numbers = _Numbers()
    memory = MemoryStore(LIMITS)
    with tempfile.TemporaryDirectory(dir=FAST) as directory:
        path = Path(directory) / "dart.db"
        sqlite = SqliteStore(path, LIMITS)
        try:
            for steps, what_then in [*groups, ([], "recover")]:
                records = [numbers.record(step) for step in steps]
                refused = []
                for store in (memory, sqlite):
                    try:
                        store.commit(records)
                    except StoreError:
                        refused.append(store)
                assert refused in ([], [memory, sqlite])
                assert _told(sqlite, numbers) == _told(memory, numbers)
                if what_then == "recover":
                    sqlite.close()
                    sqlite = SqliteStore(path, LIMITS)
                    expected = memory.recover()
                    assert sqlite.recover() == expected._replace(store_id=sqlite.recover().store_id)
                    memory.recover()
        finally:
            sqlite.close()
