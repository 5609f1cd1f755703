"""A store restored from a backup, and agents that know more than it does."""

import pytest

from dart.broker.core.model import TaskState
from dart.ids import Attempt, AttemptRef
from dart.wire.messages import Ack
from harness.recorder import Recorder


@pytest.fixture
def r():
    recorder = Recorder()
    recorder.define()
    return recorder


def go_back(r, store):
    """The broker is started with the restored store."""
    r.store = store
    r.restart()


def test_results_of_the_lost_future_are_held(r):
    """Also when the store has given far higher ids since; attempts of such tasks are dropped, for nobody waits."""
    agent = r.agent(slots=3, credit=3)
    (before,) = r.submit(1)
    store = r.store.restored()
    after = r.submit(2)
    kept = list(agent.given)
    go_back(r, store)
    (new,) = r.submit(1)
    assert new > after[-1]
    welcome = agent.hello(attempts=kept[2:], results=kept[:2])
    assert (welcome.send, welcome.hold, welcome.drop) == ((kept[0],), (kept[1],), (kept[2],))
    assert r.core.agents[agent.id].results_held == 1
    assert "keeps 1 results of tasks that this store does not know" in " ".join(r.notes())
    agent.finish(kept[0])
    assert r.state(before) is TaskState.SUCCEEDED
    assert agent.hello(results=[]).hold == ()
    assert r.core.agents[agent.id].results_held == 0


def test_results_of_the_lost_future_are_never_acknowledged(r):
    """An agent that sends them all the same keeps them; all others are acknowledged."""
    agent = r.agent(slots=2, credit=2)
    r.submit(1)
    store = r.store.restored()
    r.submit(1)
    known, unknown = agent.given
    go_back(r, store)
    agent.hello(results=[known])
    agent.finish(known, unknown)
    assert agent.take(Ack) == [Ack((known,))]
    agent.finish(unknown)
    assert agent.take(Ack) == []
    assert r.core.late_results == 2


def test_a_submission_that_was_under_way_is_part_of_the_lost_future(r):
    """Its tasks were void in the backup, promised and given out afterwards: their results are held."""
    agent = r.agent()
    r.store.submissions[10] = 12
    r.store.highest_id = 12
    go_back(r, r.store.restored())
    refs = [AttemptRef(task_id, Attempt(1, 1)) for task_id in (9, 10, 12)]
    welcome = agent.hello(results=refs)
    assert (welcome.forget, welcome.hold) == ((refs[0],), tuple(refs[1:]))


def test_an_attempt_of_the_lost_future_delivers_its_task(r):
    """The task is open again and was begun by an incarnation that the store never saw: the run is not repeated."""
    agent = r.agent()
    (task_id,) = r.submit(1)
    store = r.store.restored()
    r.restart()
    agent.hello()
    agent.credit(1)
    (ref,) = agent.given
    assert ref.attempt.incarnation > 1
    go_back(r, store)
    agent.hello(attempts=[ref])
    agent.finish(ref)
    assert r.state(task_id) is TaskState.SUCCEEDED
