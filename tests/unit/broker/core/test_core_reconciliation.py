"""HELLO after a break: what goes on, what is dropped, what runs again."""

import pytest

from dart.broker.core.events import TimePassed
from dart.broker.core.model import OnLost, TaskState
from dart.broker.core.records import AttemptsCounted, LeaseAdded, LeasesClosed, TaskFinished
from dart.ids import Attempt, AttemptRef
from dart.wire.messages import Ack
from harness.recorder import Recorder


@pytest.fixture
def r():
    recorder = Recorder()
    recorder.define()
    return recorder


def test_running_attempts_are_kept(r):
    """An agent that comes back within its lease goes on."""
    agent = r.agent(slots=2, credit=2)
    tasks = r.submit(2)
    agent.lose()
    r.wait(30)
    welcome = agent.hello(attempts=agent.given)
    assert welcome.keep == tuple(agent.given)
    assert [r.state(task_id) for task_id in tasks] == [TaskState.LEASED] * 2
    assert r.records() == []


def test_results_are_asked_for(r):
    """A result that counts is wanted; sent, it is recorded once."""
    agent = r.agent(credit=1)
    r.submit(1)
    agent.lose()
    ref = agent.given[0]
    assert agent.hello(results=[ref]).send == (ref,)
    agent.finish(ref)
    agent.finish(ref)
    assert r.core.late_results == 1
    assert agent.take(Ack) == [Ack((ref,)), Ack((ref,))]
    assert agent.hello(results=[ref]).forget == (ref,)
    assert r.core.late_results == 2, "what need not be sent is counted all the same"


def test_never_arrived_is_not_counted(r):
    """What the same boot does not name never reached it: it is queued first, in order, and no loss is counted."""
    agent = r.agent(slots=3, credit=3)
    tasks = r.submit(4)
    agent.hello(attempts=[agent.given[1]])
    assert r.records(AttemptsCounted) == []
    assert [task.id for task in r.core.ready.get(("", ()))] == [tasks[0], tasks[2], tasks[3]]
    ref = agent.given[0]
    assert agent.hello(attempts=[agent.given[1]], results=[ref]).forget == (ref,), "it was given up"


def test_started_and_unnamed_is_a_loss(r):
    """What the same boot said it ran, and does not name any more, is lost."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1)
    agent.start(agent.given[0])
    agent.hello()
    assert r.task(task_id).losses == 1


def test_other_boot_loses_what_it_does_not_name(r):
    """A new boot may have begun what the old one held: that is a loss; results of the old boot still count."""
    agent = r.agent(slots=2, credit=2)
    first, second = r.submit(2)
    old = list(agent.given)
    welcome = agent.hello(boot="c" * 32, results=[old[1]])
    assert welcome.send == (old[1],)
    assert r.records(AttemptsCounted) == [AttemptsCounted(first, 0, 1)]
    agent.finish(old[1])
    assert r.state(second) is TaskState.SUCCEEDED


def test_naming_another_attempt_is_not_naming(r):
    """A lease is confirmed by its very attempt only."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1)
    wrong = AttemptRef(task_id, Attempt(1, 9))
    assert agent.hello(attempts=[wrong]).drop == (wrong,)
    assert r.state(task_id) is TaskState.QUEUED


def test_expired_lease_is_taken_up_again(r):
    """After the lease the attempt goes on if nobody else has the task; attempt or result alike."""
    agent = r.agent(slots=2, credit=2)
    tasks = r.submit(2)
    agent.lose()
    r.wait(61)
    assert [r.state(task_id) for task_id in tasks] == [TaskState.QUEUED] * 2
    welcome = agent.hello(attempts=[agent.given[0]], results=[agent.given[1]])
    assert (welcome.keep, welcome.send) == ((agent.given[0],), (agent.given[1],))
    (lease,) = r.records(LeaseAdded)
    assert set(lease.attempts) == set(agent.given)
    assert [r.state(task_id) for task_id in tasks] == [TaskState.LEASED] * 2
    agent.finish(*agent.given)
    assert r.records(LeasesClosed) == [LeasesClosed((lease.lease_id,))]


def test_expired_lease_that_went_elsewhere_is_dropped(r):
    """Once another agent has the task, the earlier attempt and its result count no more."""
    agent = r.agent(key=b"a" * 32, credit=1)
    r.submit(1)
    agent.lose()
    other = r.agent(key=b"b" * 32, credit=1)
    r.wait(61)
    other.lose()
    other.hello()
    other.credit(1)
    ref = agent.given[0]
    assert len(other.given) == 1
    assert agent.hello(attempts=[ref]).drop == (ref,)
    assert agent.hello(results=[ref]).forget == (ref,)


def test_late_result_counts_while_the_task_is_only_queued(r):
    """A result of a lease that ended is recorded if the task was not given again, within the same session too."""
    agent = r.agent(credit=1)
    (task_id,) = r.submit(1)
    agent.lose()
    r.wait(61)
    agent.hello(results=agent.given)
    agent.finish(agent.given[0])
    assert r.state(task_id) is TaskState.SUCCEEDED
    assert r.records(TaskFinished)[0].attempts == 2


def test_other_store_holds_results(r):
    """Results of another store, or above the highest id, are kept by the agent; such attempts are dropped."""
    agent = r.agent(credit=1)
    r.submit(1)
    ref, unknown = agent.given[0], AttemptRef(999, Attempt(1, 1))
    welcome = agent.hello(store_id="9" * 32, attempts=[ref], results=[ref, unknown])
    assert (welcome.drop, welcome.hold) == ((ref,), (ref, unknown))
    assert any("2 results" in text for text in r.notes())
    welcome = agent.hello(attempts=[unknown], results=[unknown])
    assert (welcome.drop, welcome.hold) == ((unknown,), (unknown,))
    assert agent.hello(store_id="").hold == ()


def test_another_agents_attempt_is_dropped(r):
    """Nobody takes over another agent's attempt by naming it, connected or within its lease or after it."""
    agent, thief = r.agent(key=b"a" * 32, credit=1), r.agent(key=b"b" * 32)
    (task_id,) = r.submit(1)
    ref = agent.given[0]
    assert thief.hello(attempts=[ref]).drop == (ref,)
    assert thief.hello(results=[ref]).forget == (ref,)
    agent.lose()
    assert thief.hello(attempts=[ref]).drop == (ref,)
    r.wait(61)
    assert r.state(task_id) is TaskState.QUEUED
    assert thief.hello(attempts=[ref]).drop == (ref,)


def test_unwritten_lease_is_adopted_after_a_restart(r):
    """A lease row that was not committed before the crash is healed by HELLO, and written then."""
    tasks = r.submit(2)
    agent = r.agent(slots=2, credit=2)
    r.restart()
    assert r.core.agents == {}
    welcome = agent.hello(attempts=[agent.given[0]], results=[agent.given[1]])
    assert (welcome.keep, welcome.send) == ((agent.given[0],), (agent.given[1],))
    assert len(r.records(LeaseAdded)) == 1
    assert [r.state(task_id) for task_id in tasks] == [TaskState.LEASED] * 2
    agent.finish(*agent.given)
    assert [r.state(task_id) for task_id in tasks] == [TaskState.SUCCEEDED] * 2


def test_unwritten_lease_needs_an_eligible_agent(r):
    """An agent is believed only for tasks that it could have been given, of an earlier incarnation."""
    (here,) = r.submit(1, location="w")
    (able,) = r.submit(1, requires=("gpu",))
    r.restart()
    refs = [AttemptRef(here, Attempt(1, 1)), AttemptRef(able, Attempt(1, 1))]
    stranger = r.agent("v", hello=False)
    assert stranger.hello(attempts=refs).drop == tuple(refs)
    fitting = r.agent("w", capabilities=("gpu",), hello=False)
    future = [AttemptRef(here, Attempt(2, 1))]
    assert fitting.hello(attempts=future).drop == tuple(future)
    assert fitting.hello(attempts=refs).keep == tuple(refs)


def test_adoption_after_a_restart_only_once(r):
    """Of two agents that claim one attempt the first is believed."""
    r.submit(1)
    r.enroll(key=b"b" * 32)
    a, b = r.agent(key=b"a" * 32, credit=1), r.agent(key=b"b" * 32, hello=False)
    r.restart()
    assert a.hello(attempts=a.given).keep == tuple(a.given)
    assert b.hello(attempts=a.given).drop == tuple(a.given)


def test_a_later_unwritten_attempt_beats_a_recorded_one(r):
    """The store knows an older lease than the agents do: the later attempt goes on, unless the older is confirmed."""
    a = r.agent(key=b"a" * 32, slots=2, credit=2)
    r.submit(2)
    r.define("flush")
    b = r.agent(key=b"b" * 32, slots=2, credit=2)
    a.release(*a.given)
    assert len(b.given) == 2
    r.restart()
    assert all(task.agent_id == a.id for task in r.core.tasks.values())
    assert b.hello(attempts=b.given[:1]).keep == tuple(b.given[:1])
    assert a.hello(attempts=a.given).keep == tuple(ref for ref in a.given if ref.task_id != b.given[0].task_id)
    assert b.hello(attempts=b.given).drop == (b.given[1],)


def test_recorded_leases_survive_a_restart(r):
    """After a start agents not yet heard of keep their leases one full lease time; then they are lost."""
    agent = r.agent(slots=3, credit=3)
    first, second, third, fourth = r.submit(4, on_lost=OnLost.REQUEUE)
    agent.finish(agent.given[0])
    r.restart(crash=False)
    assert r.state(second) is TaskState.LEASED
    assert r.state(fourth) is TaskState.QUEUED
    r.wait(59.9)
    assert r.state(second) is TaskState.LEASED
    r.wait(0.2)
    assert [r.task(task_id).losses for task_id in (second, third, fourth)] == [1, 1, 0]
    assert [task.id for task in r.core.ready.get(("", ()))] == [second, third, fourth]
    assert first in r.store.outcomes
    other = r.agent(key=b"o" * 32, credit=1)
    assert other.given == [AttemptRef(second, Attempt(2, 2))]


def test_unnamed_after_a_restart_is_a_loss(r):
    """After a start nobody knows whether the agent is the same boot: what it does not name may have run."""
    agent = r.agent(slots=2, credit=2)
    (careful,) = r.submit(1, on_lost=OnLost.FAIL)
    (usual,) = r.submit(1)
    r.define("flush")
    r.restart()
    agent.hello()
    assert r.state(careful) is TaskState.LOST
    assert r.task(usual).losses == 1


def test_empty_lease_rows_are_closed_after_a_restart(r):
    """Rows whose tasks are all finished, or that a later row overrides, are closed with the next turn."""
    agent = r.agent(credit=1)
    r.submit(1)
    r.define("flush")
    row = next(iter(r.store.leases))
    agent.finish(agent.given[0])
    assert r.store.leases == {}
    r.store.leases[row] = LeaseAdded(row, agent.id, tuple(agent.given))
    (waiting,) = r.submit(1)
    r.store.leases[row + 1] = LeaseAdded(row + 1, "0" * 64, (AttemptRef(waiting, Attempt(1, 1)),))
    r.restart()
    r.do(TimePassed())
    assert r.records(LeasesClosed) == [LeasesClosed((row + 1, row))]


def test_later_lease_row_holds(r):
    """Of two rows that name a task the later one counts."""
    (task_id,) = r.submit(1)
    a, b = r.enroll("a"), r.enroll("b")
    r.define("flush")
    r.store.leases[11] = LeaseAdded(11, a, (AttemptRef(task_id, Attempt(1, 1)),))
    r.store.leases[12] = LeaseAdded(12, b, (AttemptRef(task_id, Attempt(1, 2)),))
    r.restart()
    assert r.task(task_id).agent_id == b
    assert r.task(task_id).attempt == Attempt(1, 2)
    assert list(r.core.agents) == [b]


def test_attempts_that_were_counted_are_over_after_a_restart_too(r):
    """No row is left of them, but their numbers tell what had been counted before: none counts twice."""
    a = r.agent(key=b"a" * 32, credit=1)
    (task_id,) = r.submit(1, retries=1)
    a.release(*a.given)
    a.credit(1)
    (_, lost) = a.given
    a.start(lost)
    a.lose()
    r.wait(r.limits.lease_seconds + 1)
    b = r.agent(key=b"b" * 32, credit=1)
    b.fail(*b.given)
    assert (r.task(task_id).errors, r.task(task_id).losses) == (1, 1)
    r.restart()
    assert a.hello(results=(lost,)).forget == (lost,)
    assert b.hello(results=tuple(b.given)).forget == tuple(b.given)


def test_a_row_that_stays_for_others_gives_back_no_counted_attempt(r):
    """One row has many attempts; of those the one that failed is over, and its result does not come for the retry."""
    agent = r.agent(slots=2, credit=2)
    retried, _other = r.submit(2, retries=1)
    r.define("flush")
    failed = agent.given[0]
    agent.fail(failed)
    r.restart()
    assert (r.state(retried), r.task(retried).errors) == (TaskState.QUEUED, 1)
    assert agent.hello(attempts=agent.given[1:], results=(failed,)).forget == (failed,)
    assert r.state(retried) is TaskState.QUEUED
