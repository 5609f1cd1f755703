"""Outcomes, retries, progress, and what agents give back."""

import pytest

from dart.broker.core.commands import Persist, ResultsRecorded
from dart.broker.core.model import OnLost, TaskState
from dart.broker.core.records import AttemptsCounted, TaskFinished
from dart.errors import TaskErrorCode
from dart.ids import Attempt, AttemptRef
from dart.wire.messages import Ack, Credit, Results, Start, Started
from harness.recorder import Recorder


@pytest.fixture
def r():
    recorder = Recorder()
    recorder.define()
    return recorder


def test_worker_is_the_enrolled_name(r):
    """Whatever RESULTS says, the outcome carries the agent's name and host."""
    agent = r.agent("real", credit=1)
    r.submit(1)
    agent.finish(agent.given[0])
    (record,) = r.records(TaskFinished)
    assert (record.worker, record.host) == ("real", "host-real")


def test_payload_becomes_bytes(r):
    """A payload may come as a view of the frame; the record must not pin that."""
    agent = r.agent(credit=1)
    r.submit(1)
    result = agent.result(agent.given[0], payload=memoryview(b"abc"))
    agent.say(Results((result,), None))
    (record,) = r.records(TaskFinished)
    assert type(record.payload) is bytes
    assert record.payload == b"abc"


def test_outcomes_wake_each_job_once(r):
    """Many outcomes of a job in a turn wake its waiters once, after the records."""
    agent = r.agent(slots=4, credit=4)
    r.define("other")
    r.submit(2)
    r.submit(2, job="other")
    agent.finish(*agent.given)
    woken = [command.job_id for command in r.commands if isinstance(command, ResultsRecorded)]
    assert sorted(woken) == sorted(job.id for job in r.core.jobs.values())
    last_record = max(n for n, command in enumerate(r.commands) if isinstance(command, Persist))
    assert all(n > last_record for n, c in enumerate(r.commands) if isinstance(c, ResultsRecorded))


def test_failure_without_retries(r):
    """A task that raised has its one outcome."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1)
    agent.fail(agent.given[0])
    (record,) = r.records(TaskFinished)
    assert (record.id, record.state, record.attempts) == (task_id, TaskState.FAILED, 1)
    assert (record.error_code, record.payload) == (0, b"\xa3bad")


def test_retries(r):
    """A task runs again as often as `retries` says; attempts are counted durably, the last error is the outcome."""
    agent = r.agent(credit=9)
    (task_id,) = r.submit(1, retries=2, retry_delay_seconds=0.0)
    agent.fail(agent.given[0], credit=9)
    assert r.records(AttemptsCounted) == [AttemptsCounted(task_id, 1, 0)]
    agent.fail(agent.given[1], credit=9, error_code=TaskErrorCode.RUNNER_DIED)
    assert r.records(AttemptsCounted) == [AttemptsCounted(task_id, 2, 0)]
    agent.fail(agent.given[2], credit=9, error_code=TaskErrorCode.TIMED_OUT)
    assert [ref.attempt.number for ref in agent.given] == [1, 2, 3]
    (record,) = r.records(TaskFinished)
    assert (record.attempts, record.error_code) == (3, TaskErrorCode.TIMED_OUT)


def test_retry_may_succeed(r):
    """Success after an error is success, with all attempts counted."""
    agent = r.agent(credit=9)
    r.submit(1, retries=1, retry_delay_seconds=0.0)
    agent.fail(agent.given[0], credit=9)
    agent.finish(agent.given[1])
    assert [(record.state, record.attempts) for record in r.records(TaskFinished)] == [(TaskState.SUCCEEDED, 2)]


@pytest.mark.parametrize("code", ["IMPORT_FAILED", "REFUSED", "NOT_PORTABLE", "TOO_LARGE", "POLICY_REFUSED"])
def test_some_errors_are_not_retried(r, code):
    """Another run would meet the same error; and what an owner refuses is not tried on until somebody takes it."""
    agent = r.agent(credit=9)
    r.submit(1, retries=5)
    agent.fail(agent.given[0], error_code=getattr(TaskErrorCode, code))
    assert [record.state for record in r.records(TaskFinished)] == [TaskState.FAILED]


def test_error_of_a_lease_that_ended_counts_once(r):
    """A late error of a queued task uses up a retry, the same error again nothing."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1, retries=5)
    ref = agent.given[0]
    agent.lose()
    r.wait(61)
    agent.hello(results=[ref])
    agent.fail(ref)
    assert r.records(AttemptsCounted) == [AttemptsCounted(task_id, 1, 1)]
    agent.fail(ref)
    assert r.records() == []
    assert r.core.late_results == 1
    agent.hello(results=[ref])
    assert r.task(task_id).errors == 1


def test_error_within_a_session_after_the_lease_ended(r):
    """A task that is queued again, with its agent still the last holder, takes that agent's error as an attempt."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1, retries=5, retry_delay_seconds=0.0)
    agent.bye()
    agent.hello()
    agent.fail(agent.given[0])
    assert (r.task(task_id).state, r.task(task_id).errors) == (TaskState.QUEUED, 1)
    agent.fail(agent.given[0])
    assert r.task(task_id).errors == 1


def test_results_of_other_agents_attempts(r):
    """An agent that answers for another changes nothing; it is acknowledged, counted and reported."""
    agent, thief = r.agent(key=b"a" * 32, credit=1), r.agent("thief")
    (task_id,) = r.submit(1)
    thief.finish(agent.given[0])
    assert r.state(task_id) is TaskState.LEASED
    assert (r.core.foreign_attempts, r.core.late_results) == (1, 0)
    assert len(thief.take(Ack)) == 1
    assert "'thief' named 1 attempts in RESULTS that it was never given" in r.notes()[0]


def test_results_of_old_attempts_are_late(r):
    """Only the latest attempt counts."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1)
    old = agent.given[0]
    agent.release(old)
    agent.credit(1)
    agent.finish(old)
    assert r.state(task_id) is TaskState.LEASED
    agent.finish(AttemptRef(task_id, Attempt(9, 9)), AttemptRef(task_id + 1000, Attempt(1, 1)))
    assert (r.core.late_results, r.core.foreign_attempts) == (2, 1)


def test_a_result_that_was_given_back_is_late(r):
    """An attempt that was released cannot be answered any more."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1)
    agent.release(agent.given[0])
    agent.finish(agent.given[0])
    assert r.state(task_id) is TaskState.QUEUED
    assert r.core.late_results == 1


def test_results_without_results(r):
    """An empty RESULTS is a way to give credit, and needs no ACK."""
    agent = r.agent()
    agent.say(Results((), Credit(5, 5, 0)))
    assert agent.take(Ack) == []
    assert r.core.agents[agent.id].session.credit_tasks == 5


def test_started(r):
    """STARTED makes a lease a running task; wrong attempts and repeats change nothing."""
    agent = r.agent(slots=2, credit=2)
    first, second = r.submit(2)
    agent.start(agent.given[0], AttemptRef(second, Attempt(1, 7)), AttemptRef(99, Attempt(1, 1)))
    assert (r.state(first), r.state(second)) == (TaskState.RUNNING, TaskState.LEASED)
    agent.say(Started((Start(agent.given[0], 999),)))
    assert r.task(first).told.started_at_ms == 7


def test_progress(r):
    """The latest report is kept, its text cut at the limit, and forgotten when the task runs again."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1)
    agent.start(agent.given[0])
    agent.progress(agent.given[0], 0.25, "x" * 5000)
    agent.progress(AttemptRef(99, Attempt(1, 1)), 0.5)
    assert r.task(task_id).told[1:] == (0.25, "x" * 1000)
    agent.bye()
    task = r.task(task_id)
    assert task.told == (0, -1.0, "")


def test_released_keep_their_order(r):
    """Leases that come back are queued in their old order, whatever order they are named in, and count nothing."""
    agent = r.agent(slots=3, credit=3)
    tasks = r.submit(4)
    one, two, three = agent.given
    agent.release(three, one, two, one)
    assert [task.id for task in r.core.ready.get(("", ()))] == tasks
    assert r.records(AttemptsCounted) == []
    assert [r.task(task_id).losses for task_id in tasks] == [0] * 4


def test_released_after_it_began_is_a_loss(r):
    """An agent cannot give back without loss what it said it runs."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1)
    agent.start(agent.given[0])
    agent.release(agent.given[0])
    assert r.task(task_id).losses == 1


def test_release_of_what_is_not_held(r):
    """Other attempts are ignored."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1)
    agent.release(AttemptRef(task_id, Attempt(1, 2)), AttemptRef(99, Attempt(1, 1)))
    assert r.state(task_id) is TaskState.LEASED


@pytest.mark.parametrize(("on_lost", "state"), [(OnLost.FAIL, TaskState.LOST), (OnLost.REQUEUE, TaskState.QUEUED)])
def test_on_lost(r, on_lost, state):
    """What was lost runs again or not, as its policy says."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1, on_lost=on_lost)
    agent.bye()
    assert r.state(task_id) is state


def test_lost_too_often(r):
    """With `lost_retries` used up the task is LOST: a result without worker or host that says what happened."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1, lost_retries=1, location="w")
    agent.bye()
    assert r.records(AttemptsCounted) == [AttemptsCounted(task_id, 0, 1)]
    agent.hello()
    agent.credit(1)
    agent.bye()
    (record,) = r.records(TaskFinished)
    assert (record.state, record.error_code, record.attempts) == (TaskState.LOST, TaskErrorCode.LOST, 2)
    assert (record.worker, record.host, record.duration_seconds) == ("w", "", 0.0)
    text = record.payload[2:].decode()
    assert record.payload[:2] == bytes((0xD9, len(text)))
    assert text == "The task was lost: its agent 'w' left, for the 2. time; lost_retries=1 are used up."


def test_no_lost_retries(r):
    """`lost_retries=0` means once."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1, lost_retries=0)
    agent.bye()
    assert r.state(task_id) is TaskState.LOST


def test_wait_keeps_its_place(r):
    """A task with on_lost=wait stays with its agent through BYE, silence and restarts, until that agent is back."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1, on_lost=OnLost.WAIT)
    ref = agent.given[0]
    agent.bye()
    r.wait(1000)
    assert r.state(task_id) is TaskState.LEASED
    r.define("flush")
    r.restart()
    r.wait(1000)
    assert r.state(task_id) is TaskState.LEASED
    assert r.reactor.next_deadline() is None
    assert agent.hello(attempts=[ref]).keep == (ref,)
    agent.hello(boot="c" * 32)
    assert (r.state(task_id), r.task(task_id).losses) == (TaskState.QUEUED, 1)
