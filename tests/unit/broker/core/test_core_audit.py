"""What the audit tells: an entry for each thing that somebody had done, in the turn that does it."""

from typing import get_args

import pytest

from dart.broker.core import events
from dart.broker.core.access import SERVER, Actor, ApiKey, AuditEntry, JoinToken, NameRule, Scope
from dart.broker.core.audit import _WORDS, MEMBER_CHARS_MAX, UNTOLD, describe
from dart.broker.core.commands import Audited, Persist
from dart.broker.core.model import IfOffline, JobConfig, TaskPolicy, TaskSpec
from dart.broker.core.records import AuditNoted, TasksAdded
from dart.errors import DartError
from dart.wire.messages import NextServer
from harness.recorder import CONFIG, Recorder

ALICE = Actor("key alice", "192.0.2.7", "ab-1")


@pytest.fixture
def r():
    return Recorder()


def _signed(r, make, *arguments, **members):
    """Ask as Alice; the entries of that turn."""
    r.ask(lambda token, *rest, **more: events.Signed(make(token, *rest, **more), ALICE), *arguments, **members)
    return [record.entry for record in r.records(AuditNoted)]


def test_every_event_is_told_or_is_not():
    """An event that is added must be decided on: words for it in `audit.py`, or a place among the untold."""
    assert set(get_args(events.Event)) == {*_WORDS, *UNTOLD}
    assert not set(_WORDS) & set(UNTOLD)


def test_what_clients_do(r):
    """Who, what, to what, and what came of it, by numbers and names."""
    r.agent("w")
    told = [
        *_signed(r, events.JobDefined, "j", CONFIG),
        *_signed(r, events.TasksSubmitted, "j", (TaskSpec(TaskPolicy(location="x"), b"secret", "tag"),) * 3, 3),
        *_signed(r, events.TaskCancelled, "j", 2),
        *_signed(r, events.TaskCancelled, "j", 2),
        *_signed(r, events.ResultDeleted, "j", 2),
        *_signed(r, events.ResultDeleted, "j", 3, True),
        *_signed(r, events.AgentEnrolled, b"k" * 32, "w2"),
        *_signed(r, events.WorkersDrained, "w"),
        *_signed(r, events.JobStopped, "j"),
        *_signed(r, events.JobsPurged, ("j",)),
        *_signed(r, events.Noted, "backup.take", "", "done"),
        *_signed(r, events.WorkersPinged, "w", 7),
        *_signed(r, events.Stopping),
    ]
    assert [entry[1:] for entry in told] == [
        ("key alice", what, target, outcome, "192.0.2.7", "ab-1")
        for what, target, outcome in [
            ("job.define", "j", "done"),
            ("task.submit", "j", "done, 3 tasks from 2 on"),
            ("task.cancel", "j/2", "done"),
            ("task.cancel", "j/2", "done before: it was over"),
            ("result.delete", "j/2", "done"),
            ("agent.enroll", "w2", told[5].outcome),
            ("worker.drain", "w", "done, 1 agents asked"),
            ("job.stop", "j", "done, 2 tasks cancelled"),
            ("job.purge", "j", "done, 1 jobs forgotten"),
            ("backup.take", "", "done"),
            ("server.end", "", "done"),
        ]
    ]
    assert "secret" not in str(told)
    assert {entry.at_ms for entry in told} == {int(r.now * 1000)}


def test_access_and_the_servers_own_key():
    """Keys, tokens and agents by their ids, which are no secrets; the server's key by where the next one listens."""
    token = JoinToken("token-1", b"digest", "w-.*", name_is_pattern=True, created_at_ms=1, expires_at_ms=2, uses_max=3)
    following = NextServer(7790, b"p" * 32)
    key = ApiKey("key-1", "eve", b"digest", "", False, Scope.READ, NameRule(), NameRule(), 1, 0)
    told = [
        describe(events.KeyIssued(0, key), "key-1"),
        describe(events.KeyWithdrawn(0, "key-1"), 1),
        describe(events.JoinTokenMade(0, token), None),
        describe(events.JoinTokenWithdrawn(0, "token-1"), None),
        describe(events.ServerMoves(0, following), None),
        describe(events.ServerMoves(0, None), None),
    ]
    assert told == [
        ("key.add", "eve (key-1)", "done, scope read"),
        ("key.revoke", "key-1", "done"),
        ("token.add", "token-1", "done, for w-.*, 3 uses"),
        ("token.revoke", "token-1", "done"),
        ("server.rotate-key", "", "begun, at port 7790"),
        ("server.rotate-key", "", "done"),
    ]


def test_the_entry_comes_first(r):
    """Whatever the event brings, reply and messages included, waits for the entry; its log line comes after it."""
    agent = r.agent("w", credit=1)
    _signed(r, events.JobDefined, "j", CONFIG)
    _signed(r, events.TasksSubmitted, "j", (TaskSpec(TaskPolicy(), b"p"),), 1)
    entry = AuditEntry(int(r.now * 1000), "key alice", "task.submit", "j", "done, 1 tasks from 2 on", *ALICE[1:])
    assert r.commands[:2] == [Persist(AuditNoted(entry)), Audited(entry)]
    assert r.records(TasksAdded)
    assert agent.given


def test_what_was_refused_changed_nothing(r):
    """No entry says that a thing was done which was not."""
    _signed(r, events.JobDefined, "j", CONFIG)
    for make, arguments in (
        (events.JobDefined, ("j", CONFIG)),
        (events.JobStopped, ("unknown",)),
        (events.WorkersDrained, ("nobody",)),
    ):
        with pytest.raises(DartError):
            _signed(r, make, *arguments)
        assert r.records(AuditNoted) == []


def test_a_submission_in_slices_has_one_entry(r):
    """With the last slice, which makes it count; one of no task has none, and neither has one that is given up."""
    _signed(r, events.JobDefined, "j", CONFIG)
    specs = (TaskSpec(TaskPolicy(), b"p"),) * 2
    assert _signed(r, events.TasksSubmitted, "j", specs, 4, last=False, if_offline=IfOffline.QUEUE) == []
    (entry,) = _signed(r, events.TasksSubmitted, "j", specs, 4, submission=2)
    assert entry.outcome == "done, 4 tasks from 2 on"
    assert _signed(r, events.TasksSubmitted, "j", (), 0) == []
    r.do(events.Signed(events.SubmissionAbandoned(77), ALICE))
    assert r.records() == []


def test_long_texts_are_cut(r):
    """An entry is small, however long a list of names or an address."""
    names = tuple(f"job{number}" for number in range(500))
    r.ask(lambda token: events.Signed(events.JobsPurged(token, names), Actor("k" * 9999, "a" * 9999, "r" * 9999)))
    (record,) = r.records(AuditNoted)
    assert all(len(text) < MEMBER_CHARS_MAX for text in record.entry[1:])
    assert record.entry.target.startswith("job0, job1")
    assert record.entry.target.endswith("job499")


def test_nobody_outside_is_the_server(r):
    """What has no caller is told as the server's own doing."""
    r.ask(lambda token: events.Signed(events.JobDefined(token, "j", JobConfig("m", "f", {})), SERVER))
    assert [record.entry.who for record in r.records(AuditNoted)] == ["server"]
