"""What the SQLite store promised holds when its process is killed and when its disk is full."""

import os
import random
import resource
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from dart.broker.store.sqlite import SqliteStore
from dart.errors import StoreError
from dart.limits import Limits
from harness import store_writer
from harness.store_samples import done, job, result_ids, tasks

MIB = 1024 * 1024


@contextmanager
def _writer(path, first_group, payload_bytes, groups=1_000_000, **options):
    """A process that commits; it is gone afterwards."""
    command = [sys.executable, store_writer.__file__, str(path), str(first_group), str(payload_bytes), str(groups)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def _check_groups(path, committed):
    """Every group told of is there, none in part, at most one more that was not told of; how many there are."""
    store = SqliteStore(path, Limits())
    found = store.recover()
    count = (found.highest_id - 9) // store_writer.TASKS
    assert count in {committed, committed + 1}
    assert [task.id for task in found.tasks] == list(store_writer.ids_of(count - 1))
    finished = count * store_writer.TASKS - store_writer.TASKS
    assert sum(found.jobs[0].tally.values()) == finished
    assert result_ids(store, 1, amount=10**6) == list(range(10, 10 + finished))
    parameters = store.parameters([task.id for task in found.tasks])
    assert len(parameters) == store_writer.TASKS
    assert store._reading.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store.close()
    return count


@pytest.mark.parametrize("payload_bytes", [100, 20_000])
def test_killed_in_the_middle_of_commits(tmp_path, payload_bytes):
    """What was told is there, groups are whole, and the next process goes on from it; six times over."""
    rng = random.Random(payload_bytes)
    path = tmp_path / "dart.db"
    committed = 0
    for _ in range(6):
        with _writer(path, committed, payload_bytes) as process:
            # Killed while it works on the groups that follow the last line read, wherever it is then.
            told = "".join(process.stdout.readline() for _ in range(rng.randrange(3, 60)))
            process.kill()
            told += process.stdout.read()
            committed += told.count("\n")
        committed = _check_groups(path, committed)


def _limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, resource.RLIM_INFINITY))


def test_file_that_may_not_grow(tmp_path):
    """A commit that does not fit is refused as a whole; with room again the same store goes on."""
    path = tmp_path / "dart.db"
    with _writer(path, 0, 20_000, groups=40, preexec_fn=_limit_file_size) as process:
        committed, line = 0, process.stdout.readline()
        while line.startswith("committed"):
            committed, line = committed + 1, process.stdout.readline()
        assert line.startswith("refused 90 Database "), line
        assert str(path) in line
        assert 0 < committed < 40
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        told, _ = process.communicate("go on\n", timeout=60)
        assert told.splitlines() == ["recovered", *(f"committed {group}" for group in range(committed, 40))]
        assert process.returncode == 0
    assert _check_groups(path, 40) == 40


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["/usr/bin/mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting needs more rights; the limit of a file's size is tested all the same")
    yield disk
    subprocess.run(["/usr/bin/umount", "-l", str(disk)], check=True)


def test_full_disk(small_disk):
    """The error says so; what was there can still be read; with room again everything works."""
    store = SqliteStore(small_disk / "dart.db", Limits(store_spare_bytes=0))
    store.recover()
    store.commit([job(1), *done(1, 2, 3)])
    ballast = small_disk / "ballast"
    with ballast.open("wb") as file:
        file.write(b"x" * (small_disk_free(small_disk) - 100_000))
    for _ in range(3):
        with pytest.raises(StoreError, match=r"dart\.db: the disk is full"):
            store.commit([tasks(1, *range(10, 20), parameter=b"x" * 500_000)])
        assert result_ids(store, 1) == [2, 3]
        assert store.parameters([10]) == {}
    ballast.unlink()
    store.probe()
    found = store.recover()
    assert (found.highest_id, found.tasks) == (3, ())
    store.commit([tasks(1, 4, parameter=b"x" * 500_000)])
    assert len(store.parameters([4])[4]) == 500_000
    store.close()


def small_disk_free(disk):
    """Bytes free there."""
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


def test_full_disk_at_the_first_start(small_disk):
    """No half-made database is left that would pass for one."""
    Path(small_disk / "ballast").write_bytes(b"x" * (small_disk_free(small_disk) - 20_000))
    with pytest.raises(StoreError, match="full"):
        SqliteStore(small_disk / "dart.db", Limits())
    assert not (small_disk / "dart.db").exists()
    (small_disk / "ballast").unlink()
    store = SqliteStore(small_disk / "dart.db", Limits())
    assert store.recover().incarnation == 1
    store.close()


def test_reader_sees_whole_groups_only(tmp_path):
    """While one thread commits, another reads: each group is there with all its parts or not at all."""
    store = SqliteStore(tmp_path / "dart.db", Limits())
    store.recover()
    store.commit([job(1)])
    groups, failures, over = 150, [], threading.Event()

    def read():
        while not over.is_set():
            try:
                found = result_ids(store, 1, amount=10**6)
                by_worker = result_ids(store, 1, ("bob", "nobody"), after=0, amount=10**6)
                assert len(found) % 5 == len(by_worker) % 5 == 0
                assert found == list(range(10, 10 + len(found)))
            except Exception as error:  # noqa: BLE001 - shown by the test's own thread
                failures.append(error)
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for group in range(groups):
            store.commit(done(1, *range(10 + group * 5, 15 + group * 5)))
    finally:
        over.set()
        reader.join(timeout=30)
    assert failures == []
    assert not reader.is_alive()
    assert len(result_ids(store, 1)) == groups * 5
    store.close()
