"""Leases that wait behind others go to agents with idle slots."""

from collections import Counter

import pytest

from dart.broker.core.events import WorkersDrained
from dart.errors import UnknownWorkerError
from dart.wire.messages import Drain, Recall
from harness.recorder import Recorder


def two(first_credit=100, **members):
    """One agent that holds a task and five behind it; another that comes later."""
    r = Recorder()
    a = r.agent(key=b"a" * 32, credit=first_credit)
    r.define()
    r.submit(6, **members)
    assert len(a.given) == 6
    return r, a


def test_idle_agent_gets_what_waits_elsewhere():
    """As many as it has idle slots are recalled, the newest first, and come to it once released."""
    r, a = two()
    b = r.agent(key=b"b" * 32, slots=2, credit=2)
    assert a.recalled() == [a.given[5], a.given[4]]
    a.release(a.given[5], a.given[4])
    assert [ref.task_id for ref in b.given] == [a.given[4].task_id, a.given[5].task_id]
    assert b.given[0].attempt.number == 1_000_001, "none was counted, one was given back"
    assert r.core.tasks[b.given[0].task_id].losses == 0
    b.finish(b.given[0], credit=1)
    assert a.recalled() == [a.given[3]]


def test_only_what_is_beyond_the_slots():
    """A holder keeps as many leases as it has slots."""
    r = Recorder()
    a = r.agent(key=b"a" * 32, slots=2, credit=100)
    r.define()
    r.submit(3)
    r.agent(key=b"b" * 32, slots=4, credit=100)
    assert a.recalled() == [a.given[2]]


def test_nothing_is_recalled_without_surplus():
    """Holders with no more leases than slots are left alone."""
    r = Recorder()
    a = r.agent(key=b"a" * 32, slots=2, credit=100)
    r.define()
    r.submit(2)
    r.agent(key=b"b" * 32, slots=4, credit=100)
    assert a.recalled() == []


def test_running_tasks_are_not_recalled():
    """What is known to run stays, wherever it stands."""
    r, a = two()
    a.start(a.given[5])
    r.agent(key=b"b" * 32, credit=1)
    assert a.recalled() == [a.given[4]]


def test_each_lease_is_recalled_once():
    """What the holder did not give back is never asked for again; the next one is, after the holder's answer."""
    r, a = two()
    b = r.agent(key=b"b" * 32, credit=1)
    assert a.recalled() == [a.given[5]]
    b.credit(1)
    assert a.recalled() == [], "one RECALL at a time"
    a.release()
    assert a.recalled() == [a.given[4]]
    a.heartbeat()
    assert a.recalled() == [a.given[3]]
    a.start(a.given[3])
    assert a.recalled() == [a.given[2]]
    a.finish(a.given[2])
    assert a.recalled() == [a.given[1]]
    a.release(a.given[1])
    assert [ref.task_id for ref in b.given] == [a.given[1].task_id]


def test_demand_is_counted_over_all_holders():
    """Two holders are asked for no more than there are idle slots."""
    r = Recorder()
    a, b = r.agent(key=b"a" * 32, credit=100), r.agent(key=b"b" * 32, credit=100)
    r.define()
    r.submit(4)
    assert (len(a.given), len(b.given)) == (2, 2)
    c = r.agent(key=b"c" * 32, slots=1, credit=100)
    assert len(a.recalled()) + len(b.recalled()) == 1
    c.credit(100)
    assert len(a.recalled()) + len(b.recalled()) == 0
    r.agent(key=b"d" * 32, slots=1, credit=100)
    assert len(a.recalled()) + len(b.recalled()) == 1


def test_enough_is_asked_of_several_holders():
    """An agent with many idle slots asks every holder."""
    r = Recorder()
    a, b = r.agent(key=b"a" * 32, credit=100), r.agent(key=b"b" * 32, credit=100)
    r.define()
    r.submit(6)
    r.agent(key=b"c" * 32, slots=8, credit=100)
    assert (len(a.recalled()), len(b.recalled())) == (2, 2)


def test_recall_fits_location_capability_and_bytes():
    """Only what the idle agent could run at once is recalled for it."""
    r = Recorder()
    a = r.agent("w", slots=1, credit=100, capabilities=("gpu",))
    r.define()
    r.submit(1)
    r.submit(1, location="w")
    r.submit(1, requires=("gpu",))
    (small,) = r.submit(1, size=10)
    r.submit(1, size=500)
    idle = r.agent("v", slots=1)
    idle.credit(10, 100)
    assert [ref.task_id for ref in a.recalled()] == [small + 1], "it holds nothing, so size does not matter"
    a.release(a.given[4])
    (mine,) = r.submit(1, location="v", size=50)
    assert [ref.task_id for ref in idle.given] == [small + 1]
    idle.finish(idle.given[0])
    idle.credit(10, 100)
    assert [ref.task_id for ref in idle.given] == [small + 1, mine]
    assert a.recalled() == []


def test_recall_respects_bytes_of_a_busy_agent():
    """An agent that holds something gets no lease recalled that its credit in bytes could not take."""
    r = Recorder()
    a = r.agent("w", credit=100)
    r.define()
    r.submit(2, size=10)
    r.submit(1, size=500)
    b = r.agent("v", slots=2)
    r.submit(1, location="v")
    b.credit(10, 100)
    assert [ref.task_id for ref in b.given] == [a.given[2].task_id + 1]
    assert [ref.task_id for ref in a.recalled()] == [a.given[1].task_id]


def test_nothing_is_recalled_while_a_large_task_waits():
    """An agent whose next task is queued already, but too large for now, does not take others' work."""
    r = Recorder()
    a = r.agent("w", credit=100)
    r.define()
    r.submit(3)
    b = r.agent("v", slots=3)
    r.submit(1, location="v", size=10)
    r.submit(1, location="v", size=500)
    b.credit(10, 100)
    assert len(b.given) == 1
    assert a.recalled() == []


def test_silent_holders_are_not_asked():
    """A holder without a session cannot give back."""
    r, a = two()
    a.lose()
    b = r.agent(key=b"b" * 32, slots=2, credit=2)
    assert b.given == []
    assert not r.core.recalls


def test_lost_holder_is_forgotten():
    """A RECALL that can no longer be answered does not hold up the next one."""
    r, a = two()
    r.agent(key=b"b" * 32, credit=1)
    assert r.core.recalls
    a.lose()
    assert not r.core.recalls
    a.hello(attempts=a.given)
    a.heartbeat()
    assert not r.core.recalls, "nobody asked again yet"


def test_idle_agents_ask_again_when_they_say_something():
    """A lease that was asked for in an earlier session may be asked for again."""
    r, a = two()
    b = r.agent(key=b"b" * 32, credit=1)
    a.lose()
    a.hello(attempts=a.given)
    b.credit(1)
    assert a.recalled() == [a.given[5]]


def test_drain_by_a_client():
    """DRAIN goes out to all agents of a name, with RECALL of all that is not known to run."""
    r, a = two()
    a.start(a.given[0])
    assert r.ask(WorkersDrained, "w") == 1
    assert len(a.take(Drain)) == 1
    assert a.recalled() == a.given[1:]
    a.release(*a.given[1:])
    a.credit(100)
    assert len(a.given) == 6
    r.agent(key=b"b" * 32, slots=1, credit=1)
    assert a.take(Recall) == []


def test_drain_of_one_agent():
    """Of several agents of a name the one that is meant drains; one that is not there is refused by name."""
    r, a = two()
    b = r.agent(key=b"b" * 32, credit=1)
    assert r.ask(WorkersDrained, "w", b.id) == 1
    assert (len(a.take(Drain)), len(b.take(Drain))) == (0, 1)
    with pytest.raises(UnknownWorkerError):
        r.ask(WorkersDrained, "w", "f" * 64)


def test_drain_splits_large_recalls():
    """RECALL names at most `batch_items_max` leases a message."""
    r = Recorder(batch_items_max=2)
    a = r.agent(credit=100)
    r.define()
    r.submit(5)
    r.ask(WorkersDrained, "w")
    assert [len(message.attempts) for message in a.take(Recall)] == [2, 2, 1]


def test_hungry_agent_that_drains_asks_for_nothing():
    """An agent that waits for work and then drains is not thought of any more."""
    r, a = two()
    b = r.agent(key=b"b" * 32, credit=1)
    assert b.id in r.core.hungry
    b.drain()
    assert b.id not in r.core.hungry
    a.release(a.given[5])
    assert b.given == []


def test_spare_leases_of_several_queues():
    """Leases of queues that differ in what they require are told apart, and forgotten one by one."""
    r = Recorder()
    a = r.agent("w", slots=1, credit=100, capabilities=("gpu",))
    r.define()
    r.submit(1)
    r.submit(1, requires=("gpu",))
    r.submit(1)
    assert r.core.givers == {"": {("gpu",): {a.id: None}, (): {a.id: None}}}
    a.start(a.given[1])
    assert r.core.givers == {"": {(): {a.id: None}}}
    r.agent("v", slots=1, credit=1)
    assert a.recalled() == [a.given[2]]
    assert r.core.givers == {}, "one RECALL at a time"


def test_a_lease_that_moved_up_is_kept():
    """Since those before it have left, it stands in a slot: nobody asks for it, or looks there again."""
    r = Recorder()
    a = r.agent(key=b"a" * 32, slots=1, credit=100)
    r.define()
    r.submit(2)
    a.finish(a.given[0])
    assert r.core.givers
    r.agent(key=b"b" * 32, credit=1)
    assert a.recalled() == []
    assert r.core.givers == {}


def test_what_an_idle_agent_does_not_want_another_gets():
    """A holder that may be asked again is asked for whoever can run what it has, one RECALL at a time."""
    r = Recorder()
    a = r.agent("w", slots=1, credit=100, capabilities=("gpu",))
    r.define()
    r.submit(4, requires=("gpu",))
    r.agent("v", slots=1, credit=1)
    b = r.agent("x", slots=1, credit=1, capabilities=("gpu",))
    c = r.agent("y", slots=1, credit=1, capabilities=("gpu",))
    assert a.recalled() == [a.given[3]]
    a.release(a.given[3])
    assert a.recalled() == [a.given[2]], "the first idle agent cannot run it, the next has got one"
    a.release(a.given[2])
    assert (len(b.given), len(c.given)) == (1, 1)
    assert a.recalled() == []


def test_an_idle_agent_that_nothing_woke_gets_what_the_first_may_not_run():
    """The holder gave nothing back, so nobody but the first is looked at; what it has for the other is asked for."""
    r = Recorder()
    a = r.agent("a", credit=100, capabilities=("gpu",))
    r.define()
    r.submit(1)
    r.submit(1, requires=("gpu",))
    r.submit(1)
    r.agent("b", credit=1)
    c = r.agent("c", credit=1, capabilities=("gpu",))
    assert a.recalled() == [a.given[2]]
    a.heartbeat()
    assert a.recalled() == [a.given[1]]
    a.release(a.given[1])
    assert [ref.task_id for ref in c.given] == [a.given[1].task_id]


def test_a_holder_of_several_queues_is_asked_once():
    """In one RECALL, for all that the idle agent can run, the newest first."""
    r = Recorder()
    a = r.agent("w", slots=1, credit=100, capabilities=("gpu",))
    r.define()
    r.submit(2)
    r.submit(1, requires=("gpu",))
    r.agent("v", slots=8, credit=8, capabilities=("gpu",))
    (recall,) = a.take(Recall)
    assert list(recall.attempts) == [a.given[2], a.given[1]]


def test_one_of_several_holders_answers():
    """What the others were asked for still counts: no more is asked for than there are idle slots."""
    r = Recorder()
    a, b = r.agent("a", credit=100), r.agent("b", credit=100)
    r.define()
    r.submit(8)
    c = r.agent("c", slots=4, credit=4)
    assert (len(a.recalled()), len(b.recalled())) == (3, 1)
    a.release(*a.given[1:])
    assert len(c.given) == 3
    assert r.core.asked == {c.id: 1}
    b.heartbeat()
    assert len(b.recalled()) == 1


def test_a_holder_that_gave_all_is_left_alone():
    """It may be asked again, but has nothing that it was not asked for."""
    r = Recorder()
    a = r.agent(key=b"a" * 32, credit=100)
    r.define()
    r.submit(2)
    r.agent(key=b"b" * 32, credit=1)
    assert a.recalled() == [a.given[1]]
    a.heartbeat()
    assert a.recalled() == []
    assert (r.core.recalls, r.core.givers) == ({}, {})


def test_a_holder_that_left_after_its_answer_is_not_asked():
    """Its answer and its end may come in one turn."""
    r, a = two()
    b = r.agent(key=b"b" * 32, credit=1)
    assert a.recalled() == [a.given[5]]
    a.drain()
    a.release()
    assert len(a.recalled()) <= 1
    a.lose()
    assert (r.core.recalls, r.core.asked, r.core.givers) == ({}, {}, {})
    assert b.id in r.core.hungry


def test_looking_for_work_costs_what_is_found(monkeypatch):
    """Half of many agents are idle, half have something behind their slots that was asked for: nobody looks in vain.

    Counted is how often somebody looks at an agent's leases: were it each idle agent at each holder, at each
    heartbeat, it would be a million times.
    """
    monkeypatch.setattr("harness.recorder.check", lambda _: None)  # looks at everything
    r = Recorder()
    r.define()
    holders = [r.agent(f"h{number}", slots=1, credit=2) for number in range(100)]
    r.submit(200)
    idle = [r.agent(f"i{number}", slots=1, credit=1) for number in range(100)]
    assert all(len(holder.take(Recall)) == 1 for holder in holders)
    looked = Counter()

    class Looked(dict):
        def values(self):
            looked["at leases"] += 1
            return super().values()

    for holder in holders:
        agent = r.core.agents[holder.id]
        agent.leases = Looked(agent.leases)
    for holder in holders:
        holder.heartbeat()
    assert looked["at leases"] <= 10 * len(holders)
    assert all(not agent.given for agent in idle)


def test_no_more_is_recalled_at_once_than_a_message_may_name():
    """The rest when that was answered; a larger RECALL would be refused, and the session with it."""
    r = Recorder(batch_items_max=2)
    a = r.agent(key=b"a" * 32, credit=100)
    r.define()
    r.submit(6)
    b = r.agent(key=b"b" * 32, slots=4, credit=4)
    assert a.recalled() == [a.given[5], a.given[4]]
    a.release(a.given[5], a.given[4])
    assert a.recalled() == [a.given[3], a.given[2]]
    a.release(a.given[3], a.given[2])
    assert len(b.given) == 4
