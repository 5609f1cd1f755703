"""Submissions: ids, slices, refusals, idempotency."""

import pytest

from dart.broker.core import views
from dart.broker.core.events import SubmissionAbandoned, TasksSubmitted, TimePassed
from dart.broker.core.model import Idempotency, IfOffline, TaskPolicy, TaskSpec, TaskState
from dart.broker.core.records import RequestAnswered, SubmissionClosed, SubmissionOpened, TasksAdded
from dart.errors import (
    ConflictError,
    JobStoppedError,
    LimitError,
    UnavailableError,
    UnknownJobError,
    WorkerOfflineError,
)
from harness.recorder import Recorder

KEY = Idempotency("key", b"digest", 5000)


def specs(amount, **policy):
    return tuple(TaskSpec(TaskPolicy(**policy), b"p%d" % n, f"t{n}") for n in range(amount))


@pytest.fixture
def r():
    recorder = Recorder()
    recorder.define()
    return recorder


def submit(r, tasks, total=None, **members):
    return r.ask(TasksSubmitted, "job", tasks, len(tasks) if total is None else total, **members)


def test_one_slice_needs_no_opening(r):
    """A submission of one slice is one TasksAdded, ready at once."""
    assert submit(r, specs(3), idempotency=KEY) == 2
    rows = tuple((spec.policy, spec.tag, spec.parameter) for spec in specs(3))
    assert r.records() == [TasksAdded(1, 2, rows), RequestAnswered(KEY, 2)]
    assert [r.state(task_id) for task_id in (2, 3, 4)] == [TaskState.QUEUED] * 3
    assert r.core.highest_id == 4
    assert submit(r, specs(1)) == 5


def test_slices_become_visible_with_the_last(r):
    """Ids are reserved with the first slice; nothing runs before the last one is here."""
    agent = r.agent(slots=9, credit=9)
    assert submit(r, specs(2), 5, last=False) == 2
    assert r.records()[0] == SubmissionOpened(2, 6)
    assert submit(r, specs(1)) == 7, "another submission meanwhile gets other ids"
    assert submit(r, specs(1), 5, submission=2, last=False) == 2
    assert [ref.task_id for ref in agent.given] == [7]
    assert views.job(r.core, "job").counts == {TaskState.LEASED: 1}
    assert submit(r, specs(2), 5, submission=2, last=True, idempotency=KEY) == 2
    assert SubmissionClosed(2, complete=True) in r.records()
    assert r.records(RequestAnswered) == [RequestAnswered(KEY, 2)]
    assert [ref.task_id for ref in agent.given] == [7, 2, 3, 4, 5, 6]
    assert [r.store.tasks[task_id][3] for task_id in (2, 3, 4, 5, 6)] == [b"p0", b"p1", b"p0", b"p0", b"p1"]


def test_key_of_the_first_slice_counts(r):
    """The idempotency key may come with the first slice only; it is recorded with the last."""
    submit(r, specs(1), 2, last=False, idempotency=KEY)
    assert r.records(RequestAnswered) == []
    submit(r, specs(1), 2, submission=2)
    assert r.records(RequestAnswered) == [RequestAnswered(KEY, 2)]


def test_abandoned_submission_vanishes(r):
    """The tasks of an abandoned submission are gone, its ids are not given again, its late slices are refused."""
    submit(r, specs(2), 5, last=False)
    r.do(SubmissionAbandoned(2))
    assert r.records() == [SubmissionClosed(2, complete=False)]
    assert r.core.reserved == 0
    assert not r.store.tasks
    with pytest.raises(ConflictError):
        submit(r, specs(3), 5, submission=2)
    assert submit(r, specs(1)) == 7
    r.do(SubmissionAbandoned(2))
    assert r.records() == []


def test_empty_submission(r):
    """No tasks: answered at once, remembered if asked, nothing reserved."""
    assert submit(r, (), idempotency=KEY) == 0
    assert r.records() == [RequestAnswered(KEY, 0)]
    assert submit(r, ()) == 0
    assert r.records() == []
    assert r.core.highest_id == 1


@pytest.mark.parametrize(
    ("total", "amount", "last"), [(3, 2, True), (3, 4, True), (3, 3, False), (3, 4, False), (0, 0, False), (0, 1, True)]
)
def test_slices_must_add_up(r, total, amount, last):
    """A slice that does not fit the total is refused and changes nothing."""
    with pytest.raises(ConflictError, match="add up"):
        submit(r, specs(amount), total, last=last)
    assert r.records() == []
    assert r.core.highest_id == 1


def test_later_slice_must_add_up(r):
    """A later slice that does not fit ends the submission."""
    submit(r, specs(2), 4, last=False)
    with pytest.raises(ConflictError):
        submit(r, specs(1), 4, submission=2, last=True)
    assert r.records() == [SubmissionClosed(2, complete=False)]


def test_unknown_job():
    """A submission to no job is refused."""
    with pytest.raises(UnknownJobError):
        submit(Recorder(), specs(1))


def test_stopped_job_takes_tasks_unless_asked(r):
    """Tasks of a stopped job run; a caller who asks for refusal gets it."""
    r.stop()
    agent = r.agent(credit=1)
    (task_id,) = range(submit(r, specs(1)), r.core.highest_id + 1)
    assert [ref.task_id for ref in agent.given] == [task_id]
    with pytest.raises(JobStoppedError):
        submit(r, specs(1), refuse_if_stopped=True)
    # A submission in slices that began after the stop goes on.
    first = submit(r, specs(1), 2, last=False)
    assert submit(r, specs(1), 2, submission=first, refuse_if_stopped=True) == first


def test_stop_ends_open_submissions(r):
    """A job stopped in the middle of a submission: the rest is refused, what came is void."""
    submit(r, specs(2), 3, last=False)
    assert r.stop() == 0
    assert SubmissionClosed(2, complete=False) in r.records()
    with pytest.raises(JobStoppedError):
        submit(r, specs(1), 3, submission=2)


def test_purge_ends_open_submissions(r):
    """A job purged in the middle of a submission: the rest is refused, also if the name is defined again."""
    submit(r, specs(2), 3, last=False)
    r.purge("job")
    with pytest.raises(UnknownJobError):
        submit(r, specs(1), 3, submission=2)
    r.define()
    with pytest.raises(ConflictError):
        submit(r, specs(1), 3, submission=2)


def test_only_the_own_submissions_end(r):
    """Stopping one job leaves submissions to another alone, and a slice cannot join another job's submission."""
    r.define("other")
    first = submit(r, specs(1), 2, last=False)
    r.stop("other")
    assert first in r.core.submissions
    r.purge("other")
    r.define("third")
    with pytest.raises(ConflictError):
        r.ask(TasksSubmitted, "third", specs(1), 2, submission=first)


def test_queue_limit():
    """Open and reserved tasks count; the refusal names the limit."""
    r = Recorder(queued_tasks_max=5)
    r.define()
    submit(r, specs(2))
    submit(r, specs(1), 2, last=False)
    with pytest.raises(LimitError, match="queued_tasks_max=5") as caught:
        submit(r, specs(2))
    assert caught.value.details == {"limit": "queued_tasks_max"}
    submit(r, specs(1))


def test_refused_while_stopping(r):
    """A server that ends takes no tasks."""
    r.core.stopping = True
    with pytest.raises(UnavailableError) as caught:
        submit(r, specs(1))
    assert caught.value.details["retry_after"] > 0


def test_refused_if_offline(r):
    """With `if_offline=fail` every task must match somebody who is connected now."""
    fail = {"if_offline": IfOffline.FAIL}
    with pytest.raises(WorkerOfflineError, match="No worker at all is connected"):
        submit(r, specs(1), **fail)
    r.agent("w", capabilities=("gpu",))
    submit(r, specs(2), **fail)
    submit(r, specs(2, location="w", requires=("gpu",)), **fail)
    with pytest.raises(WorkerOfflineError, match="called 'v'"):
        submit(r, specs(1) + specs(1, location="v"), **fail)
    with pytest.raises(WorkerOfflineError, match="capabilities fpga, gpu"):
        submit(r, specs(1, requires=("fpga", "gpu")), **fail)
    submit(r, specs(1, location="v"))


def test_offline_in_a_later_slice_ends_the_submission(r):
    """The worker must be there for every slice."""
    r.agent("w")
    first = submit(r, specs(1), 2, last=False, if_offline=IfOffline.FAIL)
    with pytest.raises(WorkerOfflineError):
        submit(r, specs(1, location="v"), 2, submission=first, if_offline=IfOffline.FAIL)
    assert r.records() == [SubmissionClosed(first, complete=False)]


def test_large_submission_is_let_in_by_and_by():
    """A turn admits a few slices only; a small submission behind a large one is let in the same turn."""
    r = Recorder(slice_tasks_max=10)
    r.define()
    first = submit(r, specs(90), 100, last=False)
    submit(r, specs(10), 100, submission=first)
    assert len(r.core.tasks) == 20
    assert r.reactor.next_deadline() == r.now
    assert views.job(r.core, "job").counts == {TaskState.QUEUED: 100}
    (small,) = range(submit(r, specs(1)), r.core.highest_id + 1)
    assert small in r.core.tasks
    assert first + 99 not in r.core.tasks
    assert len(r.core.tasks) == 40
    for _ in range(4):
        assert r.reactor.next_deadline() == r.now
        r.do(TimePassed())
    assert len(r.core.tasks) == 101
    assert r.reactor.next_deadline() is None


@pytest.mark.parametrize("what", ["stop", "purge", "cancel"])
def test_what_concerns_a_job_sees_all_its_tasks(what):
    """A stop, a purge or a cancel in the middle of admission concerns what has not been let in yet as well."""
    r = Recorder(slice_tasks_max=10)
    r.define()
    r.define("other")
    r.ask(TasksSubmitted, "other", specs(300), 300)
    first = submit(r, specs(100))
    if what == "stop":
        assert r.stop() == 100
        assert len(r.store.outcomes) == 100
    elif what == "purge":
        assert r.purge("job") == 1
    else:
        assert r.cancel(first + 99) is True
        assert views.job(r.core, "job").counts == {TaskState.QUEUED: 99, TaskState.CANCELLED: 1}
        assert views.task(r.core, "job", first + 99) is None
        assert not views.is_open(r.core, first + 99)
        assert [task.id for task in views.open_tasks(r.core, "job", first + 97, 9)] == [first + 98]
        r.wait(0)
        assert len(r.core.jobs["job"].open) == 99
        return
    assert [submission.job.name for submission in r.core.admitting] == ["other"]
    r.wait(0)
    assert len(r.core.jobs["other"].open) == 300
