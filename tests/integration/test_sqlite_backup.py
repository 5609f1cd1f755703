"""Copies of a database in use, and what a restore makes of them."""

import os
import shutil
import sqlite3
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dart.broker.core.model import Enrolment
from dart.broker.core.records import (
    EnrolmentAdded,
    EnrolmentRevoked,
    KeyAdded,
    KeyRevoked,
    SubmissionOpened,
    TokenAdded,
    TokenRevoked,
    TokenSpent,
)
from dart.broker.store import sqlite_restore, sqlite_schema
from dart.broker.store.sqlite import SqliteStore
from dart.broker.store.sqlite_backup import check_backup
from dart.broker.store.sqlite_restore import IDS_SKIPPED, INCARNATIONS_SKIPPED, restore
from dart.errors import StoreError, UnavailableError
from dart.ids import TaskId
from dart.limits import Limits
from harness.store_samples import api_key, done, job, join_token, noted, result_ids, results, tasks
from harness.waiting import wait_until

LIMITS = Limits()


@pytest.fixture
def store(tmp_path):
    """One job with results and open tasks, and a submission that is under way."""
    store = SqliteStore(tmp_path / "live" / "dart.db", LIMITS)
    store.recover()
    store.commit([job(1), *done(1, *range(2, 300), payload=b"x" * 3000), tasks(1, 500, 501)])
    store.commit([SubmissionOpened(TaskId(600), TaskId(609)), tasks(1, 600)])
    yield store
    store.close()


def saved(store: SqliteStore, path: Path) -> Path:
    with store.backup(threading.Event()) as file:
        path.write_bytes(file.read())
    return path


def test_a_copy_is_of_one_moment_and_leaves_nothing_behind(store, tmp_path):
    """Groups committed meanwhile are in it as a whole or not at all; neither writer nor reader waits for it."""
    stop = threading.Event()
    committed: list[int] = []

    def write() -> None:
        number = 1000
        while not stop.is_set():
            store.commit([tasks(1, number, number + 1, parameter=b"y" * 2000)])
            committed.append(number)
            number += 2

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(5):
            wait_until(lambda number=number: len(committed) > 2 * number, explain="the writer goes on")
            seen = len(committed)
            copy = saved(store, tmp_path / f"{number}.db")
            assert len(result_ids(store, 1)) == 298
            with sqlite3.connect(copy) as connection:
                rows = [row for (row,) in connection.execute("SELECT id FROM task WHERE id >= 1000 ORDER BY id")]
            connection.close()
            assert rows == list(range(1000, 1000 + len(rows)))
            assert len(rows) % 2 == 0
            assert len(rows) >= 2 * seen
    finally:
        stop.set()
        writer.join()
    assert {path.name.partition("-")[0] for path in (tmp_path / "live").iterdir()} == {"dart.db", "dart.db.lock"}


def test_contents_are_told(store, tmp_path):
    """What people want to know of a backup."""
    told = check_backup(saved(store, tmp_path / "copy.db"))
    assert (told.jobs, told.open_tasks, told.results) == (1, 3, 298)
    assert told.store_id == store.look().store_id
    assert told.size_bytes == (tmp_path / "copy.db").stat().st_size


def test_a_copy_is_given_up_when_the_server_stops(store, tmp_path):
    """Within one step; nothing is left."""
    stop = threading.Event()
    stop.set()
    with pytest.raises(UnavailableError, match="stopping"):
        store.backup(stop)
    assert not [path for path in (tmp_path / "live").iterdir() if "copy" in path.name]


def test_a_closed_or_damaged_store_makes_no_backup(store, tmp_path):
    """The error says which file; what was copied so far is gone."""
    path = tmp_path / "live" / "dart.db"
    store._writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StoreError):
        check_backup(saved(store, tmp_path / "half.db"))
    assert not [file for file in path.parent.iterdir() if "copy" in file.name]


def test_a_restored_store_goes_on_above_all_that_was_given(store, tmp_path):
    """Ids, incarnations and cursors; the gaps are known; what was in the backup is there."""
    before = store.look()
    copy = saved(store, tmp_path / "copy.db")
    store.commit([job(700), *done(1, *range(701, 800))])
    later = results(store, 1)[-1].sequence
    store.close()
    done_ = restore(copy, tmp_path / "live" / "dart.db")
    assert done_.aside is not None
    assert done_.aside.exists()
    again = SqliteStore(tmp_path / "live" / "dart.db", LIMITS)
    recovered = again.recover()
    assert recovered.store_id == before.store_id
    assert recovered.incarnation > before.incarnation + INCARNATIONS_SKIPPED
    assert recovered.highest_id >= before.highest_id + IDS_SKIPPED
    assert [tuple(gap) for gap in recovered.gaps] == [(600, 609), (610, recovered.highest_id)]
    assert [task.id for task in recovered.tasks] == [500, 501]
    assert len(results(again, 1)) == 298
    again.commit(done(1, recovered.highest_id + 1))
    assert results(again, 1)[-1].sequence > later + IDS_SKIPPED - 1
    again.close()
    assert stat.S_IMODE((tmp_path / "live" / "dart.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("present", ["readable", "unreadable", "gone"])
def test_each_restore_of_one_backup_leads_to_other_numbers(store, tmp_path, monkeypatch, present):
    """By what the present database says; where it says nothing, by the clock, also a clock that stands in 1970."""
    path = tmp_path / "live" / "dart.db"
    copy = saved(store, tmp_path / "copy.db")
    store.close()
    seen = []
    for second in (2_000_000_000, 2_000_000_001, 60):
        monkeypatch.setattr(sqlite_restore.time, "time", lambda second=second: float(second))
        if present == "gone":
            path.unlink(missing_ok=True)
        elif present == "unreadable":
            path.write_bytes(b"rubbish")
        assert (restore(copy, path).aside is None) == (present == "gone")
        again = SqliteStore(path, LIMITS)
        recovered = again.recover()
        seen.append((recovered.incarnation, recovered.highest_id))
        again.close()
    assert len({incarnation for incarnation, _ in seen}) == 3
    assert len({highest for _, highest in seen}) == 3
    assert max(incarnation for incarnation, _ in seen) < 1 << 31
    assert len(list(path.parent.glob("dart.db.before-restore-*"))) >= (0 if present == "gone" else 3)


def test_a_database_with_its_log_is_a_backup_too(store, tmp_path):
    """What a killed server left and was put aside, for instance; it is not changed by being restored."""
    aside = tmp_path / "aside"
    shutil.copytree(tmp_path / "live", aside)
    before = (aside / "dart.db").read_bytes(), (aside / "dart.db-wal").read_bytes()
    restore(aside / "dart.db", tmp_path / "new" / "dart.db")
    assert ((aside / "dart.db").read_bytes(), (aside / "dart.db-wal").read_bytes()) == before
    again = SqliteStore(tmp_path / "new" / "dart.db", LIMITS)
    assert len(result_ids(again, 1)) == 298
    again.close()


def test_keys_tokens_and_audit_are_in_a_backup(store, tmp_path):
    """They come back as they were; numbers of the audit go on above all that may have been given since."""
    records = [KeyAdded(api_key("a")), TokenAdded(join_token("b")), *(noted(n) for n in range(1, 6))]
    store.commit([*records, EnrolmentAdded(Enrolment("aa", b"k", "a-.*", 1, 2, "b", name_is_pattern=True))])
    copy = saved(store, tmp_path / "copy.db")
    expected = store.look()
    restore(copy, tmp_path / "new" / "dart.db")
    again = SqliteStore(tmp_path / "new" / "dart.db", replace(LIMITS, audit_rows_max=3))
    found = again.recover()
    assert (
        (found.keys, found.join_tokens)
        == (expected.keys, expected.join_tokens)
        == ((api_key("a"),), (join_token("b"),))
    )
    assert found.enrolments == expected.enrolments
    assert [row.sequence for row in again.audit(after=0, amount=9)] == [1, 2, 3, 4, 5]
    for n in range(6, 8):
        again.commit([noted(n)])
    # The bound became smaller meanwhile: each new entry takes two old ones along.
    kept = again.audit(after=0, amount=9)
    assert [row.entry.at_ms for row in kept] == [5, 6, 7]
    assert kept[1].sequence > IDS_SKIPPED
    again.close()


def test_who_was_shut_out_since_the_backup_stays_out(store, tmp_path):
    """Keys, tokens and enrolments that were revoked, tokens that were spent; what is new since is gone all the same."""
    path = tmp_path / "live" / "dart.db"
    enrolment = Enrolment("aa", b"k", "a", 1)
    store.commit(
        [KeyAdded(api_key("a")), KeyAdded(api_key("b")), TokenAdded(join_token("t")), EnrolmentAdded(enrolment)]
    )
    store.commit([KeyRevoked("b", 3)])
    copy = saved(store, tmp_path / "copy.db")
    store.commit([KeyRevoked("a", 5), KeyAdded(api_key("c")), TokenSpent("t"), TokenRevoked("t", 6)])
    store.commit([EnrolmentRevoked("aa", 7)])
    store.close()
    restore(copy, path)
    again = SqliteStore(path, LIMITS)
    found = again.look()
    again.close()
    assert found.keys == (api_key("a", revoked_at_ms=5), api_key("b", revoked_at_ms=3))
    assert found.join_tokens == (join_token("t", uses=1, revoked_at_ms=6),)
    assert found.enrolments == (enrolment._replace(revoked_at_ms=7),)


def test_a_restore_over_a_damaged_database_says_that_revoked_keys_count_again(store, tmp_path, caplog):
    """It cannot know them."""
    store.commit([KeyAdded(api_key("a"))])
    copy = saved(store, tmp_path / "copy.db")
    store.close()
    path = tmp_path / "live" / "dart.db"
    path.write_bytes(b"x" * 9000)
    restore(copy, path)
    assert "revoked since the backup count again" in caplog.text
    again = SqliteStore(path, LIMITS)
    assert again.look().keys == (api_key("a"),)
    again.close()


def test_an_old_backup_is_brought_up_to_date_and_a_newer_one_refused(store, tmp_path, monkeypatch):
    """As the server does with its own database."""
    copy = saved(store, tmp_path / "copy.db")
    steps = (*sqlite_schema.MIGRATIONS, ("ALTER TABLE job ADD COLUMN note TEXT",))
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_schema, "MIGRATIONS", steps)
        restore(copy, tmp_path / "new" / "dart.db")
    with pytest.raises(StoreError, match="newer release"):
        restore(tmp_path / "new" / "dart.db", tmp_path / "other" / "dart.db")
    assert not (tmp_path / "other" / "dart.db").exists()


def test_a_restore_that_fails_changes_nothing(store, tmp_path, monkeypatch):
    """The database in use, and one whose copy breaks off; no draft is left that a start would stumble over."""
    path = tmp_path / "live" / "dart.db"
    copy = saved(store, tmp_path / "copy.db")
    with pytest.raises(StoreError, match="in use by another server"):
        restore(copy, path)
    store.close()
    before = path.read_bytes()

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sqlite_restore, "_skip", broken)
    (path.parent / "dart.db.restoring").write_text("of an earlier try")
    with pytest.raises(StoreError, match="the disk is full"):
        restore(copy, path)
    assert path.read_bytes() == before
    assert not (path.parent / "dart.db.restoring").exists()


def test_logs_of_the_database_that_is_put_aside_go_with_it(store, tmp_path):
    """A log must never meet another database; two restores in one second do not overwrite each other's."""
    path = tmp_path / "live" / "dart.db"
    copy = saved(store, tmp_path / "copy.db")
    killed = tmp_path / "killed"
    shutil.copytree(path.parent, killed)
    wait_until(lambda: time.time() % 1 < 0.5, explain="both restores are to be within one second")
    first = restore(copy, killed / "dart.db").aside
    second = restore(copy, killed / "dart.db").aside
    assert first is not None
    assert second is not None
    assert first != second
    assert Path(f"{first}-wal").exists()
    assert not Path(f"{killed / 'dart.db'}-wal").exists()
    assert check_backup(first).results == 298
