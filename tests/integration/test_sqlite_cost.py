"""What the SQLite store's calls cost: counted in instructions of its virtual machine, never in time."""

import random
from pathlib import Path

import pytest

from dart.broker.core.model import TaskState
from dart.broker.core.records import JobForgotten
from dart.broker.store import sqlite_read
from dart.broker.store.sqlite import SqliteStore
from dart.limits import Limits
from harness.store_contract import FINAL
from harness.store_samples import done, finished, job, result_ids, results, tasks

STATEMENTS = [
    sqlite_read.PARAMETERS,
    sqlite_read.RESULTS_OF_JOB,
    sqlite_read.SEQUENCES_OF_WORKER,
    sqlite_read.IDS_OF_STATE,
    sqlite_read.SEQUENCES_OF_IDS,
    sqlite_read.OUTCOME,
    sqlite_read.OUTCOME_WITHOUT_PAYLOAD,
    sqlite_read.ANSWER,
    sqlite_read.ANSWERED_KEYS,
]


@pytest.fixture
def store(tmp_path):
    store = SqliteStore(tmp_path / "dart.db", Limits())
    store.recover()
    store.commit([job(1), job(2)])
    yield store
    store.close()


def _fill(store, first_id, amount):
    """Outcomes of forty workers, a third of them cancelled."""
    for start in range(first_id, first_id + amount, 1000):
        ids = range(start, start + 1000)
        store.commit([tasks(1, *ids)])
        store.commit(
            [finished(1, i, TaskState.CANCELLED if i % 3 == 0 else TaskState.SUCCEEDED, f"worker{i % 40}") for i in ids]
        )


def _instructions(connection, call):
    """How many instructions, in tens, a call takes."""
    counted = [0]

    def count():
        counted[0] += 1
        return 0

    connection.set_progress_handler(count, 10)
    try:
        call()
    finally:
        connection.set_progress_handler(None, 10)
    return counted[0]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_statement_walks_an_index_and_sorts_nothing(store, statement):
    """No full scan of a table that grows, no temporary tree for an order."""
    names = ("ids", "job_id", "after", "amount", "worker", "state", "sequence", "key", "now_ms")
    plan = store._reading.execute(f"EXPLAIN QUERY PLAN {statement}", dict.fromkeys(names, 1)).fetchall()
    steps = [detail for *_, detail in plan]
    assert any(step.startswith("SEARCH") for step in steps), steps
    assert [step for step in steps if "TEMP B-TREE" in step] == []
    # The list of ids, one constant row, and the unfinished submissions are no tables that grow.
    small = ("json_each", "CONSTANT ROW", "submission")
    assert [step for step in steps if step.startswith("SCAN") and not any(name in step for name in small)] == []


def _statements(store, records):
    """How many a group takes; what SQLite does for a foreign key is told as the statement once more."""
    told = set()
    store._writing.set_trace_callback(told.add)
    store.commit(records)
    store._writing.set_trace_callback(None)
    return sum(not statement.startswith("--") for statement in told)


def test_a_group_takes_few_statements(store):
    """The writing thread gives Python's lock away with each: no more for 512 outcomes than for one."""
    assert _statements(store, []) == 5
    assert _statements(store, [tasks(1, 10)]) == 7
    assert _statements(store, [finished(1, 10)]) == 10
    store.commit([tasks(1, *range(1000, 1512))])
    assert _statements(store, [finished(1, i) for i in range(1000, 1512)]) == 10


def test_reading_costs_no_more_with_many_outcomes(store):
    """Ten times the outcomes, the same instructions for a page from the middle, by whichever call."""
    calls = [
        lambda: results(store, 1, after=500, amount=20),
        lambda: results(store, 1, ("worker4", "worker11", "worker32", "nobody"), after=500, amount=20),
        lambda: results(store, 1, after=10**6, amount=20),
        lambda: results(store, 1, ("nobody",), amount=20),
        lambda: store.results_of(1, range(500, 520)),
        lambda: store.finished_tasks(1, after=500, amount=20, states=FINAL),
        lambda: store.finished_tasks(1, after=0, amount=20, states=frozenset({TaskState.LOST})),
        lambda: store.answer("key", 0),
        lambda: store.parameters([500, 501]),
    ]
    _fill(store, 1000, 2000)
    few = [_instructions(store._reading, call) for call in calls]
    _fill(store, 3000, 20_000)
    many = [_instructions(store._reading, call) for call in calls]
    assert all(after <= before * 1.2 + 2 for before, after in zip(few, many, strict=True)), (few, many)


def test_page_stops_reading_at_its_bound(store):
    """Rows behind the bound in bytes are not read at all."""
    store.commit(done(1, *range(10, 1010), payload=b"x" * 100))
    for workers in (None, ("bob",)):
        whole = _instructions(store._reading, lambda w=workers: results(store, 1, w))
        first = _instructions(store._reading, lambda w=workers: results(store, 1, w, bytes_max=1))
        assert first < whole / 3


def test_results_of_many_workers_are_merged_with_little_waste(store):
    """However many workers, about as many index rows are read as rows given, and one or two a worker more."""
    rng = random.Random(5)
    ids = range(1000, 4000)
    store.commit([tasks(1, *ids)])
    workers = {i: f"worker{rng.randrange(500)}" for i in ids}
    store.commit([finished(1, i, worker=workers[i]) for i in ids])
    asked = tuple(f"worker{n}" for n in range(0, 500, 2))
    expected = [i for i in ids if workers[i] in asked]
    assert result_ids(store, 1, asked, amount=100) == expected[:100]
    assert result_ids(store, 1, asked) == expected[:1000]
    cost = _instructions(store._reading, lambda: results(store, 1, asked, amount=100))
    assert cost * 10 < 100 * 40 + len(asked) * 80


def test_recovery_costs_no_more_with_many_outcomes(store):
    """What is finished is not looked at."""
    store.commit([tasks(2, *range(10, 500))])
    _fill(store, 1000, 1000)
    few = _instructions(store._writing, store.recover)
    _fill(store, 3000, 20_000)
    many = _instructions(store._writing, store.recover)
    assert many <= few * 1.2


def _bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])


def test_recovery_does_not_read_parameters(tmp_path, store):
    """A parameter of 20 MB stays on the disk; its length does not."""
    store.commit([tasks(2, 10, parameter=b"x" * 20_000_000)])
    store.close()
    again = SqliteStore(tmp_path / "dart.db", Limits())
    before = _bytes_read()
    (task,) = again.recover().tasks
    assert _bytes_read() - before < 1_000_000
    assert task.parameter_bytes == 20_000_000
    assert len(again.parameters([10])[10]) == 20_000_000
    assert _bytes_read() - before >= 20_000_000
    again.close()


def test_forgetting_a_large_job_is_cheap(store):
    """The group that forgets does a bounded part of the deleting."""
    _fill(store, 1000, 10_000)
    before = store._writing.total_changes
    store.commit([JobForgotten(1)])
    assert store._writing.total_changes - before < Limits().sweep_rows_max + 20
