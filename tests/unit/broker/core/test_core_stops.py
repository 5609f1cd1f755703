"""Stopping a job with many tasks: slice by slice, never to be undone by what comes in between."""

import pytest

from dart.broker.core import views
from dart.broker.core.commands import Persist, Reply
from dart.broker.core.events import FrameArrived, JobStopped, TasksSubmitted, TimePassed
from dart.broker.core.model import JobStatus, TaskPolicy, TaskSpec, TaskState
from dart.broker.core.records import JobStatusSet, TaskFinished, TasksDoomed
from dart.wire.messages import Cancel, Heartbeat
from harness.recorder import Recorder

SLICE = 10


@pytest.fixture
def r():
    """A core that cancels few tasks a turn, with one job."""
    recorder = Recorder(slice_tasks_max=SLICE)
    recorder.define()
    return recorder


def queue(r, amount, job="job"):
    """So many tasks, all let in."""
    first = r.ask(TasksSubmitted, job, (TaskSpec(TaskPolicy(), b"p"),) * amount, amount)
    r.wait(0)
    return list(range(first, first + amount))


def cancelled(r):
    """Tasks that the last turn cancelled."""
    return [record.id for record in r.records(TaskFinished) if record.state is TaskState.CANCELLED]


def test_a_turn_cancels_a_slice(r):
    """However many tasks there are: the rest follows in turns of its own, and the answer comes with the last one."""
    tasks = queue(r, 1000)
    token = r.begin_stop()
    assert r.records()[:2] == [JobStatusSet(1, JobStatus.STOPPED, 1_000_000), TasksDoomed(1, tasks[-1])]
    turns = [cancelled(r)]
    while r.answer(token) is None:
        assert r.reactor.next_deadline() == r.now
        r.do(TimePassed())
        turns.append(cancelled(r))
    assert max(map(len, turns)) == SLICE
    assert [task for turn in turns for task in turn] == tasks
    assert r.answer(token) == 1000
    assert r.reactor.next_deadline() > r.now


def test_many_events_are_one_turn(r):
    """A slice belongs to a turn, not to each of the events in it; many small stops share one."""
    agent = r.agent(slots=1)
    queue(r, 100)
    r.begin_stop()
    beats = [FrameArrived(agent.session, agent.id, agent.sequence + n, Heartbeat(0, False, 0.0)) for n in range(1, 50)]
    agent.sequence += len(beats)
    assert finished(r.reactor.handle_all(beats, r.now)) == SLICE
    r.stop()
    for number in range(20):
        r.define(f"small{number}")
        queue(r, 2, f"small{number}")
    commands = r.reactor.handle_all([JobStopped(900 + n, f"small{n}") for n in range(20)], r.now)
    assert finished(commands) == SLICE
    assert [c.value for c in commands if isinstance(c, Reply)] == [2] * 5


def finished(commands):
    """Outcomes among these."""
    return sum(isinstance(c, Persist) and isinstance(c.record, TaskFinished) for c in commands)


def test_nothing_is_given_any_more(r):
    """From the first turn on no agent gets a task of the job, nor gets one back that it lost or released."""
    holder = r.agent("w", slots=2, credit=100, hello=True)
    tasks = queue(r, 200)
    assert len(holder.given) == 100
    held = holder.given[-3:]
    r.begin_stop()
    assert r.core.ready.size == 0
    holder.credit(100)
    other = r.agent("v", slots=5, credit=50)
    holder.release(*held)
    holder.lose()
    assert other.given == []
    assert len(holder.given) == 100
    assert r.task(tasks[150]).state is TaskState.QUEUED
    assert views.task(r.core, "job", tasks[150]).pending_reasons == (
        "Its job was stopped; it is about to be cancelled.",
    )
    r.wait(0)
    assert {r.state(task) for task in tasks} == {TaskState.CANCELLED}
    assert other.given == []


def test_delayed_and_running_tasks_are_cancelled_too(r):
    """Wherever a task is; agents are told, and what ends first keeps its outcome."""
    agent = r.agent(slots=30, credit=30)
    tasks = queue(r, 30)
    r.core.tasks[tasks[20]].policy = TaskPolicy(retries=1)
    agent.fail(agent.given[20])
    assert r.state(tasks[20]) is TaskState.DELAYED
    token = r.begin_stop()
    agent.finish(agent.given[25])
    r.do(TimePassed())
    assert r.answer(token) is None or r.answer(token) == 29
    r.wait(0)
    assert r.state(tasks[25]) is TaskState.SUCCEEDED
    assert {r.state(task) for task in tasks if task != tasks[25]} == {TaskState.CANCELLED}
    told = [ref.task_id for message in agent.take(Cancel) for ref in message.attempts]
    assert sorted(told) == [task for task in tasks if task not in (tasks[20], tasks[25])]


@pytest.mark.parametrize("turns", [0, 1, 4])
def test_a_start_goes_on(r, turns):
    """After a crash in the middle nothing of it runs, and it comes to its end by itself."""
    tasks = queue(r, 95)
    r.begin_stop()
    for _ in range(turns):
        r.do(TimePassed())
    done = len(r.store.outcomes)
    assert done == SLICE * (turns + 1)
    r.restart()
    assert r.core.ready.size == 0
    agent = r.agent(slots=5, credit=5)
    r.wait(0)
    assert agent.given == []
    assert {r.state(task) for task in tasks} == {TaskState.CANCELLED}
    later = queue(r, 2)
    assert [ref.task_id for ref in agent.given] == later
    r.restart()
    r.wait(0)
    assert [r.state(task) for task in later] == [TaskState.LEASED] * 2


def test_a_start_leaves_what_came_after_the_stop(r):
    """Tasks that were submitted to the stopped job while its stop went on wait for agents, after a start too."""
    queue(r, 95)
    r.begin_stop()
    later = r.submit(3)
    r.restart()
    assert r.core.ready.size == 3
    agent = r.agent(slots=5, credit=5)
    r.wait(0)
    assert [ref.task_id for ref in agent.given] == later


def test_before_its_first_turn_is_durable_it_did_not_happen(r):
    """A crash that voids the turn of the stop leaves the job as it was."""
    queue(r, 95)
    r.reactor.handle(JobStopped(99, "job"), r.now)
    r.restart()
    assert r.core.jobs["job"].status is JobStatus.RUNNING
    assert r.core.ready.size == 95


def test_a_small_stop_is_not_held_up(r):
    """It has its turn behind the first slice of a large one."""
    queue(r, 500)
    r.define("small")
    queue(r, 3, "small")
    large = r.begin_stop()
    small = r.begin_stop("small")
    assert r.answer(small) is None
    r.do(TimePassed())
    assert r.answer(small) == 3
    assert r.answer(large) is None


def test_what_comes_after_the_stop_is_another_matter(r):
    """Old programs may submit to a stopped job: that runs, until it is stopped again; each is told its own number."""
    queue(r, 200)
    first = r.begin_stop()
    agent = r.agent(slots=1, credit=1)
    later = r.submit(1)[0]
    assert [ref.task_id for ref in agent.given] == [later]
    waiting = r.submit(1)[0]
    second = r.begin_stop()
    answers = {}
    while r.core.stops:
        r.do(TimePassed())
        answers |= {c.token: c.value for c in r.commands if isinstance(c, Reply)}
    assert r.state(later) is r.state(waiting) is TaskState.CANCELLED
    assert answers[first] == 202
    assert 2 <= answers[second] < 202


def test_other_jobs_keep_their_places(r):
    """In the same queue and in others, at the same priority and at others."""
    r.define("other")
    kept = [*r.submit(2, "other"), *r.submit(2, "other", priority=1), *r.submit(2, "other", requires=("camera",))]
    queue(r, 100)
    r.begin_stop()
    assert r.core.ready.size == len(kept)
    r.wait(0)
    assert {r.state(task) for task in kept} == {TaskState.QUEUED}


def test_a_purge_in_the_middle_ends_it(r):
    """Who waits is told how many were cancelled until then."""
    queue(r, 50)
    token = r.begin_stop()
    r.purge("job")
    assert r.answer(token) == SLICE
    assert r.core.stops == {}
    assert r.reactor.next_deadline() > r.now


def test_what_is_let_in_meanwhile_is_cancelled(r):
    """A submission of which a part waits to be let in belongs to the stop; one task of it may have been cancelled."""
    first = r.ask(TasksSubmitted, "job", (TaskSpec(TaskPolicy(), b"p"),) * 100, 100)
    assert len(r.core.tasks) == 20
    assert r.cancel(first + 90) is True
    token = r.begin_stop()
    assert r.cancel(first + 80) is True
    most = 0
    while r.answer(token) is None:
        r.do(TimePassed())
        most = max(most, len(cancelled(r)))
    assert most <= 3 * SLICE
    assert r.core.reserved == 0
    assert {r.state(task) for task in range(first, first + 100)} == {TaskState.CANCELLED}


def test_cancelling_one_task_lets_in_that_one_alone(r):
    """Of a million that are let in the others wait for their turn; a second cancel finds it gone."""
    first = r.ask(TasksSubmitted, "job", (TaskSpec(TaskPolicy(), b"p"),) * 1000, 1000)
    there = len(r.core.tasks)
    assert r.cancel(first + 500) is True
    assert cancelled(r) == [first + 500]
    assert len(r.core.tasks) == there + 2 * SLICE
    assert r.cancel(first + 500) is False
    assert r.cancel(first + 1500) is False
    r.define("other")
    assert r.cancel(first + 600, "other") is False
    r.wait(0)
    assert views.job(r.core, "job").counts == {TaskState.QUEUED: 999, TaskState.CANCELLED: 1}
