"""The spool on a real disk: groups, forgetting, restarts, damage, full disks."""

import logging
import os
import stat
from collections import Counter

import pytest

from dart.agent import spool_file
from dart.agent.events import SpoolFull, SpoolRoom, SpoolSynced
from dart.agent.spool import Spool
from dart.errors import ConfigError
from dart.limits import Limits
from harness.agent_recorder import OTHER_STORE, STORE, ref, result
from harness.waiting import wait_until


class Bench:
    """Spools of one folder, one after the other, and what they told."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.told: list = []
        self.spool: Spool | None = None

    def open(self, **limits) -> Spool:
        self.told.clear()
        self.spool = Spool(self.folder, Limits(**limits), self.told.append, gather=False)
        return self.spool

    def keep(self, number: int, *task_ids: int, payload: bytes = b"x") -> None:
        """Write results and wait until they are on disk."""
        self.spool.write(number, STORE, tuple(result(n, payload) for n in task_ids))
        wait_until(lambda: SpoolSynced(number) in self.told, explain=lambda: self.told)

    def files(self, pattern: str = "*.spool") -> list:
        return sorted(self.folder.glob(pattern))

    def stored_ids(self) -> list[int]:
        return [kept.ref.task_id for _, kept in self.spool.stored]


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path / "spool")
    yield bench
    if bench.spool is not None:
        assert bench.spool.close()


def test_results_survive_and_come_back_in_order(bench):
    """Oldest first, each with its store; files and folder are private."""
    bench.open()
    bench.keep(1, 3, 1)
    bench.spool.write(2, OTHER_STORE, (result(2),))
    wait_until(lambda: SpoolSynced(2) in bench.told)
    assert bench.spool.close()
    bench.open()
    assert bench.spool.stored == ((STORE, result(3, b"x")), (STORE, result(1, b"x")), (OTHER_STORE, result(2)))
    assert stat.S_IMODE(bench.folder.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in bench.files())


def test_forgotten_results_do_not_come_back(bench):
    """A mark is enough while others of the segment are needed; an empty segment is deleted."""
    bench.open()
    bench.keep(1, 1, 2)
    bench.spool.forget((ref(1),))
    assert bench.spool.close()
    bench.open()
    assert bench.stored_ids() == [2]
    bench.spool.forget((ref(2), ref(99)))
    assert bench.spool.close()
    assert bench.files() == []
    bench.open()
    assert bench.spool.stored == ()


def test_what_is_forgotten_at_once_is_never_written(tmp_path):
    """A fast ACK spares the disk."""
    told: list = []
    spool = Spool(tmp_path / "spool", Limits(), told.append)
    spool.write(1, STORE, (result(1),))
    spool.forget((ref(1),))
    wait_until(lambda: SpoolSynced(1) in told)
    assert spool.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_many_results_cost_few_calls(bench, monkeypatch):
    """What waits is written and synced together, however many results and turns it came in; nothing is lost by that."""
    calls = Counter()
    for name in ("write", "fdatasync"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (calls.update([name]), real(*given))[1])
    spool = Spool(bench.folder, Limits(), bench.told.append)
    for number in range(100):
        spool.write(number, STORE, tuple(result(number * 100 + n, b"x" * 20) for n in range(100)))
    wait_until(lambda: SpoolSynced(99) in bench.told)
    written_bytes = sum(path.stat().st_size for path in bench.files())
    assert spool.close()
    # The loop's hundred calls may fall into two gatherings, or a few where the machine is busy.
    assert calls["write"] <= 2 * written_bytes // (64 * 1024) + 20
    assert calls["fdatasync"] <= 10
    bench.open()
    assert bench.stored_ids() == list(range(10_000))


def test_long_gathering_spares_a_memory_card(bench, monkeypatch):
    """What is acknowledged meanwhile is never written; what is not is written once, at the end at the latest."""
    calls = Counter()
    for name in ("write", "fdatasync"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (calls.update([name]), real(*given))[1])
    spool = Spool(bench.folder, Limits(spool_gather_seconds=3600.0), bench.told.append)
    for number in range(200):
        spool.write(number, STORE, (result(number),))
        if number < 190:
            spool.forget((ref(number),))
    assert not calls
    assert spool.close()
    assert calls == {"write": 2, "fdatasync": 1}, "the file's first bytes, and ten results"
    bench.open()
    assert bench.stored_ids() == list(range(190, 200))


def test_an_emptied_segment_is_used_again(bench):
    """Results that come and go do not make files."""
    bench.open()
    for number in range(1, 4):
        bench.keep(number, number)
        bench.spool.forget((ref(number),))
    wait_until(lambda: [path.stat().st_size for path in bench.files()] == [len(spool_file.MAGIC)])


def test_segments_are_bounded(bench):
    """A new file when one is full; each goes when its last result is forgotten."""
    bench.open(spool_segment_bytes=1000)
    bench.keep(1, 1, 2, 3, payload=b"x" * 600)
    bench.keep(2, 4, payload=b"x" * 600)
    assert len(bench.files()) == 2
    bench.spool.forget((ref(1), ref(2)))
    wait_until(lambda: len(bench.files()) == 1)
    assert bench.spool.close()
    bench.open()
    assert bench.stored_ids() == [3, 4]


def test_a_torn_tail_is_cut_with_a_word(bench, caplog):
    """After a power loss: what was whole is kept, and it is said what was not."""
    bench.open()
    bench.keep(1, 1, 2)
    bench.spool.close()
    (path,) = bench.files()
    os.truncate(path, path.stat().st_size - 3)
    with caplog.at_level(logging.WARNING, "dart"):
        bench.open()
    assert bench.stored_ids() == [1]
    assert "were not written whole and are cut off" in caplog.text
    assert bench.files("*.damaged") == []
    bench.keep(1, 3)
    bench.spool.close()
    bench.open()
    assert bench.stored_ids() == [1, 3]


def test_a_damaged_segment_is_kept_aside(bench, caplog):
    """What can be read is kept, the file as it was is there for people; the next start finds all in order."""
    bench.open()
    bench.keep(1, 1, 2, 3)
    bench.spool.close()
    (path,) = bench.files()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with caplog.at_level(logging.ERROR, "dart"):
        bench.open()
    assert bench.stored_ids() == [1, 3]
    assert "is damaged" in caplog.text
    assert [aside.read_bytes() for aside in bench.files("*.damaged")] == [data]
    bench.spool.close()
    caplog.clear()
    bench.open()
    assert bench.stored_ids() == [1, 3]
    assert caplog.text == ""


def test_marks_are_kept_as_long_as_what_they_mark(bench):
    """A segment that holds nothing but marks goes when the results marked go, and never before."""
    bench.open(spool_segment_bytes=1000)
    bench.keep(1, 1, 2, payload=b"x" * 400)
    bench.keep(2, 3, payload=b"x" * 600)
    bench.spool.forget((ref(1),))
    wait_until(lambda: len(bench.files()) == 2)
    for _ in range(3):
        bench.spool.close()
        bench.open(spool_segment_bytes=1000)
        assert bench.stored_ids() == [2, 3]
    bench.spool.forget((ref(3),))
    bench.spool.close()
    bench.open(spool_segment_bytes=1000)
    assert bench.stored_ids() == [2]
    bench.spool.forget((ref(2),))
    bench.spool.close()
    assert bench.files() == []


class FullDisk:
    """A disk without room, in the place of `os.write` of the spool."""

    def __init__(self, monkeypatch) -> None:
        self.full = False
        self._write = os.write
        monkeypatch.setattr("dart.agent.spool.os.write", self.write)
        monkeypatch.setattr("dart.agent.spool._RETRY_SECONDS", 0.02)

    def write(self, descriptor: int, data) -> int:
        if not self.full:
            return self._write(descriptor, data)
        # As a real one: a part goes in, then no more.
        self._write(descriptor, bytes(data)[:5])
        raise OSError(28, "No space left on device")


def test_a_full_disk_is_told_and_overcome(bench, monkeypatch):
    """SpoolFull once, SpoolRoom when it works again, and everything is there."""
    disk = FullDisk(monkeypatch)
    bench.open()
    bench.keep(1, 1)
    disk.full = True
    bench.spool.write(2, STORE, (result(2, b"x"), result(3, b"x")))
    wait_until(lambda: bench.told[-1:] == [SpoolFull(f"{bench.folder}: No space left on device")])
    bench.spool.write(3, STORE, (result(4, b"x"),))
    disk.full = False
    wait_until(lambda: SpoolSynced(3) in bench.told, explain=lambda: bench.told)
    assert [type(event) for event in bench.told].count(SpoolFull) == 1
    assert bench.told.index(SpoolRoom()) < bench.told.index(SpoolSynced(3))
    bench.spool.close()
    bench.open()
    assert bench.stored_ids() == [1, 2, 3, 4]


def test_close_says_what_could_not_be_written(tmp_path, monkeypatch):
    """A disk that stays full does not hang the end of the agent."""
    disk = FullDisk(monkeypatch)
    spool = Spool(tmp_path / "spool", Limits(), lambda _: None, gather=False)
    disk.full = True
    spool.write(1, STORE, (result(1),))
    assert not spool.close()


def test_a_folder_that_cannot_be_used_is_said(tmp_path):
    """A file in its place."""
    (tmp_path / "spool").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        Spool(tmp_path / "spool", Limits(), lambda _: None)


def test_other_files_are_left_alone(bench):
    """What is not ours is not touched."""
    bench.folder.mkdir()
    (bench.folder / "notes.spool").write_text("mine")
    bench.open()
    assert bench.spool.stored == ()
    assert (bench.folder / "notes.spool").read_text() == "mine"


def test_what_fits_on_a_nearly_full_disk_is_written(bench, monkeypatch):
    """Results that are on disk can be sent and forgotten, which makes room for the rest: so it never stands still."""
    monkeypatch.setattr("dart.agent.spool._RETRY_SECONDS", 0.02)
    bench.open()
    bench.keep(1, 1)
    room = [150]
    write = os.write

    def limited(descriptor: int, data) -> int:
        if len(data) > room[0]:
            raise OSError(28, "No space left on device")
        room[0] -= len(data)
        return write(descriptor, data)

    monkeypatch.setattr("dart.agent.spool.os.write", limited)
    with bench.spool._condition:
        bench.spool.write(2, STORE, (result(2, b"x"),))
        bench.spool.write(3, STORE, (result(3, b"x" * 200),))
    wait_until(lambda: SpoolSynced(2) in bench.told, explain=lambda: bench.told)
    assert [type(event) for event in bench.told[-2:]] == [SpoolFull, SpoolSynced]
    assert SpoolSynced(3) not in bench.told
    room[0] = 10_000
    wait_until(lambda: SpoolSynced(3) in bench.told, explain=lambda: bench.told)
    bench.spool.close()
    bench.open()
    assert bench.stored_ids() == [1, 2, 3]


def test_a_failed_sync_counts_nothing_as_written(bench, monkeypatch):
    """All of the group is written again, into another file."""
    monkeypatch.setattr("dart.agent.spool._RETRY_SECONDS", 0.02)
    bench.open()
    failures = iter([OSError(5, "Input/output error")])
    sync = os.fdatasync

    def broken(descriptor: int) -> None:
        for error in failures:
            raise error
        sync(descriptor)

    monkeypatch.setattr("dart.agent.spool.os.fdatasync", broken)
    bench.keep(1, 1, 2)
    assert [type(event) for event in bench.told] == [SpoolFull, SpoolRoom, SpoolSynced]
    assert "Input/output error" in bench.told[0].reason
    bench.spool.close()
    bench.open()
    assert bench.stored_ids() == [1, 2]
