"""What goes by itself: results beyond what a job keeps, and jobs stopped long ago."""

from dart.broker.core.events import TasksSubmitted
from dart.broker.core.model import Retention, TaskPolicy, TaskSpec
from dart.broker.core.records import JobForgotten, JobStatusSet, ResultsBounded
from dart.broker.core.tokens import token_of
from harness.recorder import Recorder

DAY = 86_400.0


def bounds(r, *, since=0):
    """Those that the store was told of, but for the first so many."""
    r.store.write([JobStatusSet(next(iter(r.store.jobs)), next(iter(r.core.jobs.values())).status)])  # takes lazy ones
    return r.store.bounds[since:]


def run(r, amount=1, job="job"):
    """Tasks that succeed at once."""
    agent = r.agent(credit=amount, slots=amount)
    r.submit(amount, job)
    agent.finish(*agent.given)


def test_nothing_is_dropped_without_bounds():
    """By default results stay."""
    r = Recorder()
    r.define()
    run(r)
    assert not r.core.upkeep
    r.wait(DAY)
    assert bounds(r) == []


def test_number_and_bytes_are_looked_at_soon_after_outcomes():
    """Once each `retention_check_seconds` while there are new outcomes, then no more."""
    r = Recorder(retention_check_seconds=10.0)
    job_id = r.define(retention=Retention(0.0, 100, 5000))
    run(r)
    r.wait(5)
    run(r)
    r.wait(5)
    assert bounds(r) == [ResultsBounded(job_id, 0, 100, 5000)]
    r.wait(100)
    assert len(bounds(r)) == 1
    run(r)
    r.wait(10)
    assert len(bounds(r)) == 2


def test_age_is_looked_at_until_all_are_gone():
    """The last look is after the last result's time, at most 1/32 of it late."""
    r = Recorder()
    job_id = r.define(retention=Retention(seconds=3200.0))
    run(r)
    finished_at = r.now
    r.wait(3300)
    assert bounds(r)[-1] == ResultsBounded(job_id, int((finished_at + 3300 - 3200) * 1000), 0, 0)
    assert not r.core.jobs["job"].bounding
    amount = len(bounds(r))
    assert amount == 33
    r.wait(DAY)
    assert len(bounds(r)) == amount


def test_server_wide_bounds_and_the_jobs_own():
    """What a job leaves out follows the limits."""
    r = Recorder(kept_results_max=7, kept_result_bytes_max=70, retention_check_seconds=1.0)
    one = r.define("one")
    two = r.define("two", retention=Retention(results=2))
    for job in ("one", "two"):
        run(r, job=job)
    r.wait(1)
    assert bounds(r) == [ResultsBounded(one, 0, 7, 70), ResultsBounded(two, 0, 2, 70)]


def test_a_restart_looks_at_what_was_recorded_before():
    """A look that was due while the server was away comes after the start."""
    r = Recorder(kept_results_max=1)
    job_id = r.define()
    r.define("idle")
    run(r)
    r.restart()
    r.wait(10)
    assert bounds(r) == [ResultsBounded(job_id, 0, 1, 0)]


def test_a_forgotten_job_is_not_looked_at():
    """Nor is another one of its name in its place."""
    r = Recorder(kept_results_max=1)
    r.define()
    r.define("other")
    run(r)
    r.purge("job")
    r.define()
    r.wait(10)
    assert bounds(r) == []


def test_stopped_jobs_are_forgotten_in_the_end():
    """After `stopped_job_seconds`, counted from the stop, also over restarts."""
    r = Recorder()
    job_id = r.define()
    r.wait(100)
    r.stop()
    r.wait(20 * DAY)
    r.restart()
    r.wait(10 * DAY - 1)
    assert "job" in r.core.jobs
    r.wait(1)
    assert r.records(JobForgotten) == [JobForgotten(job_id)]
    assert "stopped long ago" in r.notes()[0]
    assert not r.core.upkeep


def test_jobs_that_come_and_go_leave_nothing():
    """A program may define, stop and purge a job a second for months."""
    r = Recorder(kept_results_max=5)
    r.define("stays")
    r.stop("stays")
    for _ in range(200):
        r.define()
        r.stop()
        r.purge("job")
    assert len(r.core.upkeep) <= 68
    assert r.core.upkeep[0][2] == "stays"


def test_running_jobs_stay():
    """A job that was purged and defined again too, and all where the limit is 0."""
    r = Recorder()
    r.define()
    r.stop()
    r.purge("job")
    r.define()
    r.wait(40 * DAY)
    assert "job" in r.core.jobs
    r = Recorder(stopped_job_seconds=0.0)
    r.define()
    r.stop()
    assert not r.core.upkeep


def test_stopped_jobs_with_work_stay_until_it_is_done():
    """Open tasks, unfinished submissions and jobs that come after it keep a job."""
    r = Recorder(stopped_job_seconds=3200.0)
    for name in ("open", "staged", "job"):
        r.define(name)
    init = r.define_standing()
    r.submit(1, "job", requires=(token_of(init),))
    for name in ("open", "staged", "init"):
        r.stop(name)
    (task_id,) = r.submit(1, "open")
    first = r.ask(TasksSubmitted, "staged", (TaskSpec(TaskPolicy(), b"", ""),), 2, last=False)
    r.wait(3300)
    assert set(r.core.jobs) == {"open", "staged", "init", "job"}
    r.cancel(task_id, "open")
    r.ask(TasksSubmitted, "staged", (TaskSpec(TaskPolicy(), b"", ""),), 2, submission=first)
    r.stop("staged")
    r.purge("job")
    r.wait(200)
    assert not r.core.jobs


def test_many_at_once_take_several_turns():
    """So that forgetting does not stop the loop."""
    r = Recorder(stopped_job_seconds=10.0)
    for number in range(150):
        r.define(f"job{number}")
        r.stop(f"job{number}")
    r.now += 10
    r.enroll()
    assert len(r.core.jobs) == 50
    assert r.reactor.next_deadline() <= r.now
    r.wait(0)
    assert not r.core.jobs
