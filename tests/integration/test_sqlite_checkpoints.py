"""The log of a SQLite store is moved into the database beside the commits; counted in pages, never in time."""

import os
import sqlite3

import pytest

from dart.broker.store import sqlite_checkpoints
from dart.broker.store.sqlite import SqliteStore
from dart.broker.store.sqlite_log import INDEX_BYTES, read_index
from dart.limits import Limits
from harness.store_samples import job, tasks
from harness.waiting import wait_until

PAGES = 60
FEW_PAGES = 20


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_checkpoints, "PAGES", PAGES)
    monkeypatch.setattr(sqlite_checkpoints, "FEW_PAGES", FEW_PAGES)
    store = SqliteStore(tmp_path / "dart.db", Limits())
    store.recover()
    store.commit([job(1)])
    yield store
    store.close()


def log_of(store):
    """Pages in the log, and of these in the database."""
    index = read_index(os.pread(store._checkpoints._index, INDEX_BYTES, 0))
    return index.frames, index.moved


def commit_until(store, frames, first_id):
    """Single tasks until the log has so many pages; the next id."""
    while log_of(store)[0] < frames:
        store.commit([tasks(1, first_id)])
        first_id += 1
    return first_id


def test_a_commit_moves_nothing(store):
    """However long the log is, as long as somebody else moves it."""
    commit_until(store, 20 * PAGES, 10)
    assert log_of(store)[1] == 0


def test_a_long_log_is_moved_by_a_thread_and_ended_between_two_commits(store):
    """Nothing is moved by the one who commits but the few pages that came meanwhile; then the log begins anew."""
    following = commit_until(store, PAGES, 10)
    with store._snapshot() as reader:  # so that the log goes on as if commits had come meanwhile
        reader.execute("SELECT count(*) FROM task").fetchone()
        store.settle()
        wait_until(lambda: store._checkpoints._not_before == 0, explain=lambda: log_of(store))
        store.commit([tasks(1, following)])
    frames, moved = log_of(store)
    assert 0 < frames - moved <= FEW_PAGES
    store.settle()
    assert log_of(store) == (frames, frames)
    store.commit([tasks(1, following + 1)])
    assert log_of(store)[0] <= FEW_PAGES
    store.settle()
    assert log_of(store)[1] == 0  # it is short again, so it is left alone


def test_a_reader_in_the_way_is_not_met_again_with_each_commit(store, monkeypatch):
    """What it reads stays in the log; the next attempt comes when that has grown."""
    moves = []
    move = sqlite_checkpoints.Checkpoints._move
    monkeypatch.setattr(
        sqlite_checkpoints.Checkpoints,
        "_move",
        lambda self, connection: moves.append(moved := move(self, connection)) or moved,
    )
    with store._snapshot() as reader:
        reader.execute("SELECT count(*) FROM task").fetchone()
        following = commit_until(store, PAGES, 10)
        store.settle()
        wait_until(lambda: moves == [False], explain=lambda: moves)
        while log_of(store)[0] < 2 * PAGES - FEW_PAGES:
            store.commit([tasks(1, following)])
            store.settle()
            following += 1
    assert moves == [False]
    commit_until(store, 2 * PAGES + FEW_PAGES, following)
    store.settle()
    wait_until(lambda: moves == [False, True], explain=lambda: moves)


def test_a_log_that_cannot_be_moved_is_no_failure(store, caplog):
    """All stays in the log, and it is said."""
    commit_until(store, PAGES, 10)
    store._checkpoints._moving.close()
    store._checkpoints._moving = Broken()
    store.settle()
    wait_until(lambda: "could not be moved" in caplog.text, explain="nothing was said")
    store.commit([tasks(1, 100_000)])
    assert log_of(store)[1] == 0


class Broken:
    """A connection to a disk that reports errors."""

    def execute(self, _statement):
        raise sqlite3.OperationalError("disk I/O error")

    def close(self):
        pass
