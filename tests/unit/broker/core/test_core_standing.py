"""Standing jobs: once on each worker that matches; and tasks that come after them."""

import pytest

from dart.broker.core import views
from dart.broker.core.events import Stopping, TasksSubmitted
from dart.broker.core.model import IfOffline, TaskPolicy, TaskSpec, TaskState
from dart.broker.core.records import TasksAdded
from dart.broker.core.tokens import standing_jobs, token_of
from dart.errors import ConflictError, InvalidRequestError, JobExistsError, UnknownJobError, WorkerOfflineError
from harness.recorder import Recorder


@pytest.fixture
def r():
    recorder = Recorder()
    recorder.define()
    return recorder


def of(puppet, job, r):
    """Refs that this agent was given of a job."""
    return [ref for ref in puppet.given if (task := r.core.tasks.get(ref.task_id)) and task.job.name == job]


def test_runs_on_connected_and_later_workers(r):
    """One task a name: of those connected at its definition, and of each that joins."""
    first = r.agent("a", credit=5)
    job_id = r.define_standing(parameter=b"\xa5hello")
    (record,) = r.records(TasksAdded)
    assert record == TasksAdded(job_id, job_id + 1, ((TaskPolicy("a"), "", b"\xa5hello"),))
    assert len(of(first, "init", r)) == 1
    second = r.agent("b", credit=5)
    assert len(of(second, "init", r)) == 1
    assert views.job(r.core, "init").counts == {TaskState.LEASED: 2}


def test_one_task_a_name_whatever_comes_and_goes(r):
    """Agents of one name share it; a reconnected one, another boot and a restarted server bring no second one."""
    r.define_standing()
    agent = r.agent("a", key=b"1" * 32, credit=5)
    r.agent("a", key=b"2" * 32, credit=5)
    assert len(r.core.jobs["init"].open) == 1
    agent.hello(attempts=agent.given)
    agent.finish(agent.given[0])
    for boot in ("1" * 32, "2" * 32):
        agent.hello(boot=boot)
    r.restart()
    agent.hello()
    assert not r.core.jobs["init"].open
    (lease,) = agent.given
    assert r.store.outcomes[lease.task_id].state is TaskState.SUCCEEDED


def test_no_second_task_after_a_restart_before_the_end(r):
    """An open task counts as well."""
    r.define_standing()
    agent = r.agent("a", credit=5)
    r.restart()
    agent.hello(attempts=agent.given)
    assert len(r.core.jobs["init"].open) == 1


def test_workers_are_chosen_by_name_and_capabilities(r):
    """The whole name must match, and what the job requires be there."""
    r.define_standing(worker_regex=r"gpu-\d", requires=("cuda",))
    for name, capabilities in (("gpu-1", ()), ("gpu-12", ("cuda",)), ("cpu", ("cuda",)), ("gpu-2", ("cuda", "more"))):
        r.agent(name, credit=1, capabilities=capabilities)
    assert [task.policy.location for task in r.core.jobs["init"].open.values()] == ["gpu-2"]
    r.agent("gpu-1", key=b"k" * 32, capabilities=("cuda",))
    assert [task.policy.location for task in r.core.jobs["init"].open.values()] == ["gpu-2", "gpu-1"]


def test_nothing_for_draining_agents_stopped_jobs_and_a_stopping_server(r):
    """Who leaves gets nothing new."""
    r.define_standing()
    agent = r.agent("a", hello=False)
    agent.hello(draining=True)
    assert not r.core.jobs["init"].open
    r.stop("init")
    r.agent("b")
    assert not r.core.jobs["init"].open
    r.define_standing("later")
    assert [task.policy.location for task in r.core.jobs["later"].open.values()] == ["b"]
    r.ask(Stopping)
    r.agent("c")
    assert len(r.core.jobs["later"].open) == 1


def test_failure_is_retried_then_an_error_then_up_to_a_person(r):
    """`retries` hold; after them nothing runs by itself, and a task added by hand may succeed."""
    job_id = r.define_standing(retries=1, retry_delay_seconds=1.0)
    agent = r.agent("a", credit=5)
    agent.fail(agent.given[0], credit=5)
    r.wait(1)
    agent.fail(agent.given[1], credit=5)
    (waiting,) = r.submit(1, requires=(token_of(job_id),))
    agent.hello()
    agent.credit(5)
    assert not r.core.jobs["init"].open
    assert r.state(waiting) is TaskState.QUEUED
    r.submit(1, "init", location="a")
    agent.finish(agent.given[-1])
    assert agent.given[-1].task_id == waiting


def test_tasks_come_after_it_worker_by_worker(r):
    """Such a task waits until the worker that could run it has succeeded with the standing job."""
    job_id = r.define_standing()
    a, b = (r.agent(name, slots=2, credit=5) for name in "ab")
    (here,) = r.submit(1, location="a", requires=(token_of(job_id),))
    (anywhere,) = r.submit(1, requires=(token_of(job_id),))
    assert (len(a.given), len(b.given)) == (1, 1)
    b.finish(b.given[0])
    assert [ref.task_id for ref in b.given[1:]] == [anywhere]
    a.finish(a.given[0])
    assert [ref.task_id for ref in a.given[1:]] == [here]


def test_all_agents_of_the_name_have_done_it(r):
    """Present and later ones, after a restart too."""
    job_id = r.define_standing()
    one = r.agent("a", key=b"1" * 32, slots=9, credit=9)
    two = r.agent("a", key=b"2" * 32, slots=9)
    one.finish(one.given[0])
    one.credit(0)
    two.credit(1)
    (task_id,) = r.submit(1, requires=(token_of(job_id),))
    assert [ref.task_id for ref in two.given] == [task_id]
    r.restart()
    three = r.agent("a", key=b"3" * 32, slots=9, credit=9)
    (task_id,) = r.submit(1, requires=(token_of(job_id),))
    assert [ref.task_id for ref in three.given] == [task_id]


def test_succeeding_again_changes_nothing(r):
    """A second success, by hand, earns nothing more."""
    r.define_standing()
    agent = r.agent("a", credit=5)
    agent.finish(agent.given[0])
    capabilities = r.core.agents[agent.id].capabilities
    r.submit(1, "init", location="a")
    agent.finish(agent.given[1])
    assert r.core.agents[agent.id].capabilities == capabilities


def test_a_stopped_job_may_outlive_what_it_came_after(r):
    """After a restart its definition names a job that is not there any more."""
    r.define_standing()
    r.define("train", after=["init"])
    r.stop("train")
    r.purge("init")
    r.restart()
    assert r.core.jobs["train"].comes_after == set()


def test_tokens_are_nobodys_business(r):
    """Workers and tasks show what was declared and named, no tokens."""
    job_id = r.define_standing()
    agent = r.agent("a", capabilities=("gpu",), credit=5)
    agent.finish(agent.given[0])
    (task_id,) = r.submit(1, requires=(token_of(job_id), "tpu"))
    (worker,) = views.workers(r.core, r.now)
    assert (worker.capabilities, worker.agents[0].capabilities) == (("gpu",), ("gpu",))
    view = views.task(r.core, "job", task_id)
    assert (view.policy.requires, view.after) == (("tpu",), ("init",))
    assert standing_jobs(("a", token_of(job_id))) == [job_id]


def test_jobs_name_standing_jobs_only(r):
    """An unknown job and one that is not standing are refused at the definition."""
    with pytest.raises(UnknownJobError):
        r.define("train", after=["init"])
    with pytest.raises(InvalidRequestError, match="not standing"):
        r.define("train", after=["job"])
    r.define_standing()
    r.define("train", after=["init"])
    with pytest.raises(JobExistsError):
        r.define_standing()


def test_tasks_of_a_purged_standing_job_are_refused(r):
    """Between the look at it and the submission it may have gone."""
    with pytest.raises(ConflictError, match="purged"):
        r.submit(1, requires=(token_of(r.define_standing() + 50),))


def test_purging_waits_for_those_that_come_after(r):
    """Refused with names while a running job names it or open tasks wait for it, whatever else is purged."""
    job_id = r.define_standing()
    r.define("train", after=["init"])
    r.define("more")
    (waiting,) = r.submit(1, "more", requires=(token_of(job_id),))
    with pytest.raises(ConflictError, match="'train', 'more'"):
        r.purge("init")
    r.stop("train")
    with pytest.raises(ConflictError, match="'more'"):
        r.purge("job", "init")
    assert "job" in r.core.jobs
    r.restart()
    with pytest.raises(ConflictError, match="'more'"):
        r.purge("init")
    r.cancel(waiting, "more")
    r.stop("more")
    assert r.purge("init", "init", "nothing") == 1
    assert not r.core.standing


def test_purging_all_of_them_at_once(r):
    """Jobs that come after it may go with it; an unfinished submission counts as waiting."""
    job_id = r.define_standing()
    specs = (TaskSpec(TaskPolicy(requires=(token_of(job_id),)), b"", ""),)
    r.ask(TasksSubmitted, "job", specs, 2, last=False)
    r.stop("init")
    with pytest.raises(ConflictError, match="'job'"):
        r.purge("init")
    assert r.purge("init", "job") == 2


def test_many_names_are_cut(r):
    """A refusal stays readable."""
    r.define_standing()
    for number in range(12):
        r.define(f"job{number}", after=["init"])
    with pytest.raises(ConflictError, match="and 2 more"):
        r.purge("init")


def test_standing_jobs_may_come_after_standing_jobs(r):
    """In the order that the definitions ask for."""
    first = r.define_standing("first")
    r.define_standing("second", after=["first"], requires=(token_of(first),))
    agent = r.agent("a", slots=5, credit=5)
    (one,) = agent.given
    agent.finish(one)
    assert [r.core.tasks[ref.task_id].job.name for ref in agent.given[1:]] == ["second"]


def test_if_offline_does_not_count_what_is_still_to_be_done(r):
    """A worker that has not done the standing job yet is there; one that drains is as good as gone."""
    job_id = r.define_standing()
    spec = TaskSpec(TaskPolicy("a", requires=(token_of(job_id),)), b"", "")
    agent = r.agent("a")
    assert r.ask(TasksSubmitted, "job", (spec,), 1, if_offline=IfOffline.FAIL)
    agent.drain()
    with pytest.raises(WorkerOfflineError):
        r.ask(TasksSubmitted, "job", (spec,), 1, if_offline=IfOffline.FAIL)


def test_a_pattern_that_takes_too_long_matches_nobody(r):
    """It is tried once a name, and said."""
    r.define_standing(worker_regex=".*a" * 9 + "b")
    r.core.standing[r.core.jobs["init"].id].pattern = Slow()
    agent = r.agent("a")
    assert any("takes too long" in note for note in r.notes())
    agent.hello()
    assert not any("takes too long" in note for note in r.notes())
    assert not r.core.jobs["init"].open


class Slow:
    """A pattern on a slow day."""

    def fullmatch(self, name, timeout):
        raise TimeoutError
