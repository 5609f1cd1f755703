"""What is promised of leases, attempts and results, case by case, with agents that are cut off."""

import pytest

from dart.broker.core.model import OnLost, TaskState
from dart.broker.core.records import AttemptsCounted, TaskFinished
from dart.errors import TaskErrorCode
from dart.wire.messages import Ack, Cancel, Recall
from harness.recorder import Recorder

LEASE = 60


@pytest.fixture
def r():
    recorder = Recorder()
    recorder.define()
    return recorder


@pytest.fixture
def pair(r):
    """Two agents of one name: one runs a task, the other one is idle."""

    def make(**policy):
        runs = r.agent("w", key=b"a" * 32, credit=1)
        (task_id,) = r.submit(1, location="w", **policy)
        runs.start(runs.given[0])
        idle = r.agent("w", key=b"b" * 32, credit=1)
        return runs, idle, task_id

    return make


def pass_time(r, idle, seconds):
    """Time goes by while an agent that has nothing to do shows that it lives."""
    for _ in range(int(seconds // 10)):
        r.wait(10)
        idle.heartbeat()
    r.wait(seconds % 10)


@pytest.mark.parametrize("restart", [False, True])
def test_cut_for_less_than_the_lease(r, pair, restart):
    """The same attempt delivers, once, though another agent of that name is idle; also over a restart in between."""
    runs, idle, task_id = pair()
    runs.lose()
    pass_time(r, idle, LEASE / 2)
    if restart:
        r.restart()
        idle.hello()
        idle.credit(1)
        pass_time(r, idle, LEASE - 1)
    else:
        pass_time(r, idle, LEASE / 2 - 1)
    assert idle.given == []
    (ref,) = runs.given
    welcome = runs.hello(attempts=[ref])
    assert welcome.keep == (ref,)
    runs.finish(ref)
    (record,) = r.records(TaskFinished)
    assert (record.id, record.state, record.attempts) == (task_id, TaskState.SUCCEEDED, 1)
    assert (len(idle.given), r.core.late_results) == (0, 0)


def test_cut_for_longer_with_requeue(r, pair):
    """The other agent runs it, one result is recorded, the late one is acknowledged and counted."""
    runs, idle, task_id = pair(on_lost=OnLost.REQUEUE)
    runs.lose()
    pass_time(r, idle, LEASE + 1)
    (second,) = idle.given
    assert (second.task_id, r.task(task_id).losses) == (task_id, 1)
    (first,) = runs.given
    welcome = runs.hello(attempts=[first])
    assert welcome.drop == (first,)
    idle.finish(second)
    (record,) = r.records(TaskFinished)
    assert (record.attempts, record.host) == (2, "host-w")
    runs.finish(first)
    assert r.records(TaskFinished) == []
    assert [ack.attempts for ack in runs.take(Ack)] == [(first,)]
    assert r.core.late_results == 1


def test_cut_for_longer_with_nobody_else(r):
    """Queued again and not given yet: the attempt that comes back is taken up and delivers."""
    agent = r.agent("w", credit=1)
    (task_id,) = r.submit(1, location="w")
    agent.lose()
    r.wait(LEASE + 1)
    assert r.state(task_id) is TaskState.QUEUED
    assert agent.hello(attempts=agent.given).keep == tuple(agent.given)
    agent.finish(agent.given[0])
    assert r.state(task_id) is TaskState.SUCCEEDED


def test_cut_for_longer_with_wait(r, pair):
    """Whoever else is idle: that very agent delivers, whenever it comes back."""
    runs, idle, task_id = pair(on_lost=OnLost.WAIT)
    runs.lose()
    pass_time(r, idle, 100 * LEASE)
    assert (r.state(task_id), idle.given) == (TaskState.RUNNING, [])
    assert runs.hello(results=runs.given).send == tuple(runs.given)
    runs.finish(runs.given[0])
    assert r.state(task_id) is TaskState.SUCCEEDED


def test_cut_for_longer_with_fail(r, pair):
    """Lost at once; what comes later changes nothing."""
    runs, idle, task_id = pair(on_lost=OnLost.FAIL)
    runs.lose()
    pass_time(r, idle, LEASE + 1)
    assert (r.state(task_id), idle.given) == (TaskState.LOST, [])
    assert r.store.outcomes[task_id].error_code == TaskErrorCode.LOST
    assert runs.hello(results=runs.given).forget == tuple(runs.given)


def test_lost_retries_are_used_up(r):
    """`lost_retries` further runs, then the outcome is LOST, however many retries for errors are left."""
    agent = r.agent("w", credit=9)
    (task_id,) = r.submit(1, lost_retries=2, retries=9)
    for losses in (1, 2):
        agent.bye()
        assert r.records(AttemptsCounted) == [AttemptsCounted(task_id, 0, losses)]
        agent.hello(boot=f"{losses:032x}")
        agent.credit(9)
    agent.bye()
    (record,) = r.records(TaskFinished)
    assert (record.state, record.attempts) == (TaskState.LOST, 3)


def test_an_older_attempt_of_the_same_agent_does_not_count(r):
    """Only the outcome of the latest attempt is the task's."""
    agent = r.agent("w", credit=2)
    (task_id,) = r.submit(1, retries=1, retry_delay_seconds=0.0)
    agent.fail(agent.given[0], credit=2)
    agent.finish(agent.given[0])
    assert r.state(task_id) is TaskState.LEASED
    agent.finish(agent.given[1])
    assert r.state(task_id) is TaskState.SUCCEEDED
    agent.finish(agent.given[1])
    assert (len(r.store.outcomes), r.core.late_results) == (1, 2)


def test_cancelling_what_is_queued_leased_running_delayed_and_silent(r):
    """The outcome is recorded at once, whoever has the task is told, and what it answers is counted and dropped."""
    agent = r.agent("w", slots=1, credit=3)
    delayed, running, leased = (r.submit(1, location="w", retries=1)[0] for _ in range(3))
    (queued,) = r.submit(1, location="nobody")
    agent.fail(agent.given[0])
    agent.start(agent.given[1])
    for task_id in (queued, delayed, leased, running):
        assert r.cancel(task_id)
        assert r.state(task_id) is TaskState.CANCELLED
    told = [ref for cancel in agent.take(Cancel) for ref in cancel.attempts]
    assert told == [agent.given[2], agent.given[1]]
    agent.finish(agent.given[1])
    assert (r.core.late_results, len(r.store.outcomes)) == (1, 4)
    agent.credit(1)
    (silent,) = r.submit(1)
    agent.lose()
    assert r.cancel(silent)
    assert agent.hello(attempts=[agent.given[-1]]).drop == (agent.given[-1],)
    assert not r.cancel(silent)
    assert not r.cancel(999_999)


def test_idle_slots_of_all_before_prefetch_and_recall(r):
    """What waits behind others at one agent is recalled for another one that is idle, with no attempt counted."""
    full = r.agent("w", key=b"a" * 32, slots=1, credit=3)
    first, *rest = r.submit(3)
    idle = r.agent("w", key=b"b" * 32, slots=1, credit=1)
    (back,) = [ref for recall in full.take(Recall) for ref in recall.attempts]
    assert back.task_id == rest[-1]
    full.release(back)
    assert [ref.task_id for ref in idle.given] == [back.task_id]
    assert r.task(back.task_id).losses == r.task(back.task_id).errors == 0
    assert first


def test_ids_are_never_reused(r):
    """Not after deletions, purges or a restart."""
    (one,) = r.submit(1)
    r.purge("job")
    r.restart()
    job_id = r.define()
    (two,) = r.submit(1)
    assert one < job_id < two
