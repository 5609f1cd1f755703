"""What the outside sees of the state."""

import pytest

from dart.broker.core import pending, views
from dart.broker.core.events import Stopping
from dart.broker.core.model import JobStatus, TaskState
from harness.recorder import CONFIG, Recorder


@pytest.fixture
def r():
    recorder = Recorder()
    recorder.define()
    return recorder


def reason(r, task_id):
    return views.task(r.core, "job", task_id).pending_reason


def test_workers(r):
    """One entry a name, in order, with the sums and unions of its agents."""
    r.agent("w", key=b"a" * 32, slots=2, capabilities=("gpu", "big"))
    busy = r.agent("w", key=b"b" * 32, slots=3, credit=5, capabilities=("gpu",))
    r.agent("v", slots=1)
    r.submit(4, location="w")
    r.now += 2
    v, w = views.workers(r.core, r.now)
    assert (views.worker(r.core, "w", r.now), views.worker(r.core, "x", r.now)) == (w, None)
    assert (v.name, v.slots, v.agents[0].busy) == ("v", 1, 0)
    assert (w.name, w.slots, w.capabilities, w.hosts) == ("w", 5, ("big", "gpu"), ("host-w",))
    one = next(agent for agent in w.agents if agent.id == busy.id)
    assert (one.slots, one.busy, one.leases, one.silent_seconds) == (3, 3, 4, 2.0)
    assert (one.facts, one.draining, one.capabilities) == ({"machine": "test"}, False, ("gpu",))


def test_silent_agents_are_no_workers(r):
    """An agent that is away is not listed, though it holds leases."""
    agent = r.agent(credit=1)
    r.submit(1)
    agent.lose()
    assert views.workers(r.core, r.now) == []


def test_what_a_worker_holds(r):
    """Of all its connected agents, at most so many, of the jobs that are seen."""
    r.define("other")
    r.agent("w", key=b"a" * 32, credit=1)
    r.agent("w", key=b"b" * 32, credit=1)
    away = r.agent("x", credit=1)
    (first,) = r.submit(1, location="w")
    (second,) = r.submit(1, job="other", location="w")
    r.submit(3)

    def held(name, sees=lambda _: True, amount=9):
        return [(job, task.id, task.worker) for job, task in views.held_tasks(r.core, name, sees, amount)]

    assert sorted(held("w")) == [("job", first, "w"), ("other", second, "w")]
    assert held("w", sees="other".__eq__) == [("other", second, "w")]
    assert len(held("w", amount=1)) == 1
    assert len(held("x")) == 1
    away.lose()
    assert held("x") == held("nobody") == []


def test_job(r):
    """Counts by state, outcomes included; workers of results, without those of cancelled tasks."""
    agent = r.agent("w", slots=3, credit=3)
    r.agent("x", credit=1)
    r.submit(4, location="w")
    agent.finish(agent.given[0])
    agent.start(agent.given[1])
    (elsewhere,) = r.submit(1, location="x")
    r.cancel(elsewhere)
    view = views.job(r.core, "job")
    assert view.counts == {
        TaskState.QUEUED: 1,
        TaskState.LEASED: 1,
        TaskState.RUNNING: 1,
        TaskState.SUCCEEDED: 1,
        TaskState.CANCELLED: 1,
    }
    assert view.workers == ("w",)
    assert (view.name, view.status, view.config) == ("job", JobStatus.RUNNING, CONFIG)
    assert views.job(r.core, "nothing") is None


def test_jobs_by_page(r):
    """Jobs come by name, after a name, at most so many."""
    for name in ("c", "a", "b"):
        r.define(name)
    assert [view.name for view in views.jobs(r.core, "", 2)] == ["a", "b"]
    assert [view.name for view in views.jobs(r.core, "b", 9)] == ["c", "job"]


def test_open_tasks_by_page(r):
    """A job's open tasks come by id, after an id, of the states asked for."""
    agent = r.agent(slots=2, credit=2)
    first, second, third, fourth = r.submit(4)
    agent.start(agent.given[1])

    def listed(*arguments):
        return [view.id for view in views.open_tasks(r.core, "job", *arguments)]

    assert listed(0, 3) == [first, second, third]
    assert listed(second, 9) == [third, fourth]
    assert listed(0, 9, frozenset({TaskState.RUNNING})) == [second]
    assert listed(first, 9, frozenset({TaskState.LEASED, TaskState.RUNNING})) == [second]
    assert listed(0, 9, frozenset({TaskState.QUEUED, TaskState.RUNNING})) == [second, third, fourth]
    agent.finish(agent.given[0])
    assert listed(0, 9) == [second, third, fourth]
    (fifth,) = r.submit(1)
    assert listed(third, 9) == [fourth, fifth]
    r.stop()
    assert listed(0, 9) == []
    assert views.open_tasks(r.core, "nothing", 0, 9) == []


def test_open_tasks_of_one_job_only(r):
    """Tasks of other jobs do not show, held ones neither."""
    r.define("other")
    agent = r.agent(slots=9, credit=9)
    (mine,) = r.submit(1)
    (theirs,) = r.submit(1, job="other")
    held = frozenset({TaskState.LEASED})
    assert [view.id for view in views.open_tasks(r.core, "job", 0, 9, held)] == [mine]
    assert [view.id for view in views.open_tasks(r.core, "other", 0, 9)] == [theirs]
    assert len(agent.given) == 2


def test_task(r):
    """One task with who has it and how far it is."""
    agent = r.agent("w", credit=1)
    running, waiting = r.submit(2, priority=3, tag="blue")
    agent.start(agent.given[0])
    agent.progress(agent.given[0], 0.5, "half")
    view = views.task(r.core, "job", running)
    assert (view.state, view.worker, view.host, view.attempts) == (TaskState.RUNNING, "w", "host-w", 1)
    assert (view.start_time_ms, view.fraction, view.progress_text, view.pending_reason) == (7, 0.5, "half", "")
    assert (view.tag, view.policy.priority) == ("blue", 3)
    view = views.task(r.core, "job", waiting)
    assert (view.state, view.worker, view.attempts) == (TaskState.QUEUED, "", 0)
    assert views.task(r.core, "job", 999) is None
    assert views.task(r.core, "nothing", running) is None


def test_pending_reasons(r):
    """Why a task waits is said in words."""
    (anywhere,) = r.submit(1)
    (there,) = r.submit(1, location="w")
    (able,) = r.submit(1, location="w", requires=("fpga", "gpu"))
    assert reason(r, anywhere) == "No worker is connected."
    assert reason(r, there) == "No worker called 'w' is connected."
    a = r.agent("w", key=b"a" * 32, credit=1, capabilities=("gpu",))
    assert a.given[0].task_id == there
    assert reason(r, there) == "Leased to worker 'w', which has not said that the task runs."
    assert reason(r, able) == "No agent of worker 'w' has the capability fpga."
    assert reason(r, anywhere) == "Waits for a free slot of any connected worker."
    r.agent("w", key=b"b" * 32, capabilities=("fpga",))
    assert reason(r, able) == "No agent of worker 'w' has the capability fpga, gpu together."
    a.drain()
    (second,) = r.submit(1, requires=("gpu",))
    assert reason(r, second) == "All agents of any connected worker that could run it are draining."
    a.lose()
    assert reason(r, there) == (
        "Leased to worker 'w', which is silent and keeps the task until 1970-01-01 00:17:40 UTC; then it may run"
        " elsewhere."
    )
    r.ask(Stopping)
    assert reason(r, anywhere) == "The server is stopping."


def test_tasks_that_are_being_let_in_are_queued():
    """Once its last slice is here a submission shows as a whole, in its place by id, whatever came in before it."""
    r = Recorder(slice_tasks_max=10)
    r.define()
    r.define("other")
    r.submit(1, job="other")
    large = r.submit(100)
    (small,) = r.submit(1)
    assert len(r.core.tasks) < 100

    def listed(*arguments):
        return [view.id for view in views.open_tasks(r.core, "job", *arguments)]

    assert listed(0, 999) == [*large, small]
    assert listed(large[19], 3) == large[20:23]
    assert listed(large[97], 9, frozenset({TaskState.QUEUED})) == [*large[98:], small]
    assert listed(large[99], 9) == [small]
    assert listed(0, 9, frozenset({TaskState.DELAYED})) == []
    assert listed(0, 9, frozenset({TaskState.RUNNING})) == []
    assert [view.id for view in views.open_tasks(r.core, "other", 0, 9)] == [large[0] - 1]
    view = views.task(r.core, "job", large[99])
    assert (view.id, view.state, view.pending_reason) == (large[99], TaskState.QUEUED, "No worker is connected.")
    assert views.task(r.core, "other", large[99]) is None
    assert views.is_open(r.core, large[99])
    assert views.is_open(r.core, large[0])
    assert not views.is_open(r.core, small + 1)


def test_delayed_tasks_by_state(r):
    """Those that wait for their next attempt are found by their state, alone and beside held ones."""
    agent = r.agent(credit=1)
    failed, held = r.submit(2, retries=1, retry_delay_seconds=5.0)
    agent.fail(agent.given[0])
    agent.credit(1)

    def listed(*states):
        return [view.id for view in views.open_tasks(r.core, "job", 0, 9, frozenset(states))]

    assert listed(TaskState.DELAYED) == [failed]
    assert listed(TaskState.DELAYED, TaskState.LEASED) == [failed, held]


def test_a_page_looks_once_at_who_could_run_tasks_that_agree(r, monkeypatch):
    """Thousands of agents are not looked at for each of them; other policies, and later pages, are looked at anew."""
    looked = []
    why = pending._why_queued
    monkeypatch.setattr(pending, "_why_queued", lambda core, policy: looked.append(policy) or why(core, policy))
    r.submit(3, location="w")
    r.submit(2, location="x")
    reasons = [view.pending_reason for view in views.open_tasks(r.core, "job", 0, 9)]
    assert reasons == ["No worker called 'w' is connected."] * 3 + ["No worker called 'x' is connected."] * 2
    assert [policy.location for policy in looked] == ["w", "x"]
    r.agent("w")
    assert views.open_tasks(r.core, "job", 0, 1)[0].pending_reason == "Waits for a free slot of worker 'w'."


def test_counts_do_not_depend_on_how_many_workers_there_were(r):
    """They are kept, also over a restart; looking at the tally of thousands of workers is not needed."""
    agent = r.agent("w", slots=3, credit=3)
    r.submit(4, location="w")
    agent.finish(agent.given[0])
    job = r.core.jobs["job"]
    job.tally.clear()
    counts = views.task_counts(r.core, job)
    assert (counts[TaskState.SUCCEEDED], counts[TaskState.QUEUED]) == (1, 1)
    assert sum(counts.values()) == 4


@pytest.mark.parametrize("credit", [2, 9])
def test_held_tasks_are_found_without_looking_at_all_there_is(r, credit):
    """In the order of their ids, by way of few leases or of many; nothing where none is held."""
    held = frozenset({TaskState.LEASED, TaskState.RUNNING})
    agents = [r.agent(name, slots=9, credit=credit) for name in ("w", "x")]
    r.define("other")
    r.submit(40, location="nowhere")
    theirs = r.submit(credit, job="other", location="x")
    assert views.open_tasks(r.core, "job", 0, 5, held) == []
    mine = r.submit(credit, location="w")
    assert len(agents[0].given) == credit
    for amount in (1, 5, 20):
        found = [view.id for view in views.open_tasks(r.core, "job", 0, amount, held)]
        assert found == list(mine)[:amount]
    assert [view.id for view in views.open_tasks(r.core, "job", mine[0], 20, held)] == list(mine)[1:]
    assert [view.id for view in views.open_tasks(r.core, "other", 0, 20, held)] == list(theirs)
    assert views.open_tasks(r.core, "job", 0, 5, frozenset({TaskState.RUNNING})) == []
    r.define("small")
    r.submit(1, job="small", location="nowhere")
    assert views.open_tasks(r.core, "small", 0, 5, held) == []
