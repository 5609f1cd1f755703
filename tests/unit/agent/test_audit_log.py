"""The audit log: its lines, its files, and what a disk that cannot be written does to it."""

import errno
import hashlib
import json
import os
import stat
from dataclasses import replace

import pytest

from dart.agent import audit_log, events
from dart.agent.audit_log import AuditLines, AuditLog
from dart.errors import ConfigError
from dart.ids import Attempt, AttemptRef, StoreId, TaskId
from dart.limits import Limits
from dart.wire.messages import Lease
from harness.waiting import wait_until

LIMITS = Limits()


def entry(task_id=7, parameter=b"\x01", output=b"\x02", *, job="job", outcome="success", seconds=0.25, start=1_500):
    ref = AttemptRef(TaskId(task_id), Attempt(3, 2))
    lease = Lease(ref, job, "folder/module", "method", 0.0, parameter)
    return events.AuditEntry(lease, StoreId("a" * 32), outcome, start, seconds, 0, output)


@pytest.fixture
def opened(tmp_path):
    """Opens logs in one home; all are closed in the end."""
    logs = []

    def make(limits=LIMITS):
        told = []
        log = AuditLog(tmp_path, limits, told.append, broker="the key")
        logs.append(log)
        return log, told

    yield make
    for log in logs:
        log.close()


def lines(tmp_path, name="audit.jsonl"):
    return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]


def test_a_line_says_what_ran_for_whom_and_what_came_of_it():
    """Names, attempt, broker and store, sizes and hashes of both values, outcome and time."""
    (line,) = AuditLines("the key").line(entry()).splitlines()
    assert json.loads(line) == {
        "start": "1970-01-01T00:00:01.500Z",
        "seconds": 0.25,
        "outcome": "success",
        "error_code": 0,
        "task": 7,
        "attempt": "3.2",
        "job": "job",
        "module": "folder/module",
        "method": "method",
        "store": "a" * 32,
        "broker": "the key",
        "submitter": None,
        "input_bytes": 1,
        "input_sha256": hashlib.sha256(b"\x01").hexdigest(),
        "output_bytes": 1,
        "output_sha256": hashlib.sha256(b"\x02").hexdigest(),
    }


@pytest.mark.parametrize("job", ['a"}\n{"task": 1', "\u2028", "\ud800", "\0", "ü" * 300])
def test_no_name_breaks_its_line(job):
    """A job's name cannot forge a second line."""
    line = AuditLines("k").line(entry(job=job))
    assert line.count(b"\n") == 1
    assert json.loads(line)["job"] == job


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0, 1e300])
@pytest.mark.parametrize("start", [2**63 - 1, -(2**63), -1])
def test_no_number_breaks_its_line(seconds, start):
    """A task can write anything into its runner's answers."""
    assert json.loads(AuditLines("k").line(entry(seconds=seconds, start=start)))["seconds"] == 0


def test_names_are_remembered_within_a_bound(monkeypatch):
    """A broker that makes up jobs does not make the agent grow."""
    monkeypatch.setattr(audit_log, "_HEADS_MAX", 2)
    made = AuditLines("k")
    assert [json.loads(made.line(entry(job=f"j{number}")))["job"] for number in range(5)] == [
        "j0",
        "j1",
        "j2",
        "j3",
        "j4",
    ]
    assert len(made._heads) <= 2


def test_lines_are_appended_in_order_small_and_large(tmp_path, opened):
    """Also over a restart, whoever hashes them; the file is private."""
    log, told = opened()
    log.write(tuple(entry(number, b"x" * (number % 3) * 50_000) for number in range(20)))
    assert log.close()
    log, told = opened()
    log.write((entry(20),))
    assert log.close()
    found = lines(tmp_path)
    assert [line["task"] for line in found] == list(range(21))
    assert [line["input_bytes"] for line in found[:3]] == [0, 50_000, 100_000]
    assert found[2]["input_sha256"] == hashlib.sha256(b"x" * 100_000).hexdigest()
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600
    assert told == []


def test_values_that_wait_to_be_hashed_have_a_bound(tmp_path, opened):
    """What is beyond it the loop hashes itself, and waits no longer than that takes."""
    log, _ = opened(replace(LIMITS, audit_waiting_bytes_max=150_000))
    log.write(tuple(entry(number, b"x" * 100_000) for number in range(5)))
    assert log._waiting_bytes <= 150_000
    assert log.close()
    assert len(lines(tmp_path)) == 5
    assert log._waiting_bytes == 0


def test_files_have_a_size_and_a_number(tmp_path, opened):
    """The newest lines are kept, each whole."""
    log, told = opened(replace(LIMITS, audit_bytes_max=2_000, audit_files_max=3))
    for number in range(40):
        log.write((entry(number),))
    assert log.close()
    names = ["audit.jsonl.2", "audit.jsonl.1", "audit.jsonl"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    tasks = [line["task"] for name in names for line in lines(tmp_path, name)]
    assert tasks == list(range(tasks[0], 40))
    assert all(0 < (tmp_path / name).stat().st_size < 3_000 for name in names), "a line more at most"
    assert told == []


def test_one_file_alone_begins_anew(tmp_path, opened):
    """With a bound of one there is no older one."""
    log, _ = opened(replace(LIMITS, audit_bytes_max=1_000, audit_files_max=1))
    log.write(tuple(entry(number) for number in range(10)))
    assert log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["audit.jsonl"]
    assert lines(tmp_path)[-1]["task"] == 9


def test_a_line_cut_by_a_power_failure_stays_alone(tmp_path, opened):
    """The next one begins on a line of its own."""
    (tmp_path / "audit.jsonl").write_text('{"task": 1}\n{"ta')
    log, _ = opened()
    log.write((entry(2),))
    assert log.close()
    assert [json.loads(line)["task"] for line in (tmp_path / "audit.jsonl").read_text().splitlines()[::2]] == [1, 2]


@pytest.mark.parametrize("kind", ["link", "pipe", "hard link"])
def test_a_file_that_is_not_ours_is_refused(tmp_path, opened, kind):
    """Nobody has the agent write elsewhere."""
    other = tmp_path / "other"
    other.touch()
    path = tmp_path / "audit.jsonl"
    {
        "link": lambda: path.symlink_to(other),
        "pipe": lambda: os.mkfifo(path),
        "hard link": lambda: path.hardlink_to(other),
    }[kind]()
    with pytest.raises(ConfigError, match=r"Remove (what is there|it)"):
        opened()


class Disk:
    """os.write of a disk that takes so many bytes more."""

    def __init__(self, room):
        self.room = room
        self.write = os.write

    def __call__(self, descriptor, data):
        taken = min(len(data), self.room)
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= taken
        return self.write(descriptor, data[:taken])


def test_a_full_disk_loses_nothing_and_is_told(tmp_path, opened, monkeypatch):
    """The agent is told at once and again when all lines are there, whole and in order."""
    disk = Disk(room=700)
    monkeypatch.setattr(audit_log.os, "write", disk)
    monkeypatch.setattr(audit_log, "_RETRY_SECONDS", 0.01)
    log, told = opened()
    log.write((entry(1), entry(2)))
    wait_until(lambda: told, explain="AuditStuck")
    assert isinstance(told[0], events.AuditStuck)
    assert "No space left" in told[0].reason
    log.write((entry(3),))
    disk.room = 1_000_000
    wait_until(lambda: len(told) == 2, explain="AuditGoesOn")
    assert told[1] == events.AuditGoesOn()
    assert log.close()
    assert [line["task"] for line in lines(tmp_path)] == [1, 2, 3]


def test_what_cannot_be_written_at_the_end_is_told_line_by_line(opened, monkeypatch, caplog):
    """In the agent's own log, so that nothing is lost in silence."""
    monkeypatch.setattr(audit_log.os, "write", Disk(room=0))
    log, _ = opened()
    log.write((entry(1), entry(2)))
    assert not log.close()
    told = [json.loads(record.getMessage())["task"] for record in caplog.records if record.getMessage().startswith("{")]
    assert told == [1, 2]


def test_a_file_that_cannot_follow_costs_no_older_one(tmp_path, opened, monkeypatch):
    """Trying again and again to begin the next file must not push old ones out."""
    monkeypatch.setattr(audit_log, "_RETRY_SECONDS", 0.01)
    log, told = opened(replace(LIMITS, audit_bytes_max=1_000, audit_files_max=3))
    log.write(tuple(entry(number) for number in range(4)))
    wait_until(lambda: log._rest == b"" and not log._waiting, explain="four lines")
    tries = []

    def refuse(path, remedy):
        tries.append(path)
        raise ConfigError("no more inodes")

    opener = audit_log.open_log
    monkeypatch.setattr(audit_log, "open_log", refuse)
    before = sorted(path.name for path in tmp_path.iterdir())
    log.write(tuple(entry(number) for number in range(4, 8)))
    wait_until(lambda: len(tries) > 5, explain="several tries")
    assert isinstance(told[0], events.AuditStuck)
    assert len(list(tmp_path.iterdir())) >= len(before) - 1
    monkeypatch.setattr(audit_log, "open_log", opener)
    wait_until(lambda: len(told) == 2, explain="it goes on")
    assert log.close()
    found = [
        line["task"] for name in ("audit.jsonl.2", "audit.jsonl.1", "audit.jsonl") for line in lines(tmp_path, name)
    ]
    assert found == list(range(found[0], 8))
    assert len(found) >= 4
