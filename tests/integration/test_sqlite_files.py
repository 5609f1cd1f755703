"""The SQLite store's files: whose they are, and what happens when they are not what they should be."""

import os
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dart.broker.core.model import Enrolment
from dart.broker.core.records import JobForgotten, KeyAdded, SubmissionClosed, SubmissionOpened, TokenAdded
from dart.broker.store import sqlite_file, sqlite_schema
from dart.broker.store.sqlite import SqliteStore
from dart.errors import StoreError
from dart.limits import Limits
from harness.store_samples import answered, api_key, done, job, join_token, noted, result_ids, results, tasks

LIMITS = Limits()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "deep" / "dart.db"


@pytest.fixture
def filled(path):
    """A closed database with one job and some results."""
    store = SqliteStore(path, LIMITS)
    store.recover()
    store.commit([job(1), *done(1, *range(2, 500), payload=b"x" * 300)])
    store.close()
    return path


def _permissions(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_files_are_private_whatever_the_umask(path, umask):
    """Directories made are 0700, all files 0600, while the store is open and after."""
    before = os.umask(umask)
    try:
        store = SqliteStore(path, LIMITS)
        store.recover()
        store.commit([job(1)])
        files = {file.name: _permissions(file) for file in path.parent.iterdir()}
        store.close()
    finally:
        os.umask(before)
    assert files == dict.fromkeys(["dart.db", "dart.db-wal", "dart.db-shm", "dart.db.lock"], 0o600)
    assert {_permissions(path.parent), _permissions(path.parent.parent)} == {0o700}


def test_existing_directory_keeps_its_mode(tmp_path):
    """A directory that was there is its owner's affair; the files in it are private all the same."""
    tmp_path.chmod(0o755)
    SqliteStore(tmp_path / "dart.db", LIMITS).close()
    assert (_permissions(tmp_path), _permissions(tmp_path / "dart.db")) == (0o755, 0o600)


def test_existing_file_is_made_private(filled):
    """Somebody opened it up; the next start closes it again."""
    filled.chmod(0o644)
    SqliteStore(filled, LIMITS).close()
    assert _permissions(filled) == 0o600


def test_second_opener_is_refused(path):
    """While the first is open; after its end the database can be opened again."""
    store = SqliteStore(path, LIMITS)
    with pytest.raises(StoreError, match="in use by another server"):
        SqliteStore(path, LIMITS)
    store.close()
    SqliteStore(path, LIMITS).close()


def test_closed_store_says_so(path):
    """It does not come back by itself."""
    store = SqliteStore(path, LIMITS)
    store.close()
    for call in (store.probe, store.recover, lambda: store.commit([]), lambda: store.parameters([1])):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_newer_database_is_refused(filled):
    """A release that does not know the format says which one does."""
    with sqlite3.connect(filled) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match=r"newer release \(format 99"):
        SqliteStore(filled, LIMITS)


def test_older_database_is_migrated(filled, monkeypatch):
    """The missing steps are applied, what was there stays."""
    steps = (*sqlite_schema.MIGRATIONS, ("ALTER TABLE job ADD COLUMN note TEXT",))
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", steps)
    store = SqliteStore(filled, LIMITS)
    assert len(result_ids(store, 1)) == 498
    store.close()
    connection = sqlite3.connect(filled)
    assert connection.execute("SELECT note FROM job").fetchall() == [(None,)]
    assert connection.execute("PRAGMA user_version").fetchone() == (len(steps),)
    connection.close()


def test_database_of_the_first_format_is_migrated(path, monkeypatch):
    """Its enrolments are neither revoked nor patterns; keys, tokens and an audit can be added."""
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_schema, "MIGRATIONS", sqlite_schema.MIGRATIONS[:1])
        sqlite_file.DatabaseFile(path).release()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        connection.execute("INSERT INTO enrolment VALUES ('aa', x'00', 'bob', 5)")
    connection.close()
    store = SqliteStore(path, LIMITS)
    found = store.recover()
    assert found.enrolments == (Enrolment("aa", b"\0", "bob", 5),)
    assert (found.keys, found.join_tokens, store.audit(after=0, amount=9)) == ((), (), [])
    store.commit([KeyAdded(api_key("a")), TokenAdded(join_token("b")), noted(1)])
    store.close()
    store = SqliteStore(path, LIMITS)
    found = store.recover()
    assert (found.keys, found.join_tokens) == ((api_key("a"),), (join_token("b"),))
    assert [row.sequence for row in store.audit(after=0, amount=9)] == [1]
    store.close()


def test_failed_migration_leaves_the_old_version(filled, monkeypatch):
    """All steps or none; the release before can still open it."""
    known = sqlite_schema.MIGRATIONS
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", (*known, ("DELETE FROM job", "NONSENSE")))
    with pytest.raises(StoreError, match="NONSENSE"):
        SqliteStore(filled, LIMITS)
    monkeypatch.setattr(sqlite_schema, "MIGRATIONS", known)
    store = SqliteStore(filled, LIMITS)
    assert len(store.recover().jobs) == 1
    store.close()


def _cut_to_nothing(path):
    os.truncate(path, 0)


def _cut_to_half(path):
    os.truncate(path, path.stat().st_size // 2)


def _cut_inside_the_header(path):
    os.truncate(path, 50)


def _overwrite_with_text(path):
    path.write_bytes(b"This is no database." * 1000)


def _overwrite_the_middle(path):
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(20_000))


def _overwrite_the_tables(path):
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 3000)


def _other_programs_database(path):
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE job (id INTEGER)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "harm",
    [
        _cut_to_nothing,
        _cut_to_half,
        _cut_inside_the_header,
        _overwrite_with_text,
        _overwrite_the_middle,
        _overwrite_the_tables,
        _other_programs_database,
    ],
)
def test_harmed_database_is_refused_and_left_alone(filled, harm):
    """The error names the file and what to do; nothing of it is changed, and the lock is free again."""
    harm(filled)
    before = filled.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"dart\.db.*backup"):
            SqliteStore(filled, LIMITS)
    assert filled.read_bytes() == before


def test_damage_in_a_large_database_shows_when_it_is_read(filled, monkeypatch):
    """Too large to be checked as a whole, it opens; what cannot be read raises, and is never left out."""
    monkeypatch.setattr(sqlite_file, "_CHECKED_BYTES_MAX", 0)
    _overwrite_the_middle(filled)
    store = SqliteStore(filled, LIMITS)
    with pytest.raises(StoreError, match="damaged"):
        results(store, 1)
    store.close()


def test_log_without_its_database_is_refused(path):
    """The database was deleted, its log was not: this is no new beginning."""
    store = SqliteStore(path, LIMITS)
    store.recover()
    path.unlink()
    store._file.release()
    with pytest.raises(StoreError, match="moved or deleted"):
        SqliteStore(path, LIMITS)
    store._reading.close()
    store._writing.close()


def test_leftover_of_an_interrupted_creation_is_no_hindrance(path):
    """A start that died while it made the database is followed by one that makes it."""
    path.parent.mkdir(parents=True)
    Path(f"{path}.new").write_bytes(b"half")
    store = SqliteStore(path, LIMITS)
    assert store.recover().incarnation == 1
    store.close()


def test_leftover_of_an_interrupted_backup_is_taken_away(filled):
    """It would take as much room as the database."""
    leftover = filled.parent / ".dart.db.copy-0a1b2c3d"
    leftover.write_bytes(b"half")
    SqliteStore(filled, LIMITS).close()
    assert not leftover.exists()


def test_directory_that_cannot_be_made_is_an_error(tmp_path):
    """A file stands in the way."""
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(StoreError, match=r"dart\.db"):
        SqliteStore(tmp_path / "state" / "dart.db", LIMITS)


def test_value_that_sqlite_cannot_hold_is_an_error(path):
    """Whatever slipped through all checks before becomes a `StoreError`, and the store goes on."""
    store = SqliteStore(path, LIMITS)
    store.recover()
    store.commit([job(1)])
    for bad in (job(2, "\ud800"), job(2**63), tasks(1, 2, parameter=17)):
        with pytest.raises(StoreError):
            store.commit([bad])
    store.commit([*done(1, 2)])
    assert result_ids(store, 1) == [2]
    store.close()


def test_space_of_forgotten_jobs_is_given_back(path):
    """Bit by bit, as other groups are committed, and the rows of the job are all gone in the end."""
    store = SqliteStore(path, replace(LIMITS, sweep_rows_max=200))
    store.recover()
    store.commit([job(1), *done(1, *range(2, 3000), payload=b"x" * 5000), job(9000)])
    full = store._writing.execute("PRAGMA page_count").fetchone()[0]
    store.commit([JobForgotten(1)])
    assert store._writing.execute("SELECT count(*) FROM outcome").fetchone()[0] > 0
    for task_id in range(9001, 9041):
        store.commit(done(9000, task_id))
    assert store._writing.execute("SELECT count(*), min(job_id) FROM outcome").fetchone() == (40, 9000)
    assert store._writing.execute("SELECT count(*) FROM forgotten").fetchone() == (0,)
    assert store._writing.execute("PRAGMA page_count").fetchone()[0] < full / 2
    store.close()


def test_tasks_of_abandoned_submissions_are_deleted(path):
    """Bit by bit, all of them."""
    store = SqliteStore(path, replace(LIMITS, sweep_rows_max=10))
    store.recover()
    store.commit([job(1), SubmissionOpened(2, 99), tasks(1, *range(2, 90))])
    store.commit([SubmissionClosed(2, complete=False)])
    left = [store._writing.execute("SELECT count(*) FROM task").fetchone()[0]]
    while left[-1]:
        store.commit([])
        left.append(store._writing.execute("SELECT count(*) FROM task").fetchone()[0])
        assert left[-2] - 12 <= left[-1] < left[-2]
    store.commit([])
    assert store._writing.execute("SELECT count(*) FROM submission").fetchone() == (0,)
    store.close()


def test_expired_answers_are_deleted(path):
    """Each new answer takes up to two expired ones away."""
    store = SqliteStore(path, LIMITS)
    store.recover()
    lifetime = int(LIMITS.idempotency_seconds * 1000)
    store.commit([answered(f"key{n}", n, expires_at_ms=lifetime + n) for n in range(10)])
    for n in range(3):
        store.commit([answered(f"late{n}", n, expires_at_ms=lifetime * 2 + 100)])
    kept = [key for (key,) in store._reading.execute("SELECT key FROM request ORDER BY sequence")]
    assert kept == ["key6", "key7", "key8", "key9", "late0", "late1", "late2"]
    store.close()
