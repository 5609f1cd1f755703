"""What people may watch: gathered by the core, turn by turn."""

import pytest

from dart.broker.core import happenings as happen
from dart.broker.core.events import WorkersDrained
from dart.broker.core.model import TaskState
from dart.wire.messages import BlobGet, Log
from harness.recorder import Recorder


@pytest.fixture
def r():
    recorder = Recorder()
    recorder.define()
    recorder.core.happened.clear()
    return recorder


def happened(recorder, kind=object):
    found = [entry for entry in recorder.core.happened if isinstance(entry, kind)]
    recorder.core.happened.clear()
    return found


def test_a_tasks_life_is_told(r):
    """Queued, running, its outcome; and the job's."""
    agent = r.agent(credit=1)
    happened(r)
    (task,) = r.submit(1, location="w", tag="t")
    assert happened(r) == [happen.TasksQueued("job", "w", "", task, task, 1)]
    agent.start(agent.given[0])
    assert happened(r) == [happen.TaskMoved("job", "w", "w", task, TaskState.RUNNING)]
    agent.progress(agent.given[0], 0.4, "epoch 3")
    assert happened(r) == [happen.TaskProgressed("job", "w", "w", task, 0.4, "epoch 3")]
    agent.finish(agent.given[0])
    (ended,) = happened(r)
    assert ended[:5] == ("job", "w", "w", task, TaskState.SUCCEEDED)
    assert (ended.host, ended.attempts, ended.tag) == ("host-w", 1, "t")
    r.stop()
    r.purge("job")
    assert happened(r) == [happen.JobChanged("job", "", "", "stopped"), happen.JobChanged("job", "", "", "forgotten")]


def test_a_submission_is_one_entry_a_location(r):
    """However many tasks there are."""
    first, *_, last = r.submit(400)
    assert happened(r) == [happen.TasksQueued("job", "", "", first, last, 400)]


def test_lines_are_told_together_and_only_of_leases_that_are_held(r):
    """Those of one task are one entry; others' are nobody's, and are denounced."""
    agent, other = r.agent("w", credit=2, slots=2), r.agent("x")
    first, second = r.submit(2)
    one, two = agent.given
    happened(r)
    agent.say(Log(((one, "a"), (one, "b"), (two, "c"))))
    assert happened(r) == [
        happen.TaskPrinted("job", "", "w", first, ("a", "b")),
        happen.TaskPrinted("job", "", "w", second, ("c",)),
    ]
    other.say(Log(((one, "forged"),)))
    assert happened(r) == []
    assert r.core.foreign_attempts == 1
    agent.finish(one)
    happened(r)
    agent.say(Log(((one, "too late"),)))
    assert happened(r) == []


def test_what_goes_back_to_the_queue_is_told_unless_nobody_had_heard_of_it(r):
    """A retry is; a lease that was recalled is not."""
    agent = r.agent(credit=1)
    (task,) = r.submit(1, retries=1, retry_delay_seconds=0.0)
    happened(r)
    agent.release(agent.given[0])
    assert happened(r) == []
    agent.credit(1)
    agent.fail(agent.given[-1])
    assert happened(r) == [happen.TaskMoved("job", "", "", task, TaskState.QUEUED)]


def test_a_delay_is_told_and_its_end(r):
    """A task that waits before it runs again."""
    agent = r.agent(credit=1)
    (task,) = r.submit(1, retries=1, retry_delay_seconds=5.0)
    happened(r)
    agent.fail(agent.given[0])
    assert [entry.state for entry in happened(r)] == [TaskState.DELAYED]
    r.wait(6)
    assert happen.TaskMoved("job", "", "", task, TaskState.QUEUED) in happened(r)


def test_workers_come_drain_and_go(r):
    """With the reason, where there is one."""
    agent = r.agent("w")
    agent.drain()
    agent.drain()
    agent.bye()
    assert [(entry.worker, entry.state) for entry in happened(r, happen.WorkerChanged)] == [
        ("w", "connected"),
        ("w", "draining"),
        ("w", "disconnected"),
    ]


def test_a_worker_that_drains_already_is_not_told_again(r):
    """However often a client asks."""
    r.agent("w")
    happened(r)
    for _ in range(2):
        r.ask(WorkersDrained, "w")
    assert [entry.state for entry in happened(r)] == ["draining"]


def test_what_the_core_has_no_use_for_changes_nothing(r):
    """A BLOB_GET for no lease is taken for its number, and nothing is told of it."""
    agent = r.agent("w")
    happened(r)
    agent.say(BlobGet(bytes(32), 0, 1))
    assert happened(r) == []
    assert r.core.sessions
