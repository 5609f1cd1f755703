"""Tasks that failed or were lost wait a while before they run again."""

import pytest

from dart.broker.core.model import OnLost, TaskState
from dart.broker.core.records import TaskFinished
from dart.errors import TaskErrorCode
from harness.recorder import Recorder


@pytest.fixture
def r():
    recorder = Recorder(retry_seconds_max=10.0)
    recorder.define()
    return recorder


def test_retry_waits_and_the_wait_doubles(r):
    """0.5 s before the first further run, 1 s before the second, and so on."""
    agent = r.agent(credit=9)
    (task_id,) = r.submit(1, retries=9)
    for number, seconds in enumerate((0.5, 1.0, 2.0, 4.0)):
        agent.fail(agent.given[number], credit=9)
        assert r.state(task_id) is TaskState.DELAYED
        assert r.task(task_id).delayed_until == r.now + seconds
        r.wait(seconds - 0.01)
        assert len(agent.given) == number + 1
        r.wait(0.01)
        assert len(agent.given) == number + 2


def test_wait_is_bounded(r):
    """However often it fails, it waits no longer than `retry_seconds_max`."""
    agent = r.agent(credit=9)
    (task_id,) = r.submit(1, retries=999, retry_delay_seconds=3.0)
    for number in range(70):
        agent.fail(agent.given[number], credit=9)
        r.wait(10)
    assert (r.task(task_id).errors, len(agent.given)) == (70, 71)


def test_lost_agents_have_a_delay_of_their_own(r):
    """`lost_retry_delay` counts losses, not errors; it is 0 unless it was given."""
    agent = r.agent(credit=9)
    (at_once,) = r.submit(1)
    (later,) = r.submit(1, lost_retry_delay_seconds=2.0, retry_delay_seconds=99.0)
    agent.bye()
    assert (r.state(at_once), r.state(later)) == (TaskState.QUEUED, TaskState.DELAYED)
    assert r.task(later).delayed_until == r.now + 2.0
    r.wait(2)
    assert r.state(later) is TaskState.QUEUED
    agent.hello()
    agent.credit(9)
    agent.bye()
    assert r.task(later).delayed_until == r.now + 4.0


def test_delayed_tasks_come_first_and_in_order(r):
    """What waited goes before what came later, the one that was due first in front."""
    agent = r.agent(slots=2, credit=2)
    first, second = r.submit(2, retries=1)
    (third,) = r.submit(1)
    agent.fail(agent.given[1])
    r.now += 0.1
    agent.fail(agent.given[0])
    r.now += 5
    r.wait(0)
    agent.credit(9)
    assert [ref.task_id for ref in agent.given[2:]] == [second, first, third]


@pytest.mark.parametrize("success", [True, False])
def test_late_result_of_a_delayed_task_counts(r, success):
    """The attempt of a lost agent still counts while no later one was given."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1, lost_retry_delay_seconds=5.0)
    ref = agent.given[0]
    agent.lose()
    r.wait(61)
    assert r.state(task_id) is TaskState.DELAYED
    agent.hello(results=[ref])
    assert r.state(task_id) is TaskState.LEASED
    agent.finish(ref, success=success)
    assert r.state(task_id) is (TaskState.SUCCEEDED if success else TaskState.FAILED)
    assert r.core.delayed == 0


def test_results_within_a_session_count_for_a_delayed_task(r):
    """Said BYE, came back, and answers without having named it: success, error and retry are taken."""
    agent = r.agent(slots=3, credit=3)
    won, failed, retried = (r.submit(1, lost_retry_delay_seconds=5.0, retries=n)[0] for n in (0, 0, 1))
    agent.bye()
    agent.hello()
    agent.finish(agent.given[0])
    agent.fail(agent.given[1])
    agent.fail(agent.given[2])
    assert [r.state(won), r.state(failed), r.state(retried)] == [
        TaskState.SUCCEEDED, TaskState.FAILED, TaskState.DELAYED,
    ]  # fmt: skip
    assert r.task(retried).delayed_until == r.now + 0.5


def test_delayed_tasks_can_be_cancelled_and_expire(r):
    """Nothing has to wait for the end of a delay but the next run."""
    agent = r.agent(slots=2, credit=2)
    cancelled, expiring = (
        r.submit(1, retries=1, retry_delay_seconds=9.0, expires_at_ms=expires)[0] for expires in (0, 1_002_000)
    )
    agent.fail(agent.given[0])
    agent.fail(agent.given[1])
    assert r.cancel(cancelled)
    (record,) = r.records(TaskFinished)
    assert (record.state, record.attempts, record.worker) == (TaskState.CANCELLED, 1, "")
    r.wait(3)
    assert r.state(expiring) is TaskState.EXPIRED
    assert r.reactor.next_deadline() is not None  # heartbeats
    r.wait(20)
    assert (r.core.delayed, r.core.delays) == (0, [])


def test_stopping_a_job_ends_delayed_tasks(r):
    """As any other open task; purging too."""
    agent = r.agent(slots=2, credit=2)
    r.submit(1, retries=1)
    agent.fail(agent.given[0])
    assert r.stop() == 1
    r.submit(1, retries=1)
    agent.credit(2)
    agent.fail(agent.given[1])
    assert r.purge("job") == 1
    assert r.core.delayed == 0


def test_delay_is_over_after_a_restart(r):
    """Attempts stay counted; the task is queued at once."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1, retries=3, retry_delay_seconds=10.0)
    agent.fail(agent.given[0])
    r.restart()
    assert (r.state(task_id), r.task(task_id).errors) == (TaskState.QUEUED, 1)


def test_old_entries_are_swept(r):
    """Cancelling delayed tasks over and over keeps nothing; a few entries are not worth the work."""
    agent = r.agent(slots=200, credit=1000)
    r.submit(200, retries=1, retry_delay_seconds=10.0)
    agent.fail(*agent.given)
    for task_id in list(r.core.tasks):
        r.cancel(task_id)
    assert 0 < len(r.core.delays) <= 64


def test_on_lost_fail_knows_no_delay(r):
    """It is LOST at once."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1, on_lost=OnLost.FAIL, lost_retry_delay_seconds=9.0)
    agent.bye()
    assert r.state(task_id) is TaskState.LOST
    assert r.store.outcomes[task_id].error_code == TaskErrorCode.LOST
