"""Jobs: defining, stopping, purging; cancelling tasks and deleting results."""

import pytest

from dart.broker.core.commands import Refuse, ResultsRecorded
from dart.broker.core.events import JobDefined, JobsPurged, JobStopped, ResultDeleted, TaskCancelled
from dart.broker.core.model import Idempotency, JobStatus, TaskState
from dart.broker.core.records import (
    JobAdded,
    JobForgotten,
    JobStatusSet,
    LeasesClosed,
    RequestAnswered,
    ResultForgotten,
    TaskFinished,
)
from dart.errors import JobExistsError, LimitError, UnknownJobError
from dart.wire.messages import Ack, Cancel
from harness.recorder import CONFIG, Recorder


def test_definition():
    """A job gets an id of its own and runs from its definition on."""
    r = Recorder(now=1000.5)
    key = Idempotency("key", b"digest", 5)
    job_id = r.ask(JobDefined, "job", CONFIG, key)
    assert r.records() == [JobAdded(job_id, "job", CONFIG, 1_000_500), RequestAnswered(key, job_id)]
    assert r.core.jobs["job"].status is JobStatus.RUNNING


def test_a_name_is_taken_once():
    """A second definition of a name is refused and changes nothing."""
    r = Recorder()
    r.define()
    with pytest.raises(JobExistsError) as caught:
        r.define()
    assert caught.value.details == {"job": "job"}
    assert [type(command) for command in r.commands] == [Refuse]


def test_jobs_are_limited():
    """The limit of jobs is named."""
    r = Recorder(jobs_max=2)
    r.define("a")
    r.define("b")
    with pytest.raises(LimitError, match="jobs_max"):
        r.define("c")
    r.purge("a")
    r.define("c")


def test_stop_cancels_what_is_open():
    """Queued tasks are cancelled, leased ones interrupted in one message; each has its outcome."""
    r = Recorder()
    agent = r.agent(slots=2, credit=2)
    job_id = r.define()
    tasks = r.submit(4, location="w")
    agent.start(agent.given[0])
    assert r.stop() == 4
    assert r.records()[0] == JobStatusSet(job_id, JobStatus.STOPPED, 1_000_000)
    finished = r.records(TaskFinished)
    assert [(f.id, f.state, f.worker, f.host, f.payload) for f in finished] == [
        (task_id, TaskState.CANCELLED, "w", "", b"") for task_id in tasks
    ]
    assert [f.attempts for f in finished] == [1, 1, 0, 0]
    assert agent.take(Cancel) == [Cancel(tuple(agent.given))]
    assert ResultsRecorded(job_id) in r.commands
    assert len(r.records(LeasesClosed)) == 1
    assert r.stop() == 0
    assert r.records() == []


def test_a_stopped_job_stops_again_what_came_since():
    """Tasks that came after the stop are cancelled by the next one; the status is not written again."""
    r = Recorder()
    r.define()
    r.stop()
    r.submit(2)
    assert r.stop() == 2
    assert r.records(JobStatusSet) == []


@pytest.mark.parametrize("event", [JobStopped, lambda token, name: TaskCancelled(token, name, 7)])
def test_unknown_jobs_are_refused(event):
    """What is done to a job that is not there is refused."""
    with pytest.raises(UnknownJobError, match="No job is called 'nothing'"):
        Recorder().ask(event, "nothing")


def test_large_cancels_are_split():
    """CANCEL names at most `batch_items_max` attempts a message."""
    r = Recorder(batch_items_max=2)
    agent = r.agent(slots=5, credit=5)
    r.define()
    r.submit(5)
    r.stop()
    assert [len(message.attempts) for message in agent.take(Cancel)] == [2, 2, 1]


def test_late_results_of_cancelled_tasks_are_dropped():
    """The outcome is CANCELLED; what the agent says later is acknowledged and counted, no more."""
    r = Recorder()
    agent = r.agent(credit=1)
    r.define()
    r.submit(1)
    r.stop()
    agent.finish(agent.given[0])
    assert r.records() == []
    assert agent.take(Ack) == [Ack((agent.given[0],))]
    assert (r.core.late_results, r.core.foreign_attempts) == (1, 0)


def test_cancelled_at_a_silent_agent():
    """A task at an agent that is away is cancelled; nothing is sent, and the agent is forgotten with its last lease."""
    r = Recorder()
    agent = r.agent(credit=1)
    r.define()
    r.submit(1)
    agent.lose()
    assert r.stop() == 1
    assert r.core.agents == {}
    ref = agent.given[0]
    assert agent.hello(attempts=[ref]).drop == (ref,)


def test_cancel_one():
    """One task is cancelled, its neighbours stay; a second time there is nothing to cancel."""
    r = Recorder()
    r.define()
    first, second, third = r.submit(3)
    assert r.cancel(second) is True
    assert [f.id for f in r.records(TaskFinished)] == [second]
    assert r.cancel(second) is False
    assert r.cancel(99) is False
    agent = r.agent(slots=3, credit=3)
    assert [ref.task_id for ref in agent.given] == [first, third]


def test_cancel_needs_the_right_job():
    """A task is not cancelled through another job."""
    r = Recorder()
    r.define()
    r.define("other")
    (task_id,) = r.submit(1)
    assert r.cancel(task_id, "other") is False
    assert r.state(task_id) is TaskState.QUEUED


def test_purge_forgets_everything():
    """Definition, tasks and leases are gone, what ran is interrupted, late results are dropped, the name is free."""
    r = Recorder()
    agent = r.agent(credit=2)
    job_id = r.define()
    r.submit(4)
    assert r.ask(JobsPurged, ("job", "nothing")) == 1
    assert r.records()[0] == JobForgotten(job_id)
    assert r.records(TaskFinished) == []
    assert agent.take(Cancel) == [Cancel(tuple(agent.given))]
    assert not r.core.tasks
    agent.finish(*agent.given)
    assert (r.records(), r.core.late_results) == ([], 2)
    assert r.define() > job_id


def test_delete_result():
    """A finished task's outcome is forgotten; unknown jobs and ids cost nothing."""
    r = Recorder()
    agent = r.agent(credit=1)
    job_id = r.define()
    done, waiting = r.submit(2)
    agent.finish(agent.given[0])
    r.ask(ResultDeleted, "job", done)
    assert r.records() == [ResultForgotten(job_id, done)]
    for job, task_id in [("job", waiting), ("job", 99), ("job", 0), ("job", job_id), ("nothing", done)]:
        assert r.ask(ResultDeleted, job, task_id) is None
        assert r.records() == []


def test_tally_counts_outcomes():
    """Outcomes are counted by worker and state, beyond their deletion."""
    r = Recorder()
    agent = r.agent(slots=3, credit=3)
    r.define()
    r.submit(3)
    agent.finish(agent.given[0], agent.given[1])
    agent.fail(agent.given[2])
    assert r.core.jobs["job"].tally == {("w", TaskState.SUCCEEDED): 2, ("w", TaskState.FAILED): 1}
    assert r.core.jobs["job"].tally == dict(r.store.tallies[1])


def test_many_open_tasks_stop_in_one_pass():
    """Stopping a job of many tasks ends all of them, and leaves nothing queued."""
    r = Recorder(slice_tasks_max=20_000)
    r.define()
    r.submit(20_000)
    assert r.stop() == 20_000
    assert r.core.ready.size == 0
